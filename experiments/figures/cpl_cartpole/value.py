"""The maximum-entropy optimal advantage of CartPole, from a grid: what regret labels are made of.

The four coordinates are cut into a grid, a next state is spread over the 16 corners of its cell by
multilinear interpolation, and what results is a finite MDP (the next corner is drawn with those weights),
solved to the end by soft value iteration:

    Q = 1 + discount Σ_corner weight V(corner),    V = α log Σ_a exp(Q / α),

and V = 0 where the episode is over.

Every step pays 1, as in the environment; unlike there the time limit of 500 steps does not exist. Off the
corners Q is the same backup with V interpolated. How good it is, is measured and not assumed: ``quality``
gives the residual of the soft Bellman equation between the corners, and figures that use it show the returns
of its greedy policy.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.figures.cpl_cartpole import environment as cartpole
from nlhf.base import check_number, check_whole

Array = jax.Array
# half-widths of the grid; speeds beyond are treated as on its edge
LIMITS = (cartpole.POSITION_LIMIT, 3.0, cartpole.ANGLE_LIMIT, 3.0)


class Grid(NamedTuple):
    """Soft values on a grid."""

    value: Array  # ``[n1, n2, n3, n4]`` V at the corners
    temperature: Array  # α
    discount: Array  # of the values
    sweeps: Array  # how many were needed
    residual: Array  # largest change of V in the last one


def solve(
    shape: tuple[int, int, int, int] = (13, 13, 17, 17),
    *,
    temperature: float = 1.0,
    discount: float = 0.99,
    tolerance: float = 1e-6,
) -> Grid:
    """Solve the grid MDP until no value changes by more than ``tolerance``.

    Args:
      shape: corners along x, x', θ, θ', each >= 3; odd, so that 0 is one of them.
      discount: in (0, 1), below 1 since episodes need not end.

    Raises:
      InputError: if a number is out of range.
    """
    check_number("temperature", temperature, open_low=True)
    check_number("discount", discount, high=1 - 1e-6, open_low=True)
    check_number("tolerance", tolerance, open_low=True)
    sizes = tuple(check_whole("corners along an axis", size, low=3) for size in shape)
    return _solve(sizes, jnp.asarray(temperature), jnp.asarray(discount), jnp.asarray(tolerance))


@functools.partial(jax.jit, static_argnums=0)
def _solve(shape: tuple[int, ...], temperature: Array, discount: Array, tolerance: Array) -> Grid:
    axes = [jnp.linspace(-limit, limit, size) for limit, size in zip(LIMITS, shape, strict=True)]
    corners = jnp.stack([axis.ravel() for axis in jnp.meshgrid(*axes, indexing="ij")], -1)
    after = jnp.stack([jax.vmap(cartpole.step, (0, None))(corners, action) for action in (0, 1)])
    index, weight = _corners(shape, after)
    weight = jnp.where(cartpole.failed(after)[..., None], 0.0, weight)

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, _, count = carry
        q = 1 + discount * (weight * value[index]).sum(-1)
        better = temperature * jax.nn.logsumexp(q / temperature, axis=0)
        return better, jnp.abs(better - value).max(), count + 1

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        return (carry[1] > tolerance) & (carry[2] < 20_000)

    start = jnp.full(len(corners), 1 / (1 - discount)), jnp.asarray(jnp.inf), jnp.asarray(0)
    value, residual, count = jax.lax.while_loop(unfinished, sweep, start)
    return Grid(value.reshape(shape), temperature, discount, count, residual)


def _corners(shape: tuple[int, ...], states: Array) -> tuple[Array, Array]:
    """Return flat indices and weights ``[..., 16]`` of the corners around states ``[..., 4]``."""
    ones = (1,) * (states.ndim - 1) + (4,)
    half, size = jnp.asarray(LIMITS, states.dtype).reshape(ones), jnp.asarray(shape).reshape(ones)
    place = jnp.clip((states / half + 1) / 2, 0, 1) * (size - 1).astype(states.dtype)
    low = jnp.clip(jnp.floor(place).astype(int), 0, size - 2)
    share = place - low.astype(states.dtype)
    indices, weights = [], []
    for offsets in itertools.product((0, 1), repeat=4):
        up = jnp.asarray(offsets).reshape(ones)
        flat = jnp.zeros(states.shape[:-1], int)
        for axis, length in enumerate(shape):
            flat = flat * length + low[..., axis] + offsets[axis]
        indices.append(flat)
        weights.append(jnp.where(up == 1, share, 1 - share).prod(-1))
    return jnp.stack(indices, -1), jnp.stack(weights, -1)


def value(grid: Grid, states: Array) -> Array:
    """Interpolate V at states ``[..., 4]``; 0 where the episode is over."""
    index, weight = _corners(grid.value.shape, states)
    inside = (weight * grid.value.ravel()[index]).sum(-1)
    return jnp.where(cartpole.failed(states), 0.0, inside)


def q_values(grid: Grid, states: Array) -> Array:
    """Return Q ``[..., 2]`` at states ``[..., 4]`` that are not over."""
    flat = states.reshape(-1, 4)
    after = jnp.stack([jax.vmap(cartpole.step, (0, None))(flat, action) for action in (0, 1)], -2)
    return (1 + grid.discount * value(grid, after)).reshape(*states.shape[:-1], 2)


def advantage(grid: Grid, states: Array, actions: Array) -> Array:
    """Return ``A* = Q - α log Σ exp(Q/α) = α log π*(a|s)``, ``[...]``.

    Args:
      states: ``[..., 4]``, not over.
      actions: ``[...]`` 0 or 1.
    """
    log_policy = jax.nn.log_softmax(q_values(grid, states) / grid.temperature)
    return grid.temperature * jnp.take_along_axis(log_policy, actions[..., None], -1)[..., 0]


def greedy(grid: Grid, key: Array, state: Array) -> Array:
    """Return the action of larger Q; a policy for ``cartpole.returns`` once the grid is bound."""
    del key
    return q_values(grid, state).argmax()


@jax.jit
def quality(grid: Grid, states: Array) -> Array:
    """Return ``|V - α log Σ exp(Q/α)|`` at states ``[N, 4]``, relative to ``1/(1 - discount)``.

    Args:
      states: where to look; at the corners it is the residual of the last sweep.
    """
    soft = grid.temperature * jax.nn.logsumexp(q_values(grid, states) / grid.temperature, axis=-1)
    return jnp.abs(value(grid, states) - soft) * (1 - grid.discount)
