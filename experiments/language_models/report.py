"""How far a training run is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


class Report:
    """A bar on a terminal, a line now and then in a log."""

    def __init__(
        self, steps: int, tokens: Callable[[Mapping[str, Any]], int], say: Callable[[str], None]
    ) -> None:
        """Begin.

        Args:
          steps: of the whole run.
          tokens: ``tokens(values)``, how many a step with these values has read or drawn.
          say: shows a line.
        """
        self.steps, self.tokens, self.say, self.last = steps, tokens, say, ""
        self.bar: Any = None

    def line(self, text: str) -> None:
        """Say something worth a line."""
        if self.bar is not None:
            self.bar.clear()
        self.say(text)

    def step(self, made: int, values: Any, seconds: float) -> None:
        """Show how far the run is."""
        shown = {key: f"{value:.3g}" for key, value in values.items() if key not in ("queries", "length")}
        if shown:
            self.last = ", ".join(f"{key} {value}" for key, value in shown.items())
        rate = f"{self.tokens(values) / max(seconds, 1e-9):.3g} tokens/s" if made else "before training"
        if sys.stderr is None or not sys.stderr.isatty():
            if shown or made == self.steps:
                self.say(f"step {made} of {self.steps}: {self.last} ({rate})")
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(
                total=self.steps, initial=max(0, made - 1), file=sys.stderr, dynamic_ncols=True, leave=False
            )
        self.bar.update(made - self.bar.n)
        self.bar.set_postfix_str(f"{self.last} | {rate}")

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.close()
