"""Optimiser steps in slices: the gradients of parts of a batch are added up before the parameters move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nlhf.errors import InputError
from nlhf.optimiser import apply
from nlhf.policies import Trained
from nlhf.transformer.model.sharding import keep

Array = jax.Array
Objective = Callable[[Any, Any], Array]


def gradient(objective: Objective, parameters: Any, batch: Any, size: int | None) -> Any:
    """Gradient of ``Σ_slices objective(parameters, slice)``.

    Args:
      objective: a sum (not a mean) over the rows of a slice.
      parameters: what is differentiated.
      batch: pytree of arrays ``[B, ...]``.
      size: rows a slice, a divisor of B; ``None`` takes the batch whole.

    Raises:
      InputError: if the size does not divide the batch.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    if size is None or size >= rows:
        return keep(jax.grad(objective)(parameters, batch))

    def add(sums: Any, part: Any) -> tuple[Any, None]:
        return keep(jax.tree.map(jnp.add, sums, jax.grad(objective)(parameters, part))), None

    return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, parameters), _cut(batch, size))[0]


def in_slices(function: Callable[[Any], Array], batch: Any, size: int | None) -> Array:
    """``function(batch)``, row by row the same, a slice at a time.

    Args:
      function: maps rows ``[size, ...]`` to ``[size, ...]``.
      batch: pytree of arrays ``[B, ...]``.
      size: rows a slice, a divisor of B; ``None`` takes the batch whole.

    Raises:
      InputError: if the size does not divide the batch.
    """
    rows = jax.tree.leaves(batch)[0].shape[0]
    if size is None or size >= rows:
        return function(batch)
    return jax.lax.map(function, _cut(batch, size)).reshape(rows, -1)


def _cut(batch: Any, size: int) -> Any:
    """Cut rows ``[B, ...]`` into slices ``[B / size, size, ...]``, or say which sizes there are."""
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows % size:
        divisors = ", ".join(str(n) for n in range(1, rows + 1) if rows % n == 0)
        raise InputError(f"slices of {size} rows do not divide a batch of {rows}; give one of {divisors}")
    return jax.tree.map(lambda leaf: leaf.reshape(rows // size, size, *leaf.shape[1:]), batch)


def move(policy: Trained, grads: Any, optimiser: optax.GradientTransformation) -> Trained:
    """One step of the optimiser."""
    return keep(Trained(*apply(optimiser, grads, policy.optimiser_state, policy.parameters)))
