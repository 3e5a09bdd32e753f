"""Fit many policies to many data sets of segments by the algorithms themselves, in chunks on every core."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from nlhf.base import Algorithm, Comparisons, Policy, PolicySpace
from nlhf.datasets import fixed_batch
from nlhf.replay import latest
from tabular.many import num_workers
from tabular.mdps.mdp import MDP
from tabular.mdps.segment_space import segment_space_to

Array = jax.Array


def fit_many(
    make: Callable[..., Algorithm],
    settings: Mapping[str, Any],
    mdps: MDP,
    comparisons: Comparisons,
    *,
    tolerance: float = 1e-9,
    max_steps: int = 200,
    width: int = 32,
) -> np.ndarray:
    """Take one step of a learner on each of N whole data sets, started from the uniform policy.

    Args:
      make: ``make(replay=..., **settings) -> Algorithm``, a module-level factory of ``nlhf.algorithms``.
      settings: hyper-parameters, each a number or ``[N]``.
      mdps: batch of N; only what ``segment_space`` uses enters a fit.
      comparisons: batch of N data sets ``[N, R, ...]`` of segments; rows of weight 0 are absent.
      tolerance: norm of the gradient at which a fit ends.
      width: fits of a chunk; all chunks share one program, and a chunk ends with its slowest fit.

    Returns:
      ``[N, S, A]`` log-policies.
    """
    count = len(comparisons.weight)
    hyper = {name: np.broadcast_to(np.asarray(value, float), (count,)) for name, value in settings.items()}
    call = functools.partial(_fits, make, segment_space_to(tolerance, max_steps))
    return in_chunks(call, (hyper, mdps, comparisons), width, num_workers())


def in_chunks(function: Callable[..., Any], arguments: tuple, width: int, workers: int = 1) -> Any:
    """Call a jitted function of a batch on equal chunks of a longer batch.

    Args:
      function: ``function(*arguments)``, batched along axis 0 of everything.
      arguments: pytrees of arrays ``[N, ...]``.
      width: length of a chunk; the last one is filled up from the start.
      workers: calls at a time. More than 1 is for programs without linear algebra: two calls that solve
        batches of linear systems wait for each other's threads without end (jaxlib 0.10 on two cores).

    Returns:
      What the function returns, as NumPy arrays ``[N, ...]``.
    """
    arrays = jax.tree.map(np.asarray, arguments)  # NumPy cuts without compiling
    count = len(jax.tree.leaves(arrays)[0])
    chunks = [np.arange(first, first + width) % count for first in range(0, count, width)]

    def call(rows: np.ndarray) -> Any:
        return jax.tree.map(np.asarray, function(*jax.tree.map(lambda leaf: leaf[rows], arrays)))

    done = [call(chunks[0])]  # alone, so that no two threads compile the same program
    with ThreadPoolExecutor(workers) as pool:
        done += pool.map(call, chunks[1:])
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *done)


def fit_whole(algorithm: Algorithm, space: PolicySpace, data: Comparisons) -> Policy:
    """Return the policy after one step from the reference on a whole data set: no chance in it."""
    state = algorithm.init(space.reference)
    return algorithm.step(jax.random.key(0), state, fixed_batch(data), space)[0].policy


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fits(
    make: Callable, make_space: Callable, hyper: dict[str, Array], mdps: MDP, comparisons: Comparisons
) -> Array:
    def one(hyper: dict[str, Array], mdp: MDP, data: Comparisons) -> Policy:
        return fit_whole(make(**hyper, replay=latest(data)), make_space(mdp), data)

    return jax.vmap(one)(hyper, mdps, comparisons)
