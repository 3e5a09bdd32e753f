"""The allowance for rounding: it forgives rounding, and nothing that could be a violation."""

import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import egpo, logspace
from proofs_checks import bound as bounds
from tabular import families
from tabular.bounds import constants
from tabular.games import make_game

GAME = make_game(families.biased_rock_paper_scissors(), np.log([0.5, 0.3, 0.2]), 0.01)
CLAIMS = {claim.metric: claim for claim in egpo(0.1, 0.1).claims}
STEP = jnp.arange(5.0)


def ratio(metric, measured, bound, delta=0.0, beta=0.01):
    return np.asarray(bounds.ratio(CLAIMS[metric], jnp.asarray(measured), jnp.asarray(bound), delta, beta))


def test_without_an_allowance_it_is_the_ratio():
    assert ratio("kl_to_nash", [2.0, 0.5], [1.0, 1.0]).tolist() == pytest.approx([2, 0.5])


@pytest.mark.parametrize(
    ("metric", "measured"),
    [("kl_to_nash", 1e-22), ("exploitability", 1e-24), ("span_to_nash", 1e-11)],
)
def test_what_rounding_makes_is_forgiven(metric, measured):
    assert ratio(metric, [measured], [1e-40], delta=1.1e-11) == 0


@pytest.mark.parametrize("metric", list(CLAIMS))
def test_a_visible_violation_is_not(metric):
    assert ratio(metric, [1.001e-6], [1e-6], delta=1e-12) > 1.0009 - 1e-5
    assert ratio(metric, [1.0], [0.0], delta=1e-9) == np.inf


def test_nan_counts_as_infinite():
    assert np.isinf(ratio("kl_to_nash", [np.nan, 1.0], [1.0, np.nan])).all()
    assert ratio("kl_to_nash", [1.0], [np.inf]) == 0


def test_rounding_grows_with_the_logits_and_the_memory():
    small = bounds.log_rounding(GAME._replace(beta=jnp.asarray(1.0)), GAME.log_ref, STEP, 1.0)
    large = bounds.log_rounding(GAME, GAME.log_ref, STEP, 1.0)
    assert (np.asarray(large) >= np.asarray(small)).all()
    assert large[-1] > 4 * large[0]
    assert float(large[-1]) < 1e-12
    far = logspace.normalise(jnp.array([[0.0, -1e4, -2e4]]))
    assert float(bounds.log_rounding(GAME, far, STEP, 1.0)[0]) > 100 * float(large[0])


def test_the_planted_reference_makes_the_policy_an_equilibrium():
    log_nash = logspace.normalise(jnp.array([[0.3, -1.0, 0.2]]))
    game = GAME._replace(log_ref=bounds.planted_reference(GAME, log_nash))
    response = game.log_ref + (game.advantage[0] @ jnp.exp(log_nash[0]))[None] / game.beta
    np.testing.assert_allclose(logspace.normalise(response), log_nash, atol=1e-13)


def test_constants_are_those_of_the_start():
    log_nash = logspace.normalise(jnp.array([[0.3, -1.0, 0.2]]))
    known = constants(GAME, log_nash, GAME.log_ref, 0.5)
    p, q = np.exp(np.asarray(log_nash[0])), np.exp(np.asarray(GAME.log_ref[0]))
    assert float(known.kl_start) == pytest.approx(np.sum(p * np.log(p / q)))
    assert float(known.log_start) == pytest.approx(np.log(5))
    assert float(known.span_start) == pytest.approx(np.ptp(np.log(p / q)))
    assert float(known.num_actions) == 3
    assert float(known.log_min_ref) == pytest.approx(np.log(0.2))
    assert float(known.largest_advantage) == np.abs(GAME.advantage).max()


def test_constants_leave_out_actions_that_the_reference_excludes():
    padded = GAME._replace(log_ref=jnp.log(jnp.array([[0.5, 0.5, 0.0]])))
    known = constants(padded, padded.log_ref, padded.log_ref, 0.5)
    assert float(known.num_actions) == 2
    assert float(known.log_min_ref) == pytest.approx(np.log(0.5))
    assert float(known.largest_advantage) == abs(float(GAME.advantage[0, 0, 1]))


def test_the_worst_leaves_out_the_start():
    table = np.array([[9.0, 0.1, 0.2], [9.0, 0.7, 0.3]])
    assert bounds.worst(table) == (1, 1, 0.7)
    assert bounds.moved(np.array([[1.0, 1.0, 0.5]])).tolist() == [[False, False, True]]
    rounded = np.array([[1.0, 1.0 + 1e-15, np.nan]])
    assert bounds.moved(rounded).tolist() == [[False, False, True]]
