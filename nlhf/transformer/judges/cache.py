"""Answers of a judge by a hash of what was asked: in memory, and as lines of a file that outlives the run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nlhf.errors import InputError


def digest(parts: Sequence[str]) -> str:
    """Return the SHA-256 of texts, in hexadecimal; other parts give another one, wherever they are cut.

    >>> digest(["ab", "c"]) == digest(["a", "bc"])
    False
    """
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


class Cache:
    """A mapping ``key -> probability`` that appends what is added to a file, one JSON object a line.

    Every line carries a check of its own: one that was cut by a kill, or damaged, is forgotten and asked for
    again, never read as another answer. Lines are appended by one call of the system each time, so that
    two runs may share a file.

    Args:
      path: of the file, made by the first answer if absent; ``None`` keeps nothing on disk.

    Raises:
      InputError: if the file cannot be read or written.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        self._answers: dict[str, float] = {}
        if self.path is None:
            return
        try:
            found = self.path.exists()
            content = self.path.read_bytes() if found else b""
            place = self.path if found else self.path.parent
            if not os.access(place, os.W_OK):
                number = errno.EACCES if place.exists() else errno.ENOENT
                raise OSError(number, os.strerror(number))
        except OSError as error:
            raise InputError(
                f"the judge's cache {path} cannot be used ({error.strerror}); give a file that can be written"
            ) from None
        # after a line cut short a new one must not be glued to it
        self._gap = b"" if content.endswith(b"\n") or not content else b"\n"
        lines = [_read(line) for line in content.splitlines() if line]
        self._answers.update(line for line in lines if line)
        if lines and not any(lines) and not content.startswith(b'{"key": '):
            raise InputError(
                f"{path} holds no line of a judge's cache, and is not written to; give another file"
            )

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> float:
        return self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answers: Mapping[str, float]) -> None:
        """Keep answers.

        Raises:
          OSError: naming the file, if it cannot be written.
        """
        self._answers.update(answers)
        if self.path is None or not answers:
            return
        lines = self._gap + b"".join(map(_write, answers.items()))
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                while lines:  # once, unless the disk fills up
                    lines = lines[os.write(file, lines) :]
            finally:
                os.close(file)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._gap = b""


def _check(key: str, value: float) -> str:
    return digest([key, value.hex()])[:16]


def _write(item: tuple[str, float]) -> bytes:
    key, value = item[0], float(item[1])
    return json.dumps({"key": key, "p": value, "check": _check(key, value)}).encode() + b"\n"


def _read(line: bytes) -> tuple[str, float] | None:
    try:
        row = json.loads(line)
        key, value, check = row["key"], float(row["p"]), row["check"]
    except (ValueError, TypeError, KeyError):
        return None
    return (key, value) if isinstance(key, str) and check == _check(key, value) else None
