"""Weights of a pretrained model: from a Hugging Face folder, a GGUF file or a llama2.c file."""

from __future__ import annotations

import hashlib
import os
import pathlib
import warnings
from typing import Any

from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.gguf import read_gguf
from nlhf.transformer.weights.huggingface import read_huggingface
from nlhf.transformer.weights.layout import assemble
from nlhf.transformer.weights.llama2c import read_llama2c

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt")
KINDS = "a Hugging Face folder (config.json, *.safetensors), a .gguf file or a llama2.c .bin file"

# name and size of files that are published, and their SHA-256: copies with the same header and other weights
# circulate, which load without complaint and speak gibberish
KNOWN = {
    "stories260k.bin": (1_056_540, "b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696"),
    "stories260k-f32.gguf": (1_054_432, "32e0e2e4dd90ba416436ed28d691cf3b58279928742a9ca2e955a3d40aad374a"),
    "stories15m.bin": (60_816_028, "cd590644d963867a2b6e5a1107f51fad663c41d79c149fbecbbb1f95fa81f49a"),
    "stories15m-q8_0.gguf": (16_879_424, "52cc814d091c72eb2e1cc737c7a9a04820235088532cc42e24b0743a3ec40791"),
    "smollm2-135m-instruct.q4_1.gguf": (
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


class KnownFileWarning(UserWarning):
    """A file has the name and the size of a published one, but not its content."""


def load_model(path: str | os.PathLike[str], dtype: str = "float32") -> tuple[dict[str, Any], ModelConfig]:
    """Load the weights of a pretrained model.

    Args:
      path: a Hugging Face folder, a ``.gguf`` file or a ``.bin`` file of llama2.c.
      dtype: of the computation: ``float32``, ``bfloat16`` or ``float64``. The parameters themselves are
        float32 (float64 for float64), whatever the file has.

    Returns:
      Parameters as ``model.decoder`` describes them, and the configuration.

    Raises:
      InputError: if the file is of a kind that is not read, damaged, or its tensors do not belong together.

    Warns:
      KnownFileWarning: if name and size are those of a published file, but the content is not.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"{path}: is a pickle by its name, which can run code and is never opened; save the model as "
            "safetensors"
        )
    if not path.exists():
        raise InputError(f"{path}: is not there; give {KINDS}")
    if path.is_dir():
        source, config = read_huggingface(path, dtype)
        return assemble(source, config), config
    if path.suffix.lower() == ".bin":
        source, config = read_llama2c(path, dtype)
    elif path.suffix.lower() == ".gguf":
        source, config = read_gguf(path, dtype)
    elif path.suffix.lower() == ".safetensors":
        raise InputError(f"{path}: says nothing of the model without config.json; give the folder of both")
    else:
        raise InputError(f"{path}: is no checkpoint that is read here; give {KINDS}")
    check_known(path)
    return assemble(source, config), config


def check_known(path: str | os.PathLike[str]) -> bool:
    """Compare a file with the published one of its name and size, if there is one.

    Returns:
      Whether it is that file; False where none of its name and size is known, too.

    Warns:
      KnownFileWarning: if there is one, and the content differs.
    """
    path = pathlib.Path(path)
    size, expected = KNOWN.get(path.name.lower(), (-1, ""))
    if path.stat().st_size != size:
        return False
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        warnings.warn(
            f"{path}: has the name and size of a published file, but SHA-256 {found[:12]}... instead of "
            f"{expected[:12]}...; its weights are others, so do not trust what it says unless you made it",
            KnownFileWarning,
            stacklevel=3,
        )
    return found == expected
