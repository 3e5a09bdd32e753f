"""What a learner remembers of the comparisons it has seen, in fixed capacity, so that a run is one scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Array, Comparisons, Static, check_whole


class Memory(NamedTuple):
    """What is remembered.

    Attributes:
      comparisons: the rows; those that hold nothing have weight 0.
      appended: how many rows were appended so far.
    """

    comparisons: Comparisons
    appended: Array


class Replay(NamedTuple):
    """How to remember.

    Attributes:
      empty: ``empty() -> Memory``.
      append: ``append(memory, comparisons) -> Memory``.
    """

    empty: Callable[[], Memory]
    append: Callable[[Memory, Comparisons], Memory]


def no_comparisons(capacity: int, response: Any = 0) -> Comparisons:
    """Return ``capacity`` rows of weight 0.

    Args:
      capacity: N >= 1.
      response: one response (an index, tokens ``[T]``, a pytree); only its shapes and dtypes are used.

    Raises:
      InputError: if capacity is not a positive whole number.
    """
    capacity = check_whole("capacity", capacity)

    def rows(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return jnp.zeros((capacity, *leaf.shape), leaf.dtype)

    columns = jax.tree.map(rows, response)
    return Comparisons(
        context=jnp.zeros(capacity, int),
        first=columns,
        second=columns,
        prefer_first=jnp.zeros(capacity),
        weight=jnp.zeros(capacity),
    )


def buffer(capacity: int, response: Any = 0) -> Replay:
    """Keep every row, up to a capacity; beyond it the oldest ones are overwritten.

    Args:
      capacity: rows; number of steps times comparisons a step keeps them all.
      response: as in ``no_comparisons``; the default is an action's index.

    Raises:
      InputError: if capacity is not a positive whole number; from a step that appends more rows than fit.
    """
    check_whole("capacity", capacity)
    return Replay(Partial(_empty, Static((capacity,)), response), Partial(_write))


def _empty(settings: Static, response: Any) -> Memory:
    return Memory(no_comparisons(settings[0], response), jnp.zeros((), int))


def _write(memory: Memory, comparisons: Comparisons) -> Memory:
    capacity, new = memory.comparisons.weight.shape[0], comparisons.weight.shape[0]
    check_whole("capacity", capacity, low=new)
    slots = (memory.appended + jnp.arange(new)) % capacity
    written = jax.tree.map(
        lambda old, rows: old.at[slots].set(rows.astype(old.dtype)), memory.comparisons, comparisons
    )
    return Memory(written, memory.appended + new)


def latest(comparisons: Comparisons) -> Replay:
    """Keep the newest answer of the oracle and nothing else: what an offline data set needs.

    Args:
      comparisons: an answer of the oracle (the data set itself); only its shapes and dtypes are used.
    """
    shapes = jax.tree.map(jnp.zeros_like, comparisons)
    return Replay(Partial(_first, shapes), Partial(_replace))


def _first(shapes: Comparisons) -> Memory:
    return Memory(shapes, jnp.zeros((), int))


def _replace(memory: Memory, comparisons: Comparisons) -> Memory:
    kept = jax.tree.map(lambda old, rows: rows.astype(old.dtype), memory.comparisons, comparisons)
    return Memory(kept, memory.appended + comparisons.weight.shape[0])
