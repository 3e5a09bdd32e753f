"""Finished entries of ``nlhf check``, saved one by one, so that a run that was stopped can be resumed."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import pathlib
from typing import Any

from experiments.output import records, result_folder
from nlhf.errors import InputError
from proofs_checks.ledger import Entry

FOLDER = ".check"
PACKAGES = ("nlhf", "tabular", "proofs_checks")
VERSIONS = ("jax", "jaxlib", "numpy", "scipy", "optax", "python-flint")
# changes of these files change no measurement
LAYOUT = ("proofs_checks/report.py",)


def fingerprint() -> str:
    """Return a SHA-256 of everything that decides a measurement: the sources and the packages' versions."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        folder = pathlib.Path(str(importlib.import_module(package).__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            name = f"{package}/{path.relative_to(folder).as_posix()}"
            if name not in LAYOUT:
                digest.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    for version in VERSIONS:
        digest.update(f"{version} {importlib.metadata.version(version)}\n".encode())
    return digest.hexdigest()


class Store:
    """Finished entries in a folder, each under what decided it.

    Attributes:
      folder: of the run; ``None`` keeps nothing.
      key: effort, seed and fingerprint; an entry saved under another key is judged again.
    """

    def __init__(self, folder: pathlib.Path | None, key: dict[str, Any]) -> None:
        self.folder = folder
        self.key = key

    def get(self, entry: Entry) -> dict[str, Any] | None:
        """Return what an entry measured under the same key, ``None`` if it is to be judged."""
        if self.folder is None:
            return None
        path = self.folder / FOLDER / _name(entry)
        try:
            data = records.loads(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError, InputError):
            return None  # absent or damaged: judged again
        value = data.get("value")
        whole = isinstance(value, dict) and data.get("digest") == _digest(value)
        return value if whole and data.get("key") == self.key else None

    def put(self, entry: Entry, value: dict[str, Any]) -> None:
        """Save what an entry measured, completely or not at all.

        Raises:
          InputError: if it cannot be written.
        """
        if self.folder is None:
            return
        folder = self.folder / FOLDER
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
        content = json.dumps({"key": self.key, "digest": _digest(value), "value": value}, allow_nan=False)
        result_folder.write_files(folder, {_name(entry): content.encode()})


def _digest(value: dict[str, Any]) -> str:
    """A damaged or edited entry is judged again, not believed."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _name(entry: Entry) -> str:
    return f"{entry.section}.{entry.name}.json"
