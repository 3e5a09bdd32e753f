import bank
import checks
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import nash_mirror_prox
from nlhf.base import Info
from nlhf.errors import InputError
from nlhf.targets import implicit


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("nash_mirror_prox")


@pytest.mark.parametrize("name", bank.GAMES)
def test_converges_linearly_to_the_fixed_point(name):
    checks.assert_linear("nash_mirror_prox", name)


@pytest.mark.parametrize("name", bank.GAMES)
def test_longest_proved_step(name):
    # g = 2 beta + 2 sqrt(1 + beta^2): the factor is exp(-2 asinh beta) a step
    item = bank.known(name)
    beta = float(item.game.beta)
    settings = {"step_size": 2 * beta + 2 * np.sqrt(1 + beta**2), "beta": beta}
    trace = checks.record(nash_mirror_prox(**settings), item)
    checks.assert_claims_hold(nash_mirror_prox(**settings), settings, item, trace)
    rate = nash_mirror_prox(**settings).claims[0].rate(bank.constants(settings, item))
    np.testing.assert_allclose(rate, 2 * np.arcsinh(beta), rtol=1e-12)


def stale_half_step(key, state, oracle, space, *, step_size, beta):
    prox = Partial(implicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, prox, oracle.payoff(key, state.policy))
    policy = space.project(state.policy, prox, oracle.payoff(key, state.policy))
    return type(state)(policy, half), Info(queries=2)


def step_from_the_half(key, state, oracle, space, *, step_size, beta):
    prox = Partial(implicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, prox, oracle.payoff(key, state.policy))
    policy = space.project(half, prox, oracle.payoff(key, half))
    return type(state)(policy, half), Info(queries=2)


@pytest.mark.parametrize("control", ["sign", "pull", "stale", "from_half"])
def test_negative_controls_fail(control):
    item = checks.hard_game()
    settings = {"step_size": 2.0, "beta": 0.01}
    method = nash_mirror_prox(**settings)
    checks.assert_claims_hold(method, settings, item)
    wrong = {
        "sign": checks.flipped(method),
        "pull": checks.half_pull("nash_mirror_prox", settings),
        "stale": checks.replaced_step(method, stale_half_step),
        "from_half": checks.replaced_step(method, step_from_the_half),
    }[control]
    checks.assert_control_fails(method, wrong, settings, item)


def test_average_claim_without_regularisation():
    settings = {"step_size": 2.0, "beta": 0.0}
    method = nash_mirror_prox(**settings)
    checks.assert_average_claim(method, settings, control=checks.flipped(method))


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        nash_mirror_prox(-1.0, 0.1)
    with pytest.raises(InputError, match="beta is inf"):
        nash_mirror_prox(1.0, float("inf"))
