import numpy as np
import pytest

from proofs_checks.identities import gradients as gradient_identities
from proofs_checks.identities import losses as loss_identities
from proofs_checks.rows import HOLDS, Effort, decide

QUICK = Effort(0, True)
CHECKS = (*loss_identities.CHECKS, *gradient_identities.CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_row_is_as_expected(check):
    row = decide(check, check.judge(QUICK))
    assert row.as_expected, (row.verdict, row.outcome.worst, row.outcome.control_worst, row.outcome.witness)


def test_the_differentiated_loss_agrees_with_central_differences():
    draw = loss_identities.draws_of(QUICK)[0]
    game = 7
    sampling = np.exp(draw.log_policy[game])
    beta, preference = draw.beta[game], draw.preference[game]

    def loss(logits):
        ratio = logits - np.log(np.exp(logits).sum()) - draw.log_ref[game]
        margin = ratio[:, None] - ratio[None, :]
        won, lost = (margin - 0.5 / beta) ** 2, (margin + 0.5 / beta) ** 2
        return sampling @ (preference * won + (1 - preference) * lost) @ sampling

    size = 1e-5
    steps = size * np.eye(len(sampling))
    numeric = [
        (loss(draw.logits[game] + step) - loss(draw.logits[game] - step)) / (2 * size) for step in steps
    ]
    measured = loss_identities._ipo_gradient(draw, draw.log_policy)[game]
    # central differences of a quadratic in log-ratios: rounding over the step, plus the step squared
    assert np.abs(measured - numeric).max() < 1e-6 * (1 + np.abs(measured).max())


@pytest.mark.parametrize("factor", [2.0, 3.99, -4.0])
def test_another_factor_between_online_ipo_and_self_play_is_rejected(factor):
    def compare(draw):
        measured = loss_identities._ipo_gradient(draw, draw.log_policy)
        direction = loss_identities.self_play_gradient(draw, draw.log_policy) / draw.beta[:, None]
        error = loss_identities.error(measured, -factor * direction)
        return error, error

    check = loss_identities.check_of("wrong", "a wrong factor", compare, "itself")
    assert decide(check, check.judge(QUICK)).verdict != HOLDS


def test_the_minimiser_of_two_responses_is_known_by_hand():
    # one pair, always drawn: the squared loss puts its log-ratio at (2p - 1)/(2β)
    draw = loss_identities._draw(np.random.default_rng(1), 9, 2)
    edge = draw.preference[:, 0, 1] - 0.5
    lift = np.stack([edge / draw.beta, 0 * edge], 1)
    own = draw._replace(logits=draw.log_ref + lift)
    gradient = loss_identities._ipo_gradient(own, own.log_policy)
    assert np.abs(gradient).max() < 1e-12 * (1 + 1 / draw.beta.min())
    away = draw._replace(logits=draw.log_ref + 2 * lift)
    assert np.abs(loss_identities._ipo_gradient(away, away.log_policy)).max() > 1e-3


def test_a_baseline_can_raise_the_variance_a_lot_and_lower_it_too():
    draw = loss_identities.draws_of(QUICK)[0]
    zero, half = (gradient_identities._variance(draw, np.full(len(draw.beta), level)) for level in (0.0, 0.5))
    assert (half > 1.01 * zero).any()
    assert (half < 0.99 * zero).any()
