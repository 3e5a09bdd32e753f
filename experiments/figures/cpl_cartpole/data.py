"""Comparisons of CartPole segments: expert rollouts, noise injected by replaying them, labels by a rule.

Expert rollouts alone hold little to prefer. A segment therefore starts in a state that the expert visited and
replays its actions in the equations of motion, each replaced with probability ε by a coin flip, with ε drawn
for each segment from [0, ``noise``]. Replayed in the open loop, the expert's own actions fit less and
less as states drift off, so most segments are neither good nor random. Segments in which the pole falls are
drawn again: comparisons need one length.
"""

from __future__ import annotations

import functools
import itertools
import pathlib
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.cpl_cartpole import environment as cartpole
from experiments.figures.cpl_cartpole.value import Grid, advantage
from nlhf.base import Comparisons
from nlhf.datasets import compare
from nlhf.errors import InputError
from nlhf.segments import Segments

Array = jax.Array
FILE = "cartpole.npz"
LABELS = ("regret", "partial_return")


class Rollouts(NamedTuple):
    """Whole episodes of an expert, end to end."""

    states: np.ndarray  # ``[M, 4]`` before each action
    actions: np.ndarray  # ``[M]``
    left: np.ndarray  # ``[M]`` how many steps of the same episode follow, this one included
    returns: np.ndarray  # ``[E]`` of the episodes


def own_rollouts(key: Array, num_episodes: int = 57) -> Rollouts:
    """Return episodes of the linear controller, which never falls.

    Args:
      num_episodes: >= 1.
    """
    keys = jax.random.split(key, num_episodes)
    played = jax.jit(jax.vmap(lambda one: cartpole.episode(one, cartpole.linear_controller)))(keys)
    lengths = np.asarray(played.alive.sum(1))
    states = [np.asarray(played.states[row, :length]) for row, length in enumerate(lengths)]
    actions = [np.asarray(played.actions[row, :length]) for row, length in enumerate(lengths)]
    return _stack(states, actions)


