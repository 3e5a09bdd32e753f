"""The log of a run: one JSON object a line, flushed each step, cut back to the checkpoint on resume.

``metrics.jsonl`` holds what the run computed and no clock, so that a run that was killed and resumed leaves
the same bytes as one that was not. ``timings.jsonl`` holds clocks and rates. Write all of a step before
saving it: a line of the saved step is kept, a later one is computed again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from nlhf import extras
from nlhf.errors import InputError

METRICS, TIMINGS, BOARD = "metrics.jsonl", "timings.jsonl", "tensorboard"


class Lines:
    """An append-only file of JSON lines, each with a step.

    Attributes:
      path: the file.
      step: that of the last line; -1 if there is none.
    """

    def __init__(self, path: str | os.PathLike[str], resumed: int | None = None) -> None:
        """Open the file, without the lines after the resumed step and without a torn last one.

        Args:
          path: made if absent.
          resumed: the step of the checkpoint that the run resumes from; None starts over and keeps no line.

        Raises:
          InputError: if the file cannot be written, or a line before its last is not one of ours.
        """
        self.path = pathlib.Path(path)
        self.step = -1
        try:
            self.path.touch()
            self._size, self.step = _kept(self.path, -1 if resumed is None else resumed)
            os.truncate(self.path, self._size)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise _not_written(self.path, error) from None

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Append one line and flush it; a later reader finds it whole even if we are killed at once.

        Args:
          step: not below that of the last line.
          values: numbers (arrays of one entry too), text, booleans or None, by name. NaN becomes ``null``, an
            infinity ``"inf"`` or ``"-inf"``.

        Raises:
          InputError: if it cannot be written, e.g. on a full disk; the file then ends with the line before.
          ValueError: if the step is below the last line's, or a name is ``"step"``.
        """
        if step < self.step or "step" in values:
            raise ValueError(f"{self.path}: step {step} after step {self.step}, or a value called 'step'")
        line = {"step": int(step), **{name: _plain(value) for name, value in values.items()}}
        content = json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            written = 0
            while written < len(content):
                written += self._file.write(content[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._size)
            raise _not_written(self.path, error) from None
        self._size += len(content)
        self.step = step

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Metrics:
    """The files of a run's log: ``metrics.jsonl``, ``timings.jsonl`` and, if wanted, those of TensorBoard."""

    def __init__(
        self, folder: str | os.PathLike[str], resumed: int | None = None, *, tensorboard: bool = False
    ) -> None:
        """Open the log in the folder of a run.

        Args:
          folder: exists.
          resumed: the step of the checkpoint that the run resumes from; None starts over.
          tensorboard: whether to write ``tensorboard/`` too.

        Raises:
          InputError: if a file cannot be written or read, or TensorBoard's writer is not installed.
        """
        path = pathlib.Path(folder)
        self._board = _open_board(path / BOARD, resumed) if tensorboard else None
        with contextlib.ExitStack() as opened:
            self.metrics = Lines(path / METRICS, resumed)
            opened.callback(self.metrics.close)
            self.timings = Lines(path / TIMINGS, resumed)
            opened.pop_all()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any], timings: Mapping[str, Any] | None = None) -> None:
        """Log a step.

        Args:
          step: not below the last.
          values: what was computed; the same on every run with these settings.
          timings: seconds and rates.

        Raises:
          InputError: if it cannot be written, e.g. on a full disk.
        """
        self.metrics.write(step, values)
        if timings:
            self.timings.write(step, timings)
        if self._board is not None:
            for name, value in {**values, **(timings or {})}.items():
                number = _plain(value)
                if isinstance(number, int | float):
                    self._board.add_scalar(name, number, step)
            self._board.flush()

    def close(self) -> None:
        """Close all files."""
        self.metrics.close()
        self.timings.close()
        if self._board is not None:
            self._board.close()


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the lines of a log as they were written; a torn last line, of a run still writing, is left out.

    Raises:
      InputError: if there is no such file, or another line is not one of ours.
    """
    file = pathlib.Path(path)
    try:
        size, _ = _kept(file, None)
        return [json.loads(line) for line in file.read_bytes()[:size].splitlines()]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); name a run that has a log") from None


def free_space(folder: pathlib.Path) -> str:
    """Return how much room a folder's file system has, for messages."""
    try:
        return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free"
    except OSError:
        return "free space unknown"


def _kept(path: pathlib.Path, last: int | None) -> tuple[int, int]:
    """Bytes and step of the leading lines up to a step, all if it is None."""
    size, step, torn = 0, -1, 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if torn:
                raise InputError(
                    f"{path}: line {torn} is not a line of our log, so the rest may not be either; restore a "
                    "copy, or remove the file to continue without its past"
                )
            found = _line_step(line)
            if found is None or found < step:
                torn = number
            elif last is not None and found > last:
                break
            else:
                size, step = size + len(line), found
    return size, step


def _line_step(line: bytes) -> int | None:
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _not_written(path: pathlib.Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}; {free_space(path.parent)}); make room or "
        "permission, then give the same command again"
    )


def _open_board(path: pathlib.Path, resumed: int | None) -> Any:
    writer = extras.load("tensorboardX", "the log for TensorBoard").SummaryWriter
    return writer(str(path), purge_step=None if resumed is None else resumed + 1)
