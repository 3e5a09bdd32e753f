"""Where a result came from: versions, commit, platform; of the environment, only an allow-list."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

PACKAGES = ("nlhf", "jax", "jaxlib", "numpy", "scipy", "optax", "matplotlib")
GIT_SECONDS = 5.0


def provenance() -> dict[str, Any]:
    """Return what a result needs to be repeated.

    Returns:
      ``versions`` (of Python and the packages, ``None`` where one is missing), ``commit`` (``None`` outside
      a git checkout) and ``modified`` (whether tracked files differ from it), ``platform``, ``devices`` and
      ``float64`` (of JAX, ``None`` if it was not used), ``environment`` (XLA_FLAGS and JAX_* only).
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no") if commit else None
    jax = sys.modules.get("jax")  # a command that does no array work must not load it for this
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": commit,
        "modified": None if changes is None else bool(changes),
        "platform": platform.platform(),
        "devices": [str(device) for device in jax.devices()] if jax else None,
        "float64": bool(jax.config.jax_enable_x64) if jax else None,
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name == "XLA_FLAGS" or name.startswith("JAX_")
        },
    }


def digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # an installed copy may lie inside somebody else's checkout
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
