"""The wrong versions are wrong in the way that they say, and only in that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import algorithms, logspace
from nlhf.method import default
from proofs_checks.controls import ALL, CONTROLS, signed
from tabular import families
from tabular.games import make_game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

BETA = 0.3
GAME = make_game(
    families.uniform_skew(jax.random.key(1), 4), families.random_reference(jax.random.key(2), 4), BETA
)
START = logspace.normalise(jax.random.normal(jax.random.key(3), (1, 4)))
MAKE = {
    "online_mirror_descent": lambda beta=BETA: algorithms.online_mirror_descent(0.5, beta),
    "nash_md": lambda beta=BETA: algorithms.nash_md(None, beta),
    "nash_mirror_prox": lambda beta=BETA: algorithms.nash_mirror_prox(2.0, beta),
    "nash_prox": lambda beta=BETA: algorithms.nash_prox(0.3, beta, 3),
    "egpo": lambda beta=BETA: algorithms.egpo(1.0, beta),
    "omwu": lambda beta=BETA: algorithms.omwu(0.5, beta),
    "mpo": lambda beta=BETA: algorithms.mpo(0.5, beta, 2),
    "ipo_md": lambda beta=BETA: algorithms.ipo_md(0.5, beta, 0.25),
}


def make(name):
    return MAKE[name]() if name in MAKE else default(name, BETA)


def after(method, game=GAME, num_steps=3):
    space = simplex(game)
    state = method.init(START)
    with jax.disable_jit():
        for _ in range(num_steps):
            state, _ = method.step(jax.random.key(0), state, exact(game, space.log_prob), space)
    return np.asarray(state.policy)


PAIRS = [
    (name, mistake) for mistake, control in CONTROLS.items() for name in ALL if name in control.algorithms
]


@pytest.mark.parametrize(("name", "mistake"), PAIRS)
def test_a_mistake_changes_the_run_and_leaves_a_policy(name, mistake):
    method = make(name)
    wrong = after(CONTROLS[mistake].apply(method))
    assert np.abs(wrong - after(method)).max() > 1e-3
    np.testing.assert_allclose(np.exp(wrong).sum(-1), 1, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_transposed_is_the_method_on_the_transpose(name):
    transpose = GAME._replace(advantage=-GAME.advantage)
    wrong = after(CONTROLS["transposed"].apply(make(name)))
    np.testing.assert_allclose(wrong, after(make(name), transpose), atol=1e-14)
    np.testing.assert_allclose(after(signed(make(name), 1.0)), after(make(name)), atol=0)


def test_half_pull_is_half_of_beta():
    wrong = after(CONTROLS["half_pull"].apply(MAKE["egpo"]()))
    np.testing.assert_allclose(wrong, after(MAKE["egpo"](BETA / 2)), atol=1e-14)


def test_without_its_half_step_egpo_is_online_mirror_descent():
    wrong = after(CONTROLS["stale_half"].apply(algorithms.egpo(0.5, BETA)))
    np.testing.assert_allclose(wrong, after(MAKE["online_mirror_descent"]()), atol=1e-14)


def test_a_schedule_one_step_ahead():
    wrong = after(CONTROLS["off_by_one"].apply(MAKE["nash_md"]()), num_steps=1)
    eta = 2 / (BETA * 3)
    mixture = logspace.geometric_mixture(START, GAME.log_ref, eta * BETA)
    expected = logspace.normalise(mixture + eta * (GAME.advantage[0] @ jnp.exp(mixture[0]))[None])
    np.testing.assert_allclose(wrong, expected, atol=1e-13)
