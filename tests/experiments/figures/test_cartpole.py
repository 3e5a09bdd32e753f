"""The equations against gymnasium step by step, and returns against episodes played there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.cpl_cartpole import environment as cartpole

gymnasium = pytest.importorskip("gymnasium")


@pytest.fixture(scope="module")
def environment():
    made = gymnasium.make("CartPole-v1")
    yield made
    made.close()


def test_every_step_is_that_of_gymnasium(environment):
    inner = environment.unwrapped
    environment.reset(seed=0)
    random = np.random.default_rng(0)
    bound = np.array([2.6, 3.0, 0.24, 3.0])
    states = random.uniform(-bound, bound, (300, 4))
    actions = random.integers(0, 2, 300)
    ours = jax.jit(jax.vmap(cartpole.step))(jnp.asarray(states), jnp.asarray(actions))
    over = np.asarray(cartpole.failed(ours))
    for state, action, after, ended in zip(states, actions, np.asarray(ours), over, strict=True):
        inner.state, inner.steps_beyond_terminated = tuple(state), None
        seen, reward, terminated, _, _ = inner.step(int(action))
        np.testing.assert_allclose(after, np.asarray(inner.state), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(after, seen, rtol=1e-6, atol=1e-6)
        assert reward == 1.0
        assert terminated == ended
    assert 0.2 < over.mean() < 0.8


def test_constants_are_those_of_gymnasium(environment):
    inner = environment.unwrapped
    assert environment.spec.max_episode_steps == cartpole.MAX_STEPS
    assert inner.theta_threshold_radians == pytest.approx(cartpole.ANGLE_LIMIT)
    assert inner.x_threshold == cartpole.POSITION_LIMIT
    assert (inner.tau, inner.length) == (cartpole.SECONDS, cartpole.HALF_LENGTH)


def tired(key, state):
    """A policy that sees the pole's angle alone, and falls after some dozens of steps."""
    del key
    return (state[2] > 0).astype(int)


def test_whole_episodes_end_where_gymnasium_ends_them(environment):
    play = jax.jit(lambda key: cartpole.episode(key, tired))
    for seed in range(3):
        played = play(jax.random.key(seed))
        environment.reset(seed=0)
        inner = environment.unwrapped
        inner.state, inner.steps_beyond_terminated = tuple(np.asarray(played.states[0])), None
        total, terminated = 0.0, False
        while not terminated:
            state = np.asarray(inner.state)
            _, reward, terminated, _, _ = environment.step(int(state[2] > 0))
            total += reward
        assert total == float(played.alive.sum())
        assert 10 < total < cartpole.MAX_STEPS


def test_controllers():
    key = jax.random.key(0)
    assert (cartpole.returns(key, cartpole.linear_controller, 20) == cartpole.MAX_STEPS).all()
    assert float(cartpole.returns(key, tired, 20).mean()) < 100
    first = jax.jit(lambda key: cartpole.episode(key, tired).states[0])(key)
    assert (jnp.abs(first) <= cartpole.SPREAD).all()


def test_network_policy_takes_the_mode_or_draws():
    def apply(parameters, states):
        return parameters[None] + 0 * states[:, :1]

    logits = jnp.array([0.0, 1.0])
    mode = functools.partial(cartpole.network_policy, apply, logits, True)
    drawn = functools.partial(cartpole.network_policy, apply, logits, False)
    keys = jax.random.split(jax.random.key(0), 2000)
    assert (jax.vmap(lambda key: mode(key, jnp.zeros(4)))(keys) == 1).all()
    share = float(jax.vmap(lambda key: drawn(key, jnp.zeros(4)))(keys).mean())
    assert share == pytest.approx(float(jax.nn.softmax(logits)[1]), abs=0.05)
