"""The grid's values against policy iteration on the same finite MDP, and the advantage's identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.cpl_cartpole import environment as cartpole
from experiments.figures.cpl_cartpole import value as cartpole_value
from nlhf.errors import InputError
from tabular.mdps.mdp import make_mdp
from tabular.mdps.values import soft_values

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

SHAPE = (3, 5, 5, 5)


@pytest.fixture(scope="module")
def grid():
    return cartpole_value.solve(SHAPE, temperature=0.7, discount=0.95, tolerance=1e-10)


def as_mdp():
    """The corners as states of a tabular MDP, spelled out by loops in numpy."""
    axes = [
        np.linspace(-limit, limit, size) for limit, size in zip(cartpole_value.LIMITS, SHAPE, strict=True)
    ]
    corners = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], -1)
    num = len(corners)
    move = jax.jit(jax.vmap(cartpole.step))
    transition, reward = np.zeros((num + 1, 2, num + 1)), np.ones((num + 1, 2))
    for action in (0, 1):
        after = np.asarray(move(jnp.asarray(corners), jnp.full(num, action)))
        for row, state in enumerate(after):
            if abs(state[0]) > 2.4 or abs(state[2]) > cartpole.ANGLE_LIMIT:
                transition[row, action, num] = 1
                continue
            # weight of a corner: the product of the hat functions of the four axes
            hats = [
                np.maximum(0, 1 - np.abs(np.clip(x, axis[0], axis[-1]) - axis) / (axis[1] - axis[0]))
                for x, axis in zip(state, axes, strict=True)
            ]
            transition[row, action, :num] = np.einsum("a,b,c,d->abcd", *hats).ravel()
    reward[num], transition[num] = 0, np.eye(num + 1)[num]
    terminal = np.arange(num + 1) == num
    return make_mdp(transition, reward, terminal=terminal, discount=0.95, beta=0.7), corners


def test_values_are_those_of_the_tabular_solver(grid):
    mdp, corners = as_mdp()
    exact = soft_values(mdp)
    np.testing.assert_allclose(grid.value.ravel(), exact.v[:-1], rtol=1e-7)
    states = jnp.asarray(corners)
    inside = ~np.asarray(cartpole.failed(states))
    for action in (0, 1):
        got = cartpole_value.advantage(grid, states, jnp.full(len(corners), action))
        np.testing.assert_allclose(got[inside], exact.advantage[:-1, action][inside], atol=1e-6)


def test_advantage_is_a_log_policy(grid):
    states = jax.random.uniform(jax.random.key(0), (50, 4), minval=-0.2, maxval=0.2)
    both = jnp.stack([cartpole_value.advantage(grid, states, jnp.full(50, action)) for action in (0, 1)])
    np.testing.assert_allclose(jnp.exp(both / 0.7).sum(0), 1, rtol=1e-12)
    better = jax.vmap(lambda state: cartpole_value.greedy(grid, jax.random.key(0), state))(states)
    np.testing.assert_array_equal(better, both.argmax(0))


def test_mirrored_states_have_mirrored_values(grid):
    states = jax.random.uniform(jax.random.key(1), (50, 4), minval=-0.2, maxval=0.2)
    q, mirrored = (cartpole_value.q_values(grid, sign * states) for sign in (1, -1))
    np.testing.assert_allclose(q, mirrored[:, ::-1], rtol=1e-8)


def test_quality_sees_the_residual_between_corners(grid):
    corner = jnp.zeros((1, 4))
    assert float(cartpole_value.quality(grid, corner)[0]) < 1e-9
    assert float(cartpole_value.quality(grid, corner + 0.03)[0]) > 1e-6


def test_refusals():
    for name, changes in {
        "temperature": {"temperature": 0.0},
        "discount": {"discount": 1.0},
        "corners": {"shape": (2, 3, 3, 3)},
        "tolerance": {"tolerance": -1.0},
    }.items():
        with pytest.raises(InputError, match=name):
            cartpole_value.solve(**changes)


@pytest.mark.slow
def test_the_greedy_policy_of_the_default_grid_balances():
    grid = cartpole_value.solve()
    policy = jax.tree_util.Partial(cartpole_value.greedy, grid)
    assert float(cartpole.returns(jax.random.key(0), policy, 50).min()) == cartpole.MAX_STEPS