def read_rollouts(folder: str) -> Rollouts:
    """Read ``cartpole.npz``: observations (one more than actions an episode), actions, ends of episodes.

    Args:
      folder: that holds the file, or a folder ``rollouts`` with it.

    Raises:
      InputError: if it is missing, is no archive of these arrays, or its arrays do not belong together.
    """
    path = pathlib.Path(folder) / FILE
    if not path.exists() and (nested := pathlib.Path(folder) / "rollouts" / FILE).exists():
        path = nested  # one folder for the data of all figures
    try:
        with np.load(path, allow_pickle=False) as archive:
            states, actions, ends = (archive[name] for name in ("obs", "acts", "indices"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a folder that holds {FILE}") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not an archive of obs, acts and indices ({str(error)[:60]}); give another"
        ) from None
    bounds = [0, *(int(end) for end in np.ravel(ends)), len(actions)]
    fits = states.ndim == 2 and states.shape[1] == 4 and len(states) == len(actions) + len(bounds) - 1
    if not fits or sorted(set(bounds)) != bounds:
        raise InputError(
            f"{path}: {states.shape} observations, {len(actions)} actions and {len(bounds) - 2} ends do not "
            "belong together; every episode needs one observation more than actions"
        )
    if not np.isin(actions, (0, 1)).all() or not np.isfinite(states).all():
        raise InputError(
            f"{path}: holds an action that is not 0 or 1, or a state that is not finite; clean it"
        )
    pairs = list(enumerate(itertools.pairwise(bounds)))
    return _stack(
        [states[low + row : high + row] for row, (low, high) in pairs],
        [actions[low:high] for _, (low, high) in pairs],
    )


def _stack(states: list[np.ndarray], actions: list[np.ndarray]) -> Rollouts:
    lengths = [len(one) for one in actions]
    return Rollouts(
        np.concatenate(states).astype(float),
        np.concatenate(actions).astype(int),
        np.concatenate([np.arange(length, 0, -1) for length in lengths]),
        np.asarray(lengths, float),
    )


def draw_segments(key: Array, rollouts: Rollouts, num: int, length: int, noise: float) -> Segments:
    """Return ``num`` segments in physical units, states ``[num, length, 4]``.

    Args:
      num: >= 1.
      length: T >= 1 steps.
      noise: largest share of replaced actions, in [0, 1].

    Raises:
      InputError: if no episode has so many steps, or too few segments stay upright.
    """
    places = np.flatnonzero(rollouts.left >= length)
    if places.size == 0:
        raise InputError(
            f"length is {length}, but the longest episode has {rollouts.left.max()} steps; cut it"
        )
    # three times as many as are needed: about nine in ten stay upright for 20 steps
    segments, upright = _replay(
        key,
        jnp.asarray(rollouts.states),
        jnp.asarray(rollouts.actions),
        jnp.asarray(places),
        noise,
        3 * num,
        length,
    )
    rows = np.flatnonzero(np.asarray(upright))[:num]
    if len(rows) < num:
        raise InputError(
            f"of {3 * num} segments of {length} steps only {len(rows)} stay upright; shorten length, or "
            "lower noise"
        )
    return jax.tree.map(lambda column: column[rows], segments)


@functools.partial(jax.jit, static_argnums=(5, 6))
def _replay(
    key: Array, states: Array, actions: Array, places: Array, noise: float, num: int, length: int
) -> tuple[Segments, Array]:
    def one(key: Array) -> tuple[Segments, Array]:
        place_key, share_key, flip_key, coin_key = jax.random.split(key, 4)
        start = places[jax.random.randint(place_key, (), 0, len(places))]
        share = jax.random.uniform(share_key) * noise
        recorded = jax.lax.dynamic_slice(actions, (start,), (length,))
        flipped = jax.random.uniform(flip_key, (length,)) < share
        coins = jax.random.bernoulli(coin_key, shape=(length,)).astype(recorded.dtype)
        chosen = jnp.where(flipped, coins, recorded)

        def advance(state: Array, action: Array) -> tuple[Array, Array]:
            return cartpole.step(state, action), state

        last, visited = jax.lax.scan(advance, states[start], chosen)
        over = cartpole.failed(visited).any() | cartpole.failed(last)
        return Segments(visited, chosen), ~over

    return jax.vmap(one)(jax.random.split(key, num))


def label(key: Array, grid: Grid, first: Segments, second: Segments, rule: str) -> Array:
    """Draw labels ``1{first wins}`` with the log-odds that a rule says, ``[N]``.

    Args:
      grid: the optimal advantage.
      first: N segments in physical units.
      rule: "regret": log-odds ``Σ_t A*(s_t, a_t)`` of the first minus that of the second; or
        "partial_return": the difference of what the steps pay, which is 0 for segments that stay upright.

    Raises:
      InputError: on another rule.
    """
    if rule not in LABELS:
        raise InputError(f"{rule!r} is no rule of labels; known are {', '.join(LABELS)}")
    if rule == "partial_return":
        log_odds = jnp.zeros(first.actions.shape[0])  # T - T: every step of either pays 1
    else:
        log_odds = total_advantage(grid, first) - total_advantage(grid, second)
    return jax.random.bernoulli(key, jax.nn.sigmoid(log_odds)).astype(log_odds.dtype)


@jax.jit
def total_advantage(grid: Grid, segments: Segments) -> Array:
    """Return ``Σ_t A*(s_t, a_t)`` of segments in physical units, ``[N]``; minus their regret."""
    return advantage(grid, segments.states, segments.actions).sum(-1)


def scaled(first: Segments, second: Segments, labels: Array) -> Comparisons:
    """Return comparisons with states as networks take them.

    Args:
      first: N segments in physical units.
      labels: ``[N]``.
    """
    first, second = (Segments(cartpole.scaled(side.states), side.actions) for side in (first, second))
    return compare(first, second, labels)
