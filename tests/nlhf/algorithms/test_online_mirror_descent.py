import bank
import checks
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import online_mirror_descent
from nlhf.base import Info
from nlhf.errors import InputError, RangeWarning
from nlhf.targets import implicit


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("online_mirror_descent")


@pytest.mark.parametrize("name", bank.GAMES)
def test_converges_linearly_to_the_fixed_point(name):
    checks.assert_linear("online_mirror_descent", name, share=0.6)


def composite_step(key, state, oracle, space, *, step_size, beta):
    prox = Partial(implicit, step_size=step_size, beta=beta)
    return type(state)(space.project(state.policy, prox, oracle.payoff(key, state.policy))), Info(queries=1)


def test_explicit_equals_composite_after_a_change_of_step_size():
    # e = g / (1 + g beta)
    item, g = bank.known("contextual"), 1.2
    beta = float(item.game.beta)
    ours = checks.states(online_mirror_descent(g / (1 + g * beta), beta), item.game, item.game.log_ref, 8)
    composite = checks.replaced_step(online_mirror_descent(g, beta), composite_step)
    theirs = checks.states(composite, item.game, item.game.log_ref, 8)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.policy, other.policy, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("control", ["sign", "pull"])
def test_negative_controls_fail(control):
    item = checks.easy_game()
    settings = bank.ROWS["online_mirror_descent"].hyper(1.0)
    method = online_mirror_descent(**settings)
    checks.assert_claims_hold(method, settings, item)
    wrong = {"sign": checks.flipped(method), "pull": checks.half_pull("online_mirror_descent", settings)}
    checks.assert_control_fails(method, wrong[control], settings, item)


def test_a_step_above_the_range_breaks_the_claim():
    item = checks.hard_game()
    settings = {"step_size": 0.5, "beta": 0.01}
    proved = {"step_size": 0.04 / (1 + 0.0004), "beta": 0.01}
    checks.assert_claims_hold(online_mirror_descent(**proved), proved, item)
    with pytest.warns(RangeWarning, match=r"step_size is 0\.5, outside \[0, 0\.039984\]"):
        checks.assert_control_fails(
            online_mirror_descent(**settings), online_mirror_descent(**settings), settings, item
        )


def test_average_claim_without_regularisation():
    settings = {"step_size": np.sqrt(8 * np.log(5) / checks.NUM_STEPS), "beta": 0.0}
    method = online_mirror_descent(**settings)
    checks.assert_average_claim(method, settings, control=checks.flipped(method))


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        online_mirror_descent(-1.0, 0.1)
    with pytest.raises(InputError, match=r"beta is -0\.1"):
        online_mirror_descent(1.0, -0.1)
