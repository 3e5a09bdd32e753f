"""Run several algorithms over games x settings x seeds on every core: what a figure calls.

A batch of settings over one game is already one matrix product an iteration in ``tabular.runner``. What is
left is the rest of the processor: XLA runs a scan of small operations on one core, and releases the
interpreter's lock while it does. So each algorithm is one compiled call for each chunk of the batch, and the
calls run in threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Policy, as_algorithm, check_number
from nlhf.errors import InputError
from tabular.games import Game, with_beta
from tabular.mistakes import warn_outside_range
from tabular.runner import Axes, run, with_origin
from tabular.spaces.simplex import simplex
from tabular.traces import Trace

Array = jax.Array


def grid(games: Sequence[Game], betas: Any) -> tuple[Game, tuple[Axes, Axes]]:
    """Cross G games of one shape with S settings, for ``run_many`` or ``run``.

    Each setting is a value of β and, in the same place, one entry of every hyper-parameter of an algorithm.

    Args:
      games: G games whose arrays have the same shapes; their own β is dropped.
      betas: ``[S]`` KL coefficients, >= 0.

    Returns:
      The stacked game (``advantage [G, X, A, A]``, ``beta [S]``) and two levels of axes: games, settings. For
      seeds append ``Axes(key=0)`` and pass S' keys: all games and settings then share them.

    Raises:
      InputError: if there is no game, their shapes differ, or betas is not one-dimensional.

    >>> from tabular.families import dice
    >>> from tabular.games import make_game
    >>> stacked, axes = grid([make_game(dice()), make_game(dice().T)], [0.1, 0.2, 0.3])
    >>> stacked.advantage.shape, stacked.beta.shape, len(axes)
    ((2, 1, 3, 3), (3,), 2)
    """
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves((game.advantage, game.log_ref))) for game in games}
    if len(shapes) != 1:
        raise InputError(
            f"the games have {len(shapes)} different shapes, but a batch needs exactly 1; "
            "run games of other sizes apart"
        )
    if np.ndim(betas) != 1:
        raise InputError(f"betas has {np.ndim(betas)} dimensions, but it must be a list of numbers")
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(with_beta(game, 0.0) for game in games))
    over_games = Axes(game=Game(0, 0, 0, None), log_nash=0)
    over_settings = Axes(algorithm=0, game=Game(None, None, None, 0), log_nash=0)
    return with_beta(stacked, betas), (over_games, over_settings)


def run_many(
    algorithms: Mapping[str, Algorithm],
    game: Any,
    *,
    num_steps: int | Mapping[str, int],
    axes: tuple[Axes, ...] = (),
    workers: int | None = None,
    key: Array | None = None,
    start: Policy | None = None,
    log_nash: Array | None = None,
    **settings: Any,
) -> dict[str, Trace]:
    """Run each algorithm over the same batch, on all cores; the traces are those of ``tabular.runner.run``.

    The outermost level of ``axes`` is cut into equal chunks, as many as there are workers or the nearest
    smaller number that divides it, so that all chunks of an algorithm share one compilation.

    Args:
      algorithms: by name; each with its hyper-parameters batched as ``axes`` says.
      num_steps: number of steps, one for all or by name (the same number of queries, say).
      axes: levels of ``vmap``, outermost first; see ``grid``.
      workers: calls that run at the same time, >= 1; ``None`` is the number of cores, or 1 on an accelerator.
        On two cores, programs that solve batches of linear systems (decision processes) can wait for each
        other for ever: give 1, or set NPROC=8 in the environment before JAX is loaded.
        Each worker holds the traces and states of its chunk, never a copy of P.
      key: as in ``run``.
      start: as in ``run``.
      log_nash: as in ``run``; with ``grid`` it is ``[G, S, X, A]``.
      **settings: ``measures``, ``every``, ``make_space``, ``make_oracle`` of ``run``. Settings
        of JAX made by context managers do not reach the threads; ``jax.config.update`` does.

    Returns:
      A ``Trace`` for each name.

    Raises:
      InputError: as ``run``, or if workers is not a positive number.

    Warns:
      RangeWarning: as ``run``, once an algorithm.
    """
    workers = num_workers() if workers is None else workers
    log_nash = getattr(log_nash, "log_policy", log_nash)
    check_number("workers", workers, low=1)
    algorithms = {name: as_algorithm(each) for name, each in algorithms.items()}
    for algorithm in algorithms.values():
        warn_outside_range(algorithm, game.beta)
    # without its claims a run does not warn again; nothing else in a run reads them
    bare = {name: algorithm._replace(claims=()) for name, algorithm in algorithms.items()}
    parts = _chunks(axes[0], (game, key, start, log_nash), workers) if axes else [slice(None)]

    def call(task: tuple[slice, str]) -> Trace:
        part, name = task
        arguments = (bare[name], game, key, start, log_nash)
        if len(parts) > 1:
            arguments = _cut(axes[0], arguments, part)
        method, games, keys, first, nash = arguments
        steps = num_steps if isinstance(num_steps, int) else num_steps[name]
        trace = run(
            method, games, num_steps=steps, axes=axes, key=keys, start=first, log_nash=nash, **settings
        )
        return jax.block_until_ready(trace)

    # chunks outermost: the first calls are different algorithms, so that no two threads compile the same one
    tasks = [(part, name) for part in parts for name in bare]
    with ThreadPoolExecutor(int(workers)) as pool:
        traces = list(pool.map(call, tasks))
    found = {}
    for index, (name, algorithm) in enumerate(algorithms.items()):
        chunks = traces[index :: len(bare)]
        if len(parts) > 1:
            chunks = [jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *chunks)]
        subject = (algorithm, game, start, log_nash)
        found[name] = with_origin(chunks[0], subject, settings.get("make_space", simplex), axes)
    return found


def num_workers() -> int:
    """How many calls run at a time by default: one a core, or 1 on an accelerator, which one call fills."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(axis: Axes, arguments: tuple, workers: int) -> list[slice]:
    sizes: list[int] = []
    for entry, tree in zip((axis.game, axis.key, axis.start, axis.log_nash), arguments, strict=True):
        _map_batched(lambda leaf, where: sizes.append(leaf.shape[where]), entry, tree)
    if not sizes:
        return [slice(None)]  # only hyper-parameters vary at this level
    count = max(number for number in range(1, int(workers) + 1) if sizes[0] % number == 0)
    width = sizes[0] // count
    return [slice(first, first + width) for first in range(0, sizes[0], width)]


def _cut(axis: Axes, arguments: tuple, part: slice) -> tuple:
    """Take one chunk of every array that this level batches."""

    def take(leaf: Array, where: int) -> Array:
        return leaf[(slice(None),) * where + (part,)]

    return tuple(_map_batched(take, entry, tree) for entry, tree in zip(axis, arguments, strict=True))


def _map_batched(function: Any, entry: Any, tree: Any) -> Any:
    """Apply ``function(leaf, axis)`` to the leaves that ``entry``, a prefix of ``tree``, gives an axis."""
    if tree is None:
        return None

    def visit(where: int | None, branch: Any) -> Any:
        return branch if where is None else jax.tree.map(lambda leaf: function(leaf, where), branch)

    return jax.tree.map(visit, entry, tree, is_leaf=lambda leaf: leaf is None)
