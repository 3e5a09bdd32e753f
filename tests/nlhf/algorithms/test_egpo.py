import bank
import checks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import egpo, nash_mirror_prox
from nlhf.base import Info
from nlhf.errors import InputError
from nlhf.targets import explicit
from tabular.oracle import exact
from tabular.runner import Axes, run
from tabular.traces import Measure


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("egpo")


@pytest.mark.parametrize("name", bank.GAMES)
def test_converges_linearly_to_the_fixed_point(name):
    checks.assert_linear("egpo", name)


@pytest.mark.parametrize("name", ["contextual", "uniform_skew", "tournament", "low_rank_logits", "planted"])
def test_half_iterate_is_less_exploitable_than_its_bound(name):
    # exploit(half) <= KL(Nash, policy)/g + KL(Nash, half)/(4 beta) with g = e / (1 - e beta) <= 2
    item = bank.known(name)
    beta = float(item.game.beta)
    step_size = bank.ROWS["egpo"].hyper(beta)["step_size"]
    trace = run(
        egpo(step_size, beta),
        item.game,
        num_steps=100,
        measures=(*checks.MEASURES, Measure("exploitability", "half")),
        log_nash=item.log_nash,
    )
    last, half = trace.of("kl_to_nash"), trace.of("kl_to_nash", "half")
    exploit = np.asarray(trace.of("exploitability", "half"))
    g = step_size / (1 - step_size * beta)
    bound = np.asarray(last[:-1] / g + half[1:] / (4 * beta))
    above = bound > checks.FLOOR
    assert above.sum() > 20
    assert (exploit[1:] <= bound * (1 + checks.ROUNDING))[above].all()


def stale_half_step(key, state, oracle, space, *, step_size, beta):
    mirror = Partial(explicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, mirror, oracle.payoff(key, state.policy))
    policy = space.project(state.policy, mirror, oracle.payoff(key, state.policy))
    return type(state)(policy, half), Info(queries=2)


def step_from_the_half(key, state, oracle, space, *, step_size, beta):
    mirror = Partial(explicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, mirror, oracle.payoff(key, state.policy))
    policy = space.project(half, mirror, oracle.payoff(key, half))
    return type(state)(policy, half), Info(queries=2)


@pytest.mark.parametrize("control", ["sign", "pull", "stale", "from_half"])
def test_negative_controls_fail(control):
    item = checks.hard_game()
    settings = {"step_size": 1 / 0.51, "beta": 0.01}
    method = egpo(**settings)
    checks.assert_claims_hold(method, settings, item)
    wrong = {
        "sign": checks.flipped(method),
        "pull": checks.half_pull("egpo", settings),
        "stale": checks.replaced_step(method, stale_half_step),
        "from_half": checks.replaced_step(method, step_from_the_half),
    }[control]
    checks.assert_control_fails(method, wrong, settings, item)


@pytest.mark.parametrize("name", ["contextual", "uniform_skew", "tournament", "low_rank_logits"])
def test_equals_nash_mirror_prox_after_a_change_of_step_size(name):
    item = bank.known(name)
    beta, g = float(item.game.beta), 2.0
    ours = checks.states(egpo(g / (1 + g * beta), beta), item.game, item.game.log_ref, 8)
    theirs = checks.states(nash_mirror_prox(g, beta), item.game, item.game.log_ref, 8)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.policy, other.policy, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(mine.half, other.half, rtol=1e-12, atol=1e-12)


def test_noise_floor_follows_its_law():
    # unbiased noise of standard deviation sigma: KL floor = (eta sigma^2 / (4 beta)) (1 - sum pi*^2)
    item = bank.known("uniform_skew")
    beta, eta, sigma = float(item.game.beta), 0.05, 0.1
    method = egpo(eta, beta)

    def make_oracle(game, log_prob):
        clean = exact(game, log_prob)

        def payoff(key, policy):
            feedback = clean.payoff(key, policy)
            noise = sigma * jax.random.normal(key, feedback.preference.shape)
            return feedback._replace(preference=feedback.preference + noise)

        return clean._replace(payoff=payoff)

    trace = run(
        method,
        item.game,
        num_steps=600,
        measures=("kl_to_nash",),
        log_nash=item.log_nash,
        key=jax.random.split(jax.random.key(2), 200),
        start=item.log_nash,
        make_oracle=make_oracle,
        axes=(Axes(key=0),),
    )
    floor = np.asarray(trace.of("kl_to_nash"))[:, 200:].mean(1)
    law = eta * sigma**2 / (4 * beta) * (1 - float(jnp.sum(jnp.exp(item.log_nash) ** 2)))
    error = 4 * floor.std() / np.sqrt(len(floor))
    # the law is first order in eta: corrections of relative size eta beta and eta s^2 / beta stay below 7 %
    assert abs(floor.mean() - law) <= 0.07 * law + error


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        egpo(-1.0, 0.1)
    with pytest.raises(InputError, match="beta is nan"):
        egpo(0.1, float("nan"))
