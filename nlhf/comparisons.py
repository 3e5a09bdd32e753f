"""Rows of labelled comparisons: those that hold nothing cleaned, and draws by weight."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nlhf.base import Array, Comparisons


def clean(comparisons: Comparisons, dtype: Any = None) -> Comparisons:
    """Put zeros where no comparison is: anything may stand there, and NaN times a weight of 0 is NaN.

    Args:
      comparisons: N rows.
      dtype: of all floats of the result; ``None`` leaves them.
    """

    def zeroed(column: Array) -> Array:
        if dtype is not None and jnp.issubdtype(column.dtype, jnp.floating):
            column = column.astype(dtype)
        present = (comparisons.weight > 0).reshape((-1,) + (1,) * (column.ndim - 1))
        return jnp.where(present, column, jnp.zeros((), column.dtype))

    return jax.tree.map(zeroed, comparisons)


def rows_at(comparisons: Comparisons, upper: Array, draws: Array, last: Array) -> Comparisons:
    """Return the rows that uniform draws fall on: the distribution function of the rows, inverted.

    Args:
      comparisons: N rows.
      upper: ``[N]`` running sums of their weights.
      draws: ``[B]`` uniform in [0, upper[-1]].
      last: the last row that has weight; no draw goes beyond it.
    """
    index = jnp.searchsorted(upper, draws, side="right")
    index = jnp.minimum(index.astype(last.dtype), last)
    return jax.tree.map(lambda column: column[index], comparisons)
