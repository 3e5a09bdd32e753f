"""How a run ends before its last step: a signal asks it to save and end; a step that hangs aborts it."""

from __future__ import annotations

import faulthandler
import os
import signal
import statistics
import time
from collections import deque
from types import FrameType
from typing import Any

import jax
import numpy as np

from nlhf.errors import InputError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Within ``with``: the first SIGTERM or SIGINT sets a flag, the second ends the process at once.

    The loop looks at ``requested`` after each step, saves and ends. The second signal has its default effect,
    which does not wait for Python, so it also ends a process that is busy in compiled code.

    Attributes:
      signal: number of the signal received, 0 if none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        try:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        except ValueError:
            pass  # outside the main thread no handler can be set, and no signal arrives
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        name = signal.Signals(number).name
        # not print: we may have interrupted one
        os.write(
            2, f"nlhf: {name}: saving after this step, then ending; a second signal ends at once\n".encode()
        )

    @property
    def requested(self) -> bool:
        """Whether this or any other process of the run got a signal; all must ask at the same step."""
        here = self.signal != 0
        if jax.process_count() == 1:
            return here
        from jax.experimental import multihost_utils

        return bool(np.any(multihost_utils.process_allgather(np.asarray(here))))

    @property
    def code(self) -> int:
        """Exit code in the custom of shells: 128 plus the signal's number, 0 if there was none."""
        return 128 + self.signal if self.signal else 0


class Watchdog:
    """Within ``with``: aborts the process if no beat comes in time, with the stacks of all threads on stderr.

    For what never returns: a collective whose peer is stuck, a device that hangs. It runs outside Python, so
    it needs no lock of the interpreter; the exit code is 1. The time allowed is ``limit`` at first, and
    ``min(limit, max(floor, factor * median of the last steps))`` after five steps.
    """

    def __init__(self, limit: float = 600.0, *, factor: float = 100.0, floor: float = 60.0) -> None:
        """Set the times.

        Args:
          limit: longest silence ever, seconds; compilation of the first step must fit.
          factor: longest silence in median steps.
          floor: shortest allowance, seconds; a save or an evaluation between two beats must fit.

        Raises:
          InputError: if one is not positive.
        """
        if not min(limit, factor, floor) > 0:
            raise InputError(
                f"limit = {limit}, factor = {factor}, floor = {floor}: the watchdog needs positive times; "
                "the defaults are 600 s, 100 steps and 60 s"
            )
        self.limit, self.factor, self.floor = limit, factor, floor
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=64)

    def __enter__(self) -> Watchdog:
        self._arm()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """Say that a step has ended."""
        now = time.monotonic()
        if self._last is not None:
            self._steps.append(now - self._last)
        self._last = now
        self._arm()

    @property
    def allowance(self) -> float:
        """Seconds of silence allowed from now."""
        if len(self._steps) < 5:
            return self.limit
        return min(self.limit, max(self.floor, self.factor * statistics.median(self._steps)))

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(self.allowance, exit=True, file=2)
