"""What a learner remembers of the comparisons it has seen, in fixed capacity, so that a run is one scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Array, Comparisons, Count, check_whole
from nlhf.errors import InputError


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
    capacity = check_whole("capacity", capacity)
    return Replay(Partial(_empty, Count(capacity), response), Partial(_write))


def _empty(capacity: Count, response: Any) -> Memory:
    return Memory(no_comparisons(capacity, response), jnp.zeros((), int))


def _write(memory: Memory, comparisons: Comparisons) -> Memory:
    check_rows(memory.comparisons, comparisons)
    capacity, new = memory.comparisons.weight.shape[0], comparisons.weight.shape[0]
    if new > capacity:
        raise InputError(
            f"the oracle answers {new} comparisons a step, but the buffer holds {capacity}; "
            f"give buffer({new}) or more"
        )
    slots = (memory.appended + jnp.arange(new)) % capacity
    written = jax.tree.map(
        lambda old, rows: old.at[slots].set(rows.astype(old.dtype)), memory.comparisons, comparisons
    )
    return Memory(written, memory.appended + new)


def check_rows(kept: Comparisons, new: Comparisons) -> None:
    """Refuse rows of another kind than those that a memory was made for; only shapes are read.

    Args:
      kept: the memory's rows.
      new: the oracle's.

    Raises:
      InputError: if a response is another structure, or of another shape.
    """

    def kind(comparisons: Comparisons) -> tuple:
        leaves, structure = jax.tree.flatten(comparisons.first)
        return structure, [jnp.shape(leaf)[1:] for leaf in leaves]

    if kind(kept) != kind(new):
        raise InputError(
            f"the oracle's responses are {kind(new)}, but the memory holds {kind(kept)}; "
            "give buffer(capacity, response=one response of the oracle)"
        )


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
    check_rows(memory.comparisons, comparisons)
    kept, new = memory.comparisons.weight.shape[0], comparisons.weight.shape[0]
    if new != kept:
        raise InputError(
            f"the oracle answers {new} comparisons a step, but this memory was made from {kept}; "
            "give latest(an answer of this oracle)"
        )
    kept = jax.tree.map(lambda old, rows: rows.astype(old.dtype), memory.comparisons, comparisons)
    return Memory(kept, memory.appended + comparisons.weight.shape[0])
