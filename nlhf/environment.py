"""What a program should set before it computes; importing this does not load JAX."""

from __future__ import annotations

import os
import sys
import warnings

THREADS = 8  # of JAX's pool, at least


def setup() -> None:
    """Turn float64 on, and give JAX's processor threads to spare: the first call of a program or notebook.

    Distances to an equilibrium below about 1e-6 are rounding noise in float32.

    Warns:
      UserWarning: if JAX was loaded before and its pool of threads is small.
    """
    if "jax" in sys.modules and "NPROC" not in os.environ and (os.cpu_count() or 1) < THREADS:
        warnings.warn(
            f"JAX was loaded with a pool of {os.cpu_count()} threads, which batched solves can fill and then "
            f"wait for ever; call nlhf.setup() before the first import of jax, or set NPROC={THREADS}",
            stacklevel=2,
        )
    widen_pool()
    import jax

    jax.config.update("jax_enable_x64", True)


def widen_pool() -> None:
    """Give JAX's processor threads to spare, before it is loaded; a number in NPROC stays.

    Programs that solve batches of linear systems wait inside the pool for parts of their own work. Two of
    them at a time, as figures and the referee run them, fill a pool of two threads and wait for ever.
    """
    os.environ.setdefault("NPROC", str(max(THREADS, 4 * (os.cpu_count() or 1))))
