"""One step of an optimiser of optax, for every space that trains by gradients."""

from __future__ import annotations

from typing import Any

import jax
import optax


def apply(optimiser: Any, grads: Any, state: Any, point: Any, **more: Any) -> tuple[Any, Any]:
    """Move a point by one step and return it with the optimiser's new state.

    Args:
      optimiser: an optax transformation.
      grads: pytree like ``point``.
      state: of the optimiser at this point.
      point: pytree of parameters.
      **more: what the transformation takes besides (a line search: ``value``, ``grad``, ``value_fn``).
    """
    # optax multiplies floats by integer counts, which ``jax.numpy_dtype_promotion("strict")`` refuses
    with jax.numpy_dtype_promotion("standard"):
        moves, state = optimiser.update(grads, state, point, **more)
    return optax.apply_updates(point, moves), state
