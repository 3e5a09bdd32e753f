import bank
import checks
import numpy as np
import pytest
import reference
from jax.tree_util import Partial

from nlhf import omwu
from nlhf.base import Info
from nlhf.errors import InputError
from nlhf.targets import explicit


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("omwu")


def test_unregularised_half_iterates_follow_the_classical_recursion():
    # q_t of the classical recursion is the policy that query t is made against: q_0 = start, then our halves
    item = checks.unregularised("uniform_skew")
    start, num_steps = np.exp(np.asarray(item.game.log_ref[0])), 7
    visited = checks.states(omwu(0.3, 0.0), item.game, item.game.log_ref, num_steps)
    classical = reference.omwu_classical(start, np.asarray(item.game.preference[0]), num_steps, step_size=0.3)
    ours = np.exp(np.stack([np.asarray(state.half[0]) for state in visited]))
    np.testing.assert_allclose(ours, classical, rtol=1e-12)


@pytest.mark.parametrize("name", bank.GAMES)
def test_converges_linearly_to_the_fixed_point(name):
    checks.assert_linear("omwu", name)


def never_extrapolated(key, state, oracle, space, *, step_size, beta):
    mirror = Partial(explicit, step_size=step_size, beta=beta)
    policy = space.project(state.policy, mirror, oracle.payoff(key, state.policy))
    return type(state)(policy, policy, state.steps + 1), Info(queries=1)


@pytest.mark.parametrize("control", ["sign", "pull", "stale"])
def test_negative_controls_fail(control):
    item = checks.easy_game() if control == "pull" else checks.hard_game()
    settings = bank.ROWS["omwu"].hyper(float(item.game.beta))
    method = omwu(**settings)
    checks.assert_claims_hold(method, settings, item)
    wrong = {
        "sign": checks.flipped(method),
        "pull": checks.half_pull("omwu", settings),
        "stale": checks.replaced_step(method, never_extrapolated),
    }[control]
    checks.assert_control_fails(method, wrong, settings, item)


def test_average_claim_without_regularisation():
    settings = {"step_size": 0.5**0.5, "beta": 0.0}
    method = omwu(**settings)
    checks.assert_average_claim(method, settings, control=checks.flipped(method))


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        omwu(-1.0, 0.1)
    with pytest.raises(InputError, match="beta is nan"):
        omwu(1.0, float("nan"))
