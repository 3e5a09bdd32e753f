"""Packages that are installed with an extra of this project, and what to say where one is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

from nlhf.errors import InputError

EXTRAS = {
    "flax": "lm",
    "importlib_resources": "lm",
    "orbax": "lm",
    "pyarrow": "lm",
    "safetensors": "lm",
    "tensorflow_datasets": "lm",
    "tokenizers": "lm",
    "vaderSentiment": "judges",
    "gguf": "gguf",
    "tensorboardX": "tensorboard",
}


def advice(error: ModuleNotFoundError) -> str | None:
    """Return how to install the module that was not found, ``None`` where no extra brings it.

    >>> advice(ModuleNotFoundError("No module named 'torch'", name="torch")) is None
    True
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS or importlib.util.find_spec(package):
        return None
    return f"{package}, which is not installed; run: pip install 'nlhf[{EXTRAS[package]}]'"


def load(module: str, use: str) -> Any:
    """Import a module of an extra.

    Args:
      module: its dotted name.
      use: what needs it, the beginning of the message.

    Raises:
      InputError: if its package is not installed; the message names the extra and the command of pip.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = advice(error)
        if missing is None:
            raise
        raise InputError(f"{use} needs {missing}") from None
