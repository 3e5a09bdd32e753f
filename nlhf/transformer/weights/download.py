"""Weights from the Hugging Face hub, when a user asks for them: loading never opens a connection."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Sequence

from nlhf.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = (
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "generation_config.json",
)


def download(
    name: str,
    folder: str | os.PathLike[str],
    *,
    revision: str = "main",
    files: Sequence[str] = FILES,
    say: Callable[[str], None] = print,
) -> pathlib.Path:
    """Fetch a model into a folder and say what came: name, bytes and SHA-256 of every file.

    Nothing in this package calls it by itself, and nothing that it fetches is executed.

    Args:
      name: on the hub, ``owner/model``.
      folder: where the files go; ``load_model`` reads it.
      revision: branch, tag or, best, commit.
      files: patterns of the files that are wanted; pickles are not among them.
      say: takes the lines.

    Returns:
      The folder.

    Raises:
      InputError: if the name is none, ``huggingface_hub`` is not installed, or the hub cannot be asked.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name on the hub; give owner/model, e.g. HuggingFaceTB/SmolLM2-135M")
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("downloads need the package huggingface_hub; install it") from None
    folder = pathlib.Path(folder)
    try:
        huggingface_hub.snapshot_download(
            name, revision=revision, local_dir=folder, allow_patterns=list(files), max_workers=1
        )
    except Exception as error:  # of the library, of its HTTP client or of the system
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: cannot be fetched ({type(error).__name__}: {reason}); check the name and the "
            "connection, or copy the files by other means"
        ) from None
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    for path in found:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        say(f"{path.relative_to(folder)}  {path.stat().st_size:,} bytes  sha256 {digest}")
    if not found:
        raise InputError(f"{name}: has no file among {', '.join(files)}; give other patterns")
    return folder
