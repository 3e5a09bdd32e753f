"""How far a long command is: a bar on a terminal or in a notebook, lines in a log."""

from __future__ import annotations

import sys

from tqdm.auto import tqdm


class Progress:
    """Counts the units of work that a figure announces, on stderr.

    ``progress(what, total)`` is called *before* each unit, so the one before it is done by then.
    """

    def __init__(self) -> None:
        self._done = -1
        self._bar: tqdm | None = None

    def __call__(self, what: str, total: int) -> None:
        """Announce the next unit.

        Args:
          total: number of units of the whole run.
        """
        self._done += 1
        if sys.stderr is None:
            return  # closed before we started
        if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
            print(f"nlhf: {self._done + 1} of {total}: {what}", file=sys.stderr)
            return
        if self._bar is None:
            self._bar = tqdm(total=total, file=sys.stderr, dynamic_ncols=True, leave=False)
        self._bar.update(self._done - self._bar.n)
        self._bar.set_description(what)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
