"""What this machine can do at most, who else uses it, and how times stand against what is asked for.

A shared machine is never the same twice, so a time means something only against a peer that ran in the same
minute: ``race`` interleaves them and returns medians.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.output import text

Array = jax.Array
QUIET = 0.05  # share of the cores that other programs may take in a measurement to be believed


class Target(NamedTuple):
    """One row of the last table of a report."""

    what: str  # was measured
    measured: str  # with its unit
    asked: str  # with the direction: ``>= 2 x``
    met: Any  # whether it is
    # share of the cores that other programs took meanwhile; ``None`` where nothing tells
    busy: float | None = None


def targets(rows: list[Target]) -> str:
    """Lay out how a benchmark stands against what is asked for."""

    def verdict(row: Target) -> str:
        quiet = row.busy is None or row.busy <= QUIET
        return "missed" if not row.met else "met" if quiet else "met while busy: measure again"

    cells = [[row.what, row.measured, row.asked, verdict(row)] for row in rows]
    return "Targets\n\n" + text.table(["what", "measured", "target", ""], cells, "<>><")


def busy_seconds() -> float | None:
    """Return core seconds that programs other than this one have used since boot, where Linux tells."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, irq, softirq, steal = fields
    used = os.times()
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - used.user - used.system


def race(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time functions in turns; the first turn compiles and is not counted.

    Args:
      functions: by name; each must block until its work is done.
      repeats: turns that count, >= 1.

    Returns:
      Median seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def on_all_cores(function: Callable[[int], Any], workers: int) -> Callable[[], None]:
    """Return a call that runs ``function(worker)`` in as many threads and waits for all of them."""

    def call() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(function, range(workers)))

    return call


@functools.partial(jax.jit, static_argnums=2)
def xla_products(policies: Array, matrix: Array, count: int) -> Array:
    """Multiply ``[G, S, A]`` by ``[G, A, A]``, ``count`` times over in one scan."""

    def multiply(carry: Array, _: None) -> tuple[Array, None]:
        # the factor keeps the numbers from growing; XLA fuses it, or it costs one pass over the policies
        return 0.01 * jnp.einsum("gsb,gba->gsa", carry, matrix), None

    return jax.lax.scan(multiply, policies, length=count)[0]


@functools.partial(jax.jit, static_argnums=1)
def xla_exponentials(values: Array, count: int) -> Array:
    """Take ``exp(-values)`` of the result again and again, ``count`` times."""
    return jax.lax.scan(lambda carry, _: (jnp.exp(-carry), None), values, length=count)[0]


def numpy_products(policies: np.ndarray, matrix: np.ndarray, count: int) -> None:
    """Multiply ``[A, A]`` by ``[A, S]`` (or ``[A]``) ``count`` times."""
    for _ in range(count):
        matrix @ policies


def numpy_exponentials(values: np.ndarray, count: int) -> None:
    """Take the exponential of an array ``count`` times."""
    for _ in range(count):
        np.exp(values)
