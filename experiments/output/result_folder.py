"""Output folders: one run each, one writer at a time, every file complete or absent.

A run stages its files in memory, and they are written when it succeeds (a costly result at once): each under
a temporary name, flushed to the disk, then renamed. We promise this for the death of a process, not for power
failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.output import records
from experiments.output.lock import acquire, release
from nlhf.errors import InputError

RESULT = "result.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TEMPORARY = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.tmp")


class Run:
    """The files of one run, staged until it succeeds.

    Attributes:
      folder: where they go.
      files: content by name, staged.
      written: names of those that were written already.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.written: list[str] = []
        self._head: dict[str, Any] = {}

    def begin(self, kind: str, config: Any, names: Sequence[str] = ()) -> None:
        """Say what run this is, and check that the folder holds no other one's result.

        Args:
          kind: e.g. ``"solve"``.
          config: its settings, a dataclass or dictionary. The same kind and settings may be written again.
          names: files that the run will write beside ``result.json``.

        Raises:
          InputError: if there is a ``result.json`` of another kind, with other settings, or unreadable; or
            none, but a file of one of the names, which then is not ours to replace.
        """
        self._head = {"kind": kind, "config": records.encode(config)}
        if os.path.lexists(self.folder / RESULT):
            _check_same(self.folder, read_result(self.folder), self._head)
            return
        for name in names:
            if os.path.lexists(self.folder / name):
                raise InputError(
                    f"{self.folder / name}: already exists without a {RESULT}, so nlhf did not write it; "
                    "choose another --out"
                )

    def save(self) -> None:
        """Write what is staged now: a result that took minutes must not wait for its drawings."""
        write_files(self.folder, self.files)
        self.written += sorted(self.files)
        self.files = {}

    def add(self, name: str, content: str | bytes) -> None:
        """Stage a file; its name obeys ``check_name``."""
        self.files[check_name(name, "file")] = (
            content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        )

    def add_result(self, provenance: Mapping[str, Any], result: Any) -> None:
        """Stage ``result.json``: kind and settings of the run, provenance, result."""
        self.add(RESULT, records.dumps({**self._head, "provenance": provenance, "result": result}))


def check_name(name: str, what: str = "run") -> str:
    """Return a name that is safe as one component of a path.

    Args:
      what: how the message calls it.

    Raises:
      InputError: unless it matches ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}``.

    >>> check_name("convergence-quick")
    'convergence-quick'
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{ascii(name)[:60]} is not a name of a {what}; take 1 to 64 letters, digits, '.', '_' or '-', "
            "the first a letter or digit"
        )
    return name


@contextlib.contextmanager
def claim(folder: str | os.PathLike[str]) -> Iterator[Run]:
    """Hold an output folder for one run; on leaving, write what was staged, or undo all if it failed.

    Args:
      folder: created if absent, with its parents.

    Yields:
      The run, to stage files in.

    Raises:
      InputError: if the folder cannot be used.
      BusyError: if another process holds it; raised at once.
    """
    path = pathlib.Path(folder)
    made = make_folder(path)
    lock = None
    try:
        lock = acquire(path)
        for leftover in path.iterdir():  # of a killed process: we hold the lock, so nobody is writing them
            if TEMPORARY.fullmatch(leftover.name):
                with contextlib.suppress(OSError):
                    leftover.unlink()
        run = Run(path)
        yield run
        # the result first: it is whole in itself, and marks the other files as ours if we are killed here
        names = sorted(run.files, key=lambda name: name != RESULT)
        run.files = {name: run.files[name] for name in names}
        run.save()
        made = []
    finally:
        if lock is not None:
            release(path, lock)
        remove_empty(made)


def read_result(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``result.json`` of a folder.

    Args:
      folder: the folder of a run.

    Raises:
      InputError: if there is none, or it is not the JSON that a run writes.
    """
    path = pathlib.Path(folder) / RESULT
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the figure first") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({_reason(error)}); remove it, or choose another --out"
        ) from None
    data = records.loads(text, str(path))
    missing = [key for key in ("kind", "config", "provenance", "result") if key not in data]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}, so nlhf did not write it; choose another --out")
    return data


def write_files(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
    """Write files completely or not at all: temporary names, flush to the disk, then rename in order.

    Args:
      folder: where; on one file system, so that renaming is atomic.
      files: content by name.

    Raises:
      InputError: if one cannot be written; then none has changed, unless renaming itself failed.
    """
    staged: list[tuple[pathlib.Path, pathlib.Path]] = []
    path = folder
    try:
        for name, content in files.items():
            path = folder / name
            staged.append((path.with_name(f".{name}.tmp"), path))
            with open(staged[-1][0], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in staged:
            os.replace(temporary, path)
    except BaseException as error:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if not isinstance(error, OSError):
            raise  # an interrupt, say
        raise InputError(
            f"{path}: cannot be written ({_reason(error)}); make room or permission, or choose another --out"
        ) from None
    with contextlib.suppress(OSError):  # some file systems cannot flush a folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: pathlib.Path) -> list[pathlib.Path]:
    """Create a folder; return the folders that had to be made, outermost first.

    Raises:
      InputError: if there is something else, or the file system refuses.
    """
    made: list[pathlib.Path] = []
    try:
        absent = [parent for parent in (path, *path.parents) if not os.path.lexists(parent)]
        for parent in reversed(absent):
            parent.mkdir(exist_ok=True)
            made.append(parent)
        if not path.is_dir():
            raise InputError(f"{path}: is not a folder; choose another --out")
    except (OSError, ValueError) as error:
        remove_empty(made)
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{str(path)!r}: the output folder cannot be created ({_reason(error)}); choose another --out"
        ) from None
    return made


def remove_empty(folders: Sequence[pathlib.Path]) -> None:
    """Remove the folders that ``make_folder`` made, as far as nothing is in them."""
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _check_same(path: pathlib.Path, found: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    if found["kind"] != head["kind"]:
        raise InputError(
            f"{path}: holds the result of {str(found['kind'])[:60]!r}, not of {head['kind']!r}; "
            "choose another --out"
        )
    ours = json.loads(json.dumps(head["config"]))
    theirs = found["config"] if isinstance(found["config"], dict) else {}
    for key in sorted({*ours, *theirs}):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{path}: holds the result of another run ({key} = {str(theirs.get(key))[:40]}, now "
                f"{str(ours.get(key))[:40]}); choose another --out, or remove that folder"
            )


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
