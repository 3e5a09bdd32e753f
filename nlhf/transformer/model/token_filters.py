"""From scores to one token: temperature, top-k, top-p and a draw by inverse distribution function.

Weights are unnormalised probabilities whose largest is 1. All numbers may be traced, so that another
temperature compiles nothing; thresholds are found by bisection on the bits of a float, without a sort.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def weigh(scores: Array, temperature: Any = 1.0, top_k: Any = None, top_p: Any = None) -> Array:
    """``exp((s - max s) / temperature)``, 0 for what top-k and then top-p leave out; ``[..., V]``.

    Args:
      scores: ``[..., V]`` unnormalised log-probabilities.
      temperature: >= 0; 0 leaves the largest only.
      top_k: >= 1, how many to keep (all that equal the last one too), or ``None`` for all.
      top_p: in (0, 1], mass to keep, as few as reach it (all that equal the last one too), or ``None``.
    """
    shifted = scores - scores.max(-1, keepdims=True)
    lowest = jnp.finfo(scores.dtype).tiny
    weights = jnp.exp(shifted / jnp.maximum(jnp.asarray(temperature, scores.dtype), lowest))
    if top_k is not None:
        weights = _keep(weights, lambda kept: kept.sum(-1, dtype=jnp.int32) >= jnp.asarray(top_k, jnp.int32))
    if top_p is not None:
        enough = jnp.asarray(top_p, scores.dtype)
        goal = enough * weights.sum(-1)
        # at 1 nothing goes, not even what is lost in the rounding of the sum
        few = _keep(weights, lambda kept: jnp.where(kept, weights, jnp.zeros_like(weights)).sum(-1) >= goal)
        weights = jnp.where(enough < 1, few, weights)
    return weights


def _keep(weights: Array, suffices: Callable[[Array], Array]) -> Array:
    """Zero the weights below the largest threshold at which ``suffices(weights >= threshold)``.

    Non-negative floats are ordered as their bits are, so a bisection of whole numbers ends at the threshold.
    """
    whole = jnp.dtype(f"int{jnp.finfo(weights.dtype).bits}")
    bits = jax.lax.bitcast_convert_type(weights, whole)
    above = jax.lax.bitcast_convert_type(jnp.nextafter(jnp.ones((), weights.dtype), 2), whole)
    low = jnp.zeros(weights.shape[:-1], whole)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + (high - low) // 2
        good = suffices(bits >= middle[..., None])
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    rounds = jnp.finfo(weights.dtype).bits - 1
    low, _ = jax.lax.fori_loop(0, rounds, halve, (low, jnp.broadcast_to(above, low.shape)))
    return jnp.where(bits >= low[..., None], weights, jnp.zeros_like(weights))


def draw(uniform: Array, weights: Array) -> Array:
    """Draw an index with probability ``weights / Σ weights``, ``[...]`` int32; never one of weight 0.

    First a block of about √V neighbours, then one of the block, each by its own uniform: no sum is longer
    than that, so the error of a probability is a few units of rounding at any V.

    Args:
      uniform: ``[..., 2]`` in [0, 1); zeros give the first index of positive weight.
      weights: ``[..., V]`` >= 0, not all 0.
    """
    vocabulary = weights.shape[-1]
    size = min(vocabulary, 1 << (vocabulary.bit_length() // 2))
    num = -(-vocabulary // size)
    ends = [(0, 0, 0)] * (weights.ndim - 1) + [(0, num * size - vocabulary, 0)]
    parts = jax.lax.pad(weights, jnp.zeros((), weights.dtype), ends).reshape(*weights.shape[:-1], num, size)
    block = _first(uniform[..., 0], parts.sum(-1))
    part = jnp.take_along_axis(parts, block[..., None, None], axis=-2)[..., 0, :]
    return jnp.minimum(block * size + _first(uniform[..., 1], part), vocabulary - 1)


def _first(uniform: Array, mass: Array) -> Array:
    """First index of positive mass where the cumulative sum exceeds ``uniform`` times the total."""
    # a parallel cumulative sum need not be monotone in its last bit, hence the maximum and ``some``
    some = mass > 0
    total = jnp.where(some, jnp.cumsum(mass, axis=-1), jnp.zeros_like(mass))
    target = uniform.astype(mass.dtype)[..., None] * total.max(-1, keepdims=True)
    index = jnp.arange(mass.shape[-1], dtype=jnp.int32).reshape((1,) * (mass.ndim - 1) + (-1,))
    last = jnp.asarray(mass.shape[-1] - 1, jnp.int32)
    return jnp.where(some & (total > target), index, last).min(-1)
