"""CartPole, version 1, in JAX: the equations of the environment, whole episodes, and a linear controller.

A cart of mass 1 on a track carries a pole of mass 0.1 and half-length 0.5; each of the two actions pushes it
with 10 newtons, to the left (0) or to the right (1), for 0.02 seconds. With θ the angle from the vertical,

    u = (force + 0.05 θ'² sin θ) / 1.1
    θ'' = (9.8 sin θ - cos θ u) / (0.5 (4/3 - 0.1 cos²θ / 1.1)),    x'' = u - 0.05 θ'' cos θ / 1.1

and one explicit Euler step. An episode ends when |x| > 2.4 or |θ| > 12 degrees, or after 500 steps; every
step taken pays 1, the last one too. Tests compare it with gymnasium step by step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

Array = jax.Array
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
POSITION_LIMIT, ANGLE_LIMIT = 2.4, 12 * 2 * math.pi / 360
MAX_STEPS = 500
SPREAD = 0.05  # an episode starts anywhere within this of 0, in all four coordinates
SCALE = (1.0, 1.0, 0.1, 1.0)  # typical size of x, x', θ, θ': what networks are given is the state over this


class Episode(NamedTuple):
    """One episode, in fixed length."""

    states: Array  # ``[500, 4]`` x, x', θ, θ' before each action
    actions: Array  # ``[500]``
    alive: Array  # ``[500]`` booleans, whether the step was taken; their sum is the return


def step(state: Array, action: Array | int) -> Array:
    """Return the next state.

    Args:
      state: ``[4]`` x, x', θ, θ' in metres, radians and seconds.
      action: 0 or 1.
    """
    _, speed, angle, spin = state
    total, moment = CART + POLE, POLE * HALF_LENGTH
    force = jnp.where(action == 1, FORCE, -FORCE)
    pushed = (force + moment * spin**2 * jnp.sin(angle)) / total
    inertia = HALF_LENGTH * (4 / 3 - POLE * jnp.cos(angle) ** 2 / total)
    turn = (GRAVITY * jnp.sin(angle) - jnp.cos(angle) * pushed) / inertia
    push = pushed - moment * turn * jnp.cos(angle) / total
    rates = jnp.stack([speed, push, spin, turn])
    return state + SECONDS * rates


def failed(state: Array) -> Array:
    """Return whether an episode is over in this state, ``[..., 4]`` to ``[...]``."""
    return (jnp.abs(state[..., 0]) > POSITION_LIMIT) | (jnp.abs(state[..., 2]) > ANGLE_LIMIT)


def scaled(states: Array) -> Array:
    """Return states ``[..., 4]`` as networks take them."""
    return states / jnp.asarray(SCALE, states.dtype).reshape((1,) * (states.ndim - 1) + (4,))


def initial(key: Array) -> Array:
    """Draw the first state of an episode."""
    return jax.random.uniform(key, (4,), minval=-SPREAD, maxval=SPREAD)


def linear_controller(key: Array, state: Array) -> Array:
    """Push to the side to which the pole falls, a little more so where the cart is off the middle.

    Args:
      state: ``[4]``.
    """
    del key
    x, speed, angle, spin = state
    return (0.05 * x + 0.15 * speed + angle + 0.3 * spin > 0).astype(int)


def episode(key: Array, policy: Callable[[Array, Array], Array]) -> Episode:
    """Play one episode.

    Args:
      policy: ``policy(key, state) -> action``.
    """
    start_key, play_key = jax.random.split(key)

    def advance(carry: tuple[Array, Array], step_key: Array) -> tuple[tuple[Array, Array], Episode]:
        state, alive = carry
        action = policy(step_key, state)
        after = step(state, action)
        return (jnp.where(alive, after, state), alive & ~failed(after)), Episode(state, action, alive)

    keys = jax.random.split(play_key, MAX_STEPS)
    return jax.lax.scan(advance, (initial(start_key), jnp.asarray(True)), keys)[1]


def network_policy(apply: Any, parameters: Any, greedy: bool, key: Array, state: Array) -> Array:
    """Return the action of a categorical actor, its mode or a draw; bind the first three arguments.

    Args:
      apply: ``apply(parameters, [1, 4] scaled states) -> [1, 2]`` logits.
      state: ``[4]``.
    """
    logits = apply(parameters, scaled(state)[None])[0]
    return jnp.where(greedy, logits.argmax(), jax.random.categorical(key, logits))


def returns(key: Array, policy: Callable[[Array, Array], Array], num_episodes: int) -> Array:
    """Return the undiscounted returns ``[num_episodes]`` of independent episodes.

    Args:
      policy: ``policy(key, state) -> action``.
      num_episodes: >= 1.
    """
    return _returns(key, Partial(policy), num_episodes)


@functools.partial(jax.jit, static_argnums=2)
def _returns(key: Array, policy: Callable, num_episodes: int) -> Array:
    keys = jax.random.split(key, num_episodes)
    return jax.vmap(lambda one: episode(one, policy).alive.sum())(keys)
