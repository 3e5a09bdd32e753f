"""Segments of trajectories: what is compared in a decision process, where a bandit compares actions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.base import check_number
from nlhf.errors import InputError

Array = jax.Array


class Segments(NamedTuple):
    """Segments of one length T; steps follow each other, and T is the same for all of them.

    Attributes:
      states: ``[..., T]`` indices, or ``[..., T, D]`` feature vectors.
      actions: ``[..., T]`` indices, or ``[..., T, K]`` vectors.
    """

    states: Any
    actions: Any


def make_segments(states: Any, actions: Any) -> Segments:
    """Stack segments, which may come as lists of unequal length, and refuse those.

    Args:
      states: N sequences of T states, each an index or a vector.
      actions: N sequences of T actions, likewise.

    Raises:
      InputError: if two segments differ in length, a segment has as many states as not actions, or T is 0.

    >>> make_segments([[0, 1], [2, 3]], [[0, 0], [1, 1]]).states.shape
    (2, 2)
    >>> make_segments([[0, 1], [2]], [[0, 0], [1]])
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: segment 1 has 1 steps, but segment 0 has 2; cut all segments to one length
    """
    for index, (visited, chosen) in enumerate(zip(states, actions, strict=True)):
        if len(visited) != len(chosen):
            raise InputError(
                f"segment {index} has {len(visited)} states and {len(chosen)} actions, but every step is one "
                "state and one action; leave out the state after the last action"
            )
        if len(visited) != len(states[0]):
            raise InputError(
                f"segment {index} has {len(visited)} steps, but segment 0 has {len(states[0])}; "
                "cut all segments to one length"
            )
    segments = Segments(jnp.asarray(states), jnp.asarray(actions))
    if segments.actions.ndim < 2 or segments.actions.shape[1] == 0:
        raise InputError("the segments have 0 steps, but at least 1 is needed; leave empty segments out")
    return segments


def check_pair(first: Segments, second: Segments) -> int:
    """Return the common length T of two batches ``[N, T, ...]`` of segments that are to be compared.

    Sums over T steps and over T' steps differ by what the constant of the score is worth in T - T' steps:
    comparisons of unequal segments identify something else.

    Args:
      first: one side.
      second: the other.

    Raises:
      InputError: if the two differ in length or number, or states and actions do not belong together.
    """
    for name, side in (("first", first), ("second", second)):
        if jnp.shape(side.states)[:2] != jnp.shape(side.actions)[:2] or jnp.ndim(side.actions) < 2:
            raise InputError(
                f"the {name} segments have states of shape {jnp.shape(side.states)} and actions of shape "
                f"{jnp.shape(side.actions)}, but both must begin with [N, T]; reshape them"
            )
    (num_first, length_first), (num_second, length_second) = first.actions.shape[:2], second.actions.shape[:2]
    if length_first != length_second:
        raise InputError(
            f"the first segments have {length_first} steps and the second {length_second}, but a comparison "
            "needs segments of one length; cut the longer ones"
        )
    if num_first != num_second:
        raise InputError(
            f"there are {num_first} first and {num_second} second segments, but each comparison has one of "
            "either; drop the unpaired ones"
        )
    return int(length_first)


def discounted_sum(values: Array, discount: Any) -> Array:
    """Return ``Σ_t discount^t values_t`` over the last axis; ``[..., T]`` to ``[...]``.

    Args:
      values: ``[..., T]``, the first step of the segment first.
      discount: in (0, 1]; 1 is the plain sum.

    >>> float(discounted_sum(jnp.array([1.0, 2.0, 4.0]), 0.5))
    3.0
    """
    check_number("discount", discount, high=1, open_low=True)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.result_type(float))  # in integers a discount would be 0
    steps = jnp.arange(values.shape[-1], dtype=values.dtype)
    return values @ jnp.asarray(discount, values.dtype) ** steps
