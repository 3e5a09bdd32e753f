"""The parts of a run, one after the other or as many at once as there are cores, each announced before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experiments.figures.shared.curves import Announce
from tabular.many import num_workers


def in_threads(calls: Mapping[str, Callable[[], Any]], progress: Announce) -> dict[str, Any]:
    """Make the calls, as many at once as there are cores: compilation, which is long, runs beside runs.

    Args:
      calls: what is done, in words, and how; the longest first.
    """
    lock = threading.Lock()

    def make(name: str) -> Any:
        with lock:
            progress(name, len(calls))
        return calls[name]()

    with ThreadPoolExecutor(num_workers()) as pool:
        return dict(zip(calls, pool.map(make, calls), strict=True))


def in_turn(calls: Mapping[str, Callable[[], Any]], progress: Announce) -> dict[str, Any]:
    """Make the calls one after the other.

    For programs with batched eigenvalues (the Newton fits): two of them at once, in the two threads of a
    machine with two cores, were seen to wait for each other without end, inside the runtime.
    """
    made = {}
    for name, call in calls.items():
        progress(name, len(calls))
        made[name] = call()
    return made
