"""What the rows of this folder measure with: an outcome of errors by instance, a fitted exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from proofs_checks.rows import ROUNDING, Outcome


def judged(
    error: Any,
    control: str,
    wrong: Any,
    limit: float = 1 + ROUNDING,
    *,
    instances: int | None = None,
    detail: Mapping[str, Any] | None = None,
    **witness: Any,
) -> Outcome:
    """Outcome of errors by instance: the largest, and the instance that reached it.

    Args:
      error: ``[N, ...]``, or one number; NaN is worse than anything.
      control: which wrong version went through the same measurement.
      wrong: what it reached; of several numbers the largest.
      limit: of the error.
      instances: how many were judged; ``None`` is N.
      detail: further figures.
      **witness: arrays ``[N, ...]``, of which the worst instance's entry is shown; anything else as it is.
    """
    each = np.atleast_1d(np.asarray(error))
    each = each.reshape(len(each), -1).max(1)
    worst = int(each.argmax())
    shown = {
        name: np.asarray(of)[worst].tolist() if isinstance(of, np.ndarray | jax.Array) else of
        for name, of in witness.items()
    }
    return Outcome(
        len(each) if instances is None else instances,
        float(each[worst]),
        control,
        float(np.max(wrong)),
        limit,
        shown,
        {name: float(value) for name, value in (detail or {}).items()},
    )


def log_slope(size: np.ndarray, value: np.ndarray) -> float:
    """Exponent c of ``value ~ size^c``, by least squares in the logarithms."""
    return float(np.polyfit(np.log(size), np.log(value), 1)[0])
