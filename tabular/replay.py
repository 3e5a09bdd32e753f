"""A memory for tables: how often each pair, in order, got each label; the same fits at a constant cost."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Comparisons, Static, check_whole
from nlhf.errors import InputError
from nlhf.replay import Memory, Replay, check_rows

Array = jax.Array


@functools.cache
def counts(num_contexts: int, num_actions: int) -> Replay:
    """Remember a count for every (context, first, second, label): 2 X A² rows, however long the run.

    A loss of comparisons is a sum over rows, so a fit to counts is the fit to the list they count. Labels
    between 0 and 1 add to both counts; a loss that is linear in its label, as all of ``nlhf.losses`` are,
    sees no difference.

    Args:
      num_contexts: X >= 1.
      num_actions: A >= 1.

    Raises:
      InputError: if a number is not a positive whole number.
    """
    sizes = (check_whole("num_contexts", num_contexts), check_whole("num_actions", num_actions))
    return Replay(Partial(_empty, Static(sizes)), Partial(_append, Static(sizes)))


def _empty(sizes: Static) -> Memory:
    contexts, actions = sizes
    shape = (contexts, actions, actions, 2)
    context, first, second, label = (index.reshape(-1) for index in jnp.indices(shape))
    label = label.astype(jnp.result_type(float))
    return Memory(Comparisons(context, first, second, label, jnp.zeros_like(label)), jnp.zeros((), int))


def check_sizes(replay: Replay, game: Any) -> None:
    """Refuse counts of other sizes than the game's, whose rows would collide or get lost.

    Args:
      replay: any; only one made by ``counts`` is looked at.
      game: ``log_ref`` is ``[..., X, A]``.

    Raises:
      InputError: names both sizes.
    """
    function = getattr(replay.empty, "func", None)
    if function is _empty:
        sizes, wanted = tuple(replay.empty.args[0]), tuple(game.log_ref.shape[-2:])  # type: ignore[attr-defined]
        if sizes != wanted:
            raise InputError(f"the replay is counts{sizes}, but the game has {wanted}; give counts{wanted}")


def _append(sizes: Static, memory: Memory, comparisons: Comparisons) -> Memory:
    check_rows(memory.comparisons, comparisons)
    _, actions = sizes
    row = ((comparisons.context * actions + comparisons.first) * actions + comparisons.second) * 2
    kept = memory.comparisons
    won = jnp.where(comparisons.weight > 0, comparisons.prefer_first, 0)
    weight = kept.weight.at[row + 1].add((comparisons.weight * won).astype(kept.weight.dtype))
    weight = weight.at[row].add((comparisons.weight * (1 - won)).astype(kept.weight.dtype))
    return Memory(kept._replace(weight=weight), memory.appended + comparisons.weight.shape[0])
