"""What the figures about exploration share: the separation instance, runs in lanes, intervals over seeds.

A lane is one run: a row of stacked bandits, of stacked hyper-parameters and of keys. All lanes of a method
are one compiled program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared.curves import Curve, bootstrap, curve
from nlhf import logspace
from nlhf.base import Algorithm
from tabular.bandits import Bandit
from tabular.oracle import labelled
from tabular.runner import Axes
from tabular.runner import run as run_method
from tabular.spaces.finite_class import finite_class

EXPONENT = 1 / 8  # c of the separation: the reference plays the rare arm with probability exp(-c/β)
STRIDES = 2000  # records of a long run
GOOD, BAD = 1.0, 0.0  # reward of the rare arm; the other one has 1/2


def rare_arm(inverse_beta: Any, reward: Any) -> Bandit:
    """Stack two-armed bandits: arm 0 has π_ref = exp(-1/(8β)) and the given reward, arm 1 has reward 1/2.

    Args:
      inverse_beta: ``[L]`` 1/β.
      reward: ``[L]``, ``GOOD`` or ``BAD``.

    Reference: arXiv:2405.21046, Proposition 2.1 (the good arm); the bad arm is its mirror image, ours.
    """
    inverse_beta, reward = np.broadcast_arrays(np.asarray(inverse_beta, float), np.asarray(reward, float))
    log_rare = -EXPONENT * inverse_beta
    log_ref = np.stack([log_rare, np.log1p(-np.exp(log_rare))], -1)[:, None, :]
    rewards = np.stack([reward, np.full_like(reward, 0.5)], -1)[:, None, :]
    ones = np.ones((len(reward), 1))
    return Bandit(
        jnp.asarray(rewards), jnp.asarray(log_ref), jnp.asarray(ones), jnp.asarray(1 / inverse_beta)
    )


@functools.cache
def nine_differences() -> Callable:
    """Return the space of the 9 policies with r(a) - r(b) in {-1, -3/4, ..., 1}; ties go to the reference."""
    grid = np.linspace(-1, 1, 9)
    grid = grid[np.argsort(np.abs(grid), kind="stable")]
    return finite_class(np.stack([grid, np.zeros_like(grid)], 1)[:, None, :])


def random_bandits(count: int, actions: int, skew: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rewards uniform on [0, 1] and references softmax(skew U), U uniform on [0, 1].

    Args:
      actions: A.
      skew: how far references are from uniform.

    Returns:
      Rewards and log-references, ``[S, A]`` each; the first ones do not depend on the count.
    """
    pairs = [np.random.default_rng((seed, index)).uniform(size=(2, actions)) for index in range(count)]
    reward, logits = np.stack(pairs, 1)
    return reward, np.asarray(logspace.normalise(jnp.asarray(skew * logits)))


def lane_bandits(reward: np.ndarray, log_ref: np.ndarray, beta: np.ndarray) -> Bandit:
    """Stack bandits with one context.

    Args:
      reward: ``[L, A]``.
      log_ref: ``[L, A]``.
      beta: ``[L]``.
    """
    one = jnp.ones((len(beta), 1))
    return Bandit(jnp.asarray(reward)[:, None], jnp.asarray(log_ref)[:, None], one, jnp.asarray(beta))


def keys(seed: int, indices: Sequence[int] | np.ndarray) -> jax.Array:
    """One key a lane: lanes with the same index share their random numbers.

    Args:
      indices: ``[L]``.
    """
    root = jax.random.key(seed)
    return jax.vmap(lambda index: jax.random.fold_in(root, index))(jnp.asarray(indices))


def gaps(
    method: Algorithm,
    bandits: Bandit,
    lane_keys: jax.Array,
    num_steps: int,
    make_space: Callable,
    *,
    pairs: int = 1,
    every: int = 1,
) -> np.ndarray:
    """Run all lanes of a method and return J(π*) - J(π_t), ``[L, num_steps / every + 1]``.

    Args:
      method: stacked hyper-parameters, a leading axis L on every leaf.
      bandits: stacked, likewise.
      lane_keys: ``[L]``.
    """
    trace = run_method(
        method,
        bandits,
        num_steps=num_steps,
        every=every,
        key=lane_keys,
        measures=("suboptimality",),
        make_space=make_space,
        make_oracle=labelled(pairs),
        axes=(Axes(algorithm=0, game=0, key=0),),
    )
    return np.asarray(trace.of("suboptimality"))


def wasted(gap: np.ndarray, level: float, every: int) -> np.ndarray:
    """How many rounds a run spends at a gap of at least ``level``, from gaps recorded on a stride.

    Args:
      gap: ``[L, R + 1]``.
    """
    return every * (gap[:, :-1] >= level).sum(-1).astype(float)


def rounds_at_gap(
    make: Callable[[Bandit], Algorithm],
    inverse_betas: Sequence[int],
    reward: float,
    seeds: int,
    cap: int,
    level: float,
    seed: int,
) -> np.ndarray:
    """How many of ``cap`` rounds a method spends at a gap of at least ``level`` on a rare arm, ``[S, B]``.

    Args:
      make: the method, stacked as the bandits are.
      inverse_betas: 1/β of the columns.
      reward: of the arm, ``GOOD`` or ``BAD``.
      seed: root of the keys.
    """
    bandits = rare_arm(np.repeat(inverse_betas, seeds), reward)
    every = max(cap // STRIDES, 1)
    lane_keys = keys(seed, np.tile(np.arange(seeds), len(inverse_betas)))
    gap = gaps(make(bandits), bandits, lane_keys, cap, nine_differences(), every=every)
    return wasted(gap, level, every).reshape(len(inverse_betas), seeds).T


def wall_slope(inverse_betas: Sequence[int], rounds: np.ndarray, caps: Sequence[int]) -> float:
    """Slope of log rounds in 1/β over the points below the cap: what does not happen is not measured."""
    below = rounds < 0.9 * np.asarray(caps)
    return slope(np.asarray(inverse_betas, float)[below], np.log(rounds[below]))


def series(method: str, x: Any, values: np.ndarray, statistic: Callable[..., Any] = np.mean) -> Curve:
    """Summarise ``[S, len(x)]`` values over seeds: a statistic with its 95 % bootstrap interval."""
    return curve(method, x, bootstrap(values, statistic))


def slope(x: Any, y: Any) -> float:
    """Least-squares slope.

    >>> round(slope([1, 2, 3], [2, 4, 6]), 6)
    2.0
    """
    return float(np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)[0])
