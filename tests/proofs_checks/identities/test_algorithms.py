import itertools

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.tree_util import Partial

from proofs_checks.controls import CONTROLS
from proofs_checks.identities import algorithms as identities
from proofs_checks.identities import game as game_identities
from proofs_checks.identities import instruments, variational
from proofs_checks.identities import steps as step_rows
from proofs_checks.rows import Effort, decide

QUICK = Effort(0, True)
CHECKS = (*step_rows.CHECKS, *identities.CHECKS, *game_identities.CHECKS, *instruments.CHECKS)
MADE = [
    (name, mistake)
    for name, mistake in itertools.product(variational.DEFINITIONS, CONTROLS)
    if name.split(".")[0] in CONTROLS[mistake].algorithms
    # a constant step reads no count: the decreasing one is where this mistake can be made
    and (name, mistake) != ("nash_md", "off_by_one")
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_row_is_as_expected(check):
    row = decide(check, check.judge(QUICK))
    assert row.as_expected, (row.verdict, row.outcome.worst, row.outcome.control_worst, row.outcome.witness)


def test_names_are_unique_and_every_definition_judges_its_algorithm():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    defined = {name.split(".")[0] for name in variational.DEFINITIONS}
    assert {f"{name}.step" for name in defined} <= set(names)
    assert len(defined) >= 8


@pytest.mark.parametrize(("name", "mistake"), MADE)
def test_no_mistake_passes_for_a_step(name, mistake):
    wrong = CONTROLS[mistake].apply(variational.method_of(name, QUICK))
    assert not variational.step_errors(name, wrong, QUICK).max() <= 1e-3


def _nudged(step, size, key, state, oracle, space):
    after, info = step(key, state, oracle, space)
    first = (jnp.arange(after.policy.shape[-1]) == 0)[None]
    return after._replace(policy=after.policy + jnp.where(first, size, 0.0)), info


@pytest.mark.parametrize("size", [1e-9, jnp.nan])
def test_a_step_off_by_a_billionth_or_nan_does_not_pass(size):
    method = variational.method_of("egpo", QUICK)
    nudged = method._replace(step=Partial(_nudged, method.step, size))
    assert not variational.step_errors("egpo", nudged, QUICK).max() <= identities.LIMIT


def test_a_step_of_another_method_does_not_pass():
    other = variational.method_of("online_mirror_descent", QUICK)
    assert variational.step_errors("egpo", other, QUICK).max() > 1e-3


def test_an_objective_of_two_actions_has_the_maximiser_known_by_hand():
    # u1/u2 = exp(g (p1 - p2)) for a uniform anchor of weight 1
    gain, payoff = np.array([0.7]), np.array([[0.3, -0.3]])
    log_ratio = 0.7 * 0.6
    log_policy = variational.log_softmax(np.array([[log_ratio, 0.0]]))
    uniform = np.full((1, 2), -np.log(2))
    made = variational.Maximiser(
        log_policy, uniform, gain, np.array([[1.0], [0.0]]), np.stack([uniform, uniform])
    )
    errors = [
        float(variational._imbalance(each, payoff, np.ones((1, 2), bool))[0])
        for each in (made, made._replace(gain=gain * 1.001))
    ]
    assert errors[0] < 1e-15 < 1e-5 < errors[1]


def test_the_gap_equals_a_maximum_to_fifty_digits():
    pair = game_identities.pair_of(QUICK)
    rows = np.flatnonzero((pair.present.sum(-1) <= 3) & (pair.beta > 0.01))[:6]
    gap = pair.beta * pair.bregman(pair.first, pair.response(pair.first))
    with mpmath.workdps(50):
        for row in rows:
            inside = np.flatnonzero(pair.present[row])
            beta = mpmath.mpf(float(pair.beta[row]))
            policy = [mpmath.exp(mpmath.mpf(float(pair.first[row, a]))) for a in inside]
            log_ref = [mpmath.mpf(float(pair.log_ref[row, a])) for a in inside]
            payoff = [
                mpmath.fsum(
                    mpmath.mpf(float(pair.advantage[row, a, b])) * p
                    for b, p in zip(inside, policy, strict=True)
                )
                for a in inside
            ]
            logits = [ref + gain / beta for ref, gain in zip(log_ref, payoff, strict=True)]
            best = beta * mpmath.log(mpmath.fsum(mpmath.exp(logit) for logit in logits))
            paid = mpmath.fsum(p * (mpmath.log(p) - ref) for p, ref in zip(policy, log_ref, strict=True))
            assert abs(float(best + beta * paid) - gap[row]) < 1e-12 * (1 + gap[row])


def test_fifty_digits_of_the_module_are_those_of_mpmath():
    policies, others = instruments._close_pairs(QUICK)
    with mpmath.workdps(50):
        for log_policy, log_other in zip(policies[:5], others[:5], strict=True):
            total = mpmath.mpf(0)
            for own, other in zip(map(mpmath.mpf, log_policy), map(mpmath.mpf, log_other), strict=True):
                total += mpmath.exp(own) * (own - other) - mpmath.exp(own) + mpmath.exp(other)
            measured = mpmath.mpf(str(instruments._digits(log_policy, log_other)))
            assert abs(measured / total - 1) < mpmath.mpf(10) ** -12


def test_judging_twice_gives_the_same_numbers():
    check = next(check for check in CHECKS if check.name == "ipo_md.fixed_point")
    first, second = check.judge(QUICK), check.judge(QUICK)
    assert first == second
