"""Judge entries of the ledger in two threads: rows in the caller's, searches for worst instances in another.

A search is mostly compilation, which releases the interpreter's lock, so that it can use a second core. Rows
stay in one thread: they share caches, warnings filters and the precision of ball arithmetic.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proofs_checks.ledger import Entry

SEARCHES = ("tightness", "breaking")
Measure = Callable[["Entry"], dict[str, Any]]


class Lanes:
    """Two lanes of work over one list of entries.

    Args:
      entries: what is to be judged.
      measure: judges one entry; called in either thread.
    """

    def __init__(self, entries: Sequence[Entry], measure: Measure) -> None:
        self._own = [entry for entry in entries if entry.section not in SEARCHES]
        self._searches = [entry for entry in entries if entry.section in SEARCHES]
        self._measure = measure
        self._done: queue.SimpleQueue[tuple[Entry, dict[str, Any] | BaseException]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._search, daemon=True)

    def results(self, announce: Callable[[Entry], None]) -> Iterator[tuple[Entry, dict[str, Any]]]:
        """Yield each entry with what was measured, as it is done.

        Args:
          announce: called with an entry of the caller's lane before it is judged, and with a search when it
            is done.
        """
        left = len(self._searches)
        if left:
            self._thread.start()
        for entry in self._own:
            announce(entry)
            yield entry, self._measure(entry)
            while left and not self._done.empty():
                left -= 1
                yield self._next(announce)
        for _ in range(left):
            yield self._next(announce)

    def abandon(self, code: int) -> None:
        """Leave the process at once if a search is in work: a program in compilation cannot be stopped.

        Whatever was done is on the disk by then.

        Args:
          code: exit code, 130 after an interrupt, 141 after a broken pipe.
        """
        if not self._thread.is_alive():
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if code == 130:
                print("nlhf: interrupted", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(code)

    def finish(self) -> None:
        """Let the search in work come to its end, and start no other."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _next(self, announce: Callable[[Entry], None]) -> tuple[Entry, dict[str, Any]]:
        entry, value = self._done.get()
        if isinstance(value, BaseException):
            raise value
        announce(entry)
        return entry, value

    def _search(self) -> None:
        for entry in self._searches:
            if self._stop.is_set():
                return
            try:
                self._done.put((entry, self._measure(entry)))
            except BaseException as error:  # to be raised where it is waited for
                self._done.put((entry, error))
                return
