import bank
import checks
import numpy as np
import pytest
import reference
from jax.tree_util import Partial

from nlhf import nash_md
from nlhf.errors import InputError


@pytest.mark.parametrize("step_size", [0.7, None])
def test_steps_equal_the_transcription(step_size):
    checks.assert_steps_equal_transcription("nash_md", step_size=step_size)


def biased_limit(item, eta):
    """Best response at beta to the Nash policy at temperature beta / (1 - eta beta)."""
    game = item.game
    beta = float(game.beta)
    mixed = bank.solved(game.preference, game.log_ref, beta / (1 - eta * beta))
    contexts = zip(np.exp(mixed.log_nash), np.exp(game.log_ref), np.asarray(game.preference), strict=True)
    return np.log(np.stack([reference.best_response(m, mu, p, beta) for m, mu, p in contexts]))


@pytest.mark.parametrize("name", bank.GAMES)
def test_constant_step_converges_to_its_biased_limit(name):
    item = bank.known(name)
    beta = float(item.game.beta)
    eta = 0.1 * beta
    limit = biased_limit(item, eta)
    checks.assert_fixed_point(nash_md(eta, beta), item, limit)
    # the step is contracting near its limit for eta of order beta; it starts close to it here
    end = checks.record(nash_md(eta, beta), item, item.log_nash).state.policy
    before = np.abs(np.asarray(item.log_nash) - limit).max()
    after = np.abs(np.asarray(end) - limit).max()
    assert after < before


def test_constant_step_bias_is_second_order():
    # KL(Nash, limit) ~ (eta beta)^2
    item = bank.known("uniform_skew")
    beta = float(item.game.beta)
    nash = np.exp(np.asarray(item.log_nash))[0]
    pulls = np.array([0.02, 0.01, 0.005, 0.0025])
    bias = [reference.kl(nash, np.exp(biased_limit(item, pull / beta))[0]) for pull in pulls]
    slope = np.diff(np.log(bias)) / np.diff(np.log(pulls))
    np.testing.assert_allclose(slope, 2, atol=0.07)
    limit = checks.record(nash_md(0.005 / beta, beta), item, num_steps=4000).state.policy[0]
    np.testing.assert_allclose(reference.kl(nash, np.exp(np.asarray(limit))), bias[2], rtol=1e-6)


@pytest.mark.parametrize("name", bank.GAMES)
@pytest.mark.parametrize("pull", [0.02, 0.5, 1.0])
def test_constant_step_claim_holds(name, pull):
    item = bank.known(name)
    beta = float(item.game.beta)
    settings = {"step_size": pull / beta, "beta": beta}
    checks.assert_claims_hold(nash_md(**settings), settings, item)


@pytest.mark.parametrize("name", ["contextual", "uniform_skew", "tournament", "low_rank_logits", "planted"])
def test_decreasing_step_claim_holds(name):
    item = bank.known(name)
    beta = float(item.game.beta)
    settings = {"step_size": None, "beta": beta}
    method = nash_md(**settings)
    trace = checks.record(method, item)
    checks.assert_claims_hold(method, settings, item, trace)
    # the sharper derived bound 1 / (2 beta^2 (t + 1)) holds as well
    gap, count = np.asarray(trace.of("kl_to_nash")), np.asarray(trace.step)
    assert (gap[1:] <= 1 / (2 * beta**2 * (count[1:] + 1))).all()


@pytest.mark.parametrize("control", ["sign", "pull"])
@pytest.mark.parametrize("step_size", [0.002, None])
def test_negative_controls_fail(step_size, control):
    item = checks.easy_game()
    settings = {"step_size": step_size, "beta": 1.0}
    method = nash_md(**settings)
    num_steps = 8000
    checks.assert_claims_hold(method, settings, item, checks.record(method, item, num_steps=num_steps))
    wrong = {"sign": checks.flipped(method), "pull": checks.half_pull("nash_md", settings)}[control]
    checks.assert_control_fails(method, wrong, settings, item, num_steps)


def test_a_schedule_carries_no_claim():
    assert nash_md(Partial(lambda steps: 0.1 / (1.0 + steps)), 0.1).claims == ()


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        nash_md(-1.0, 0.1)
    with pytest.raises(InputError, match=r"beta is 0, .* \(0, inf\]"):
        nash_md(1.0, 0.0)
