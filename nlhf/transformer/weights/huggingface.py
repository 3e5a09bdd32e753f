"""Hugging Face folders: ``config.json`` of Llama, SmolLM, Qwen2 and Qwen3, and ``*.safetensors``.

What a configuration asks for and we do not compute is refused by name: a model that is read as if it were
another says wrong things fluently.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.tokens.huggingface import read_json
from nlhf.transformer.weights.layout import Source

FAMILIES = ("llama", "qwen2", "qwen3")  # as model_type says; SmolLM and SmolLM2 are Llamas
HEAD_WIDTH_QWEN3 = 128  # where the file does not say
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
ABSENT = object()

# settings that change the function and have one value here, and the families that look at them
FIXED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "hidden_act": ("silu", FAMILIES),
    "attention_bias": (False, ("llama", "qwen3")),
    "mlp_bias": (False, ("llama",)),
    "use_sliding_window": (False, FAMILIES),
    "rope_interleaved": (False, FAMILIES),
    "partial_rotary_factor": (1, FAMILIES),
    "quantization_config": (None, FAMILIES),
    "auto_map": (None, FAMILIES),  # code that comes with the model
}


def read_huggingface(folder: pathlib.Path, dtype: str = "float32") -> tuple[Source, ModelConfig]:
    """Read the configuration and the headers of a Hugging Face folder.

    Args:
      folder: with ``config.json`` and ``model.safetensors``, or the shards that
        ``model.safetensors.index.json`` names.

    Returns:
      The tensors, read when asked for, and the configuration.

    Raises:
      InputError: if a file is missing or damaged, or the configuration asks for what is not computed here.
    """
    folder = pathlib.Path(folder)
    config = model_config(read_json(folder / "config.json"), f"{folder / 'config.json'}", dtype)
    return open_tensors(folder), config


def model_config(settings: Mapping[str, Any], path: str, dtype: str = "float32") -> ModelConfig:
    """Translate the settings of a ``config.json``.

    Args:
      settings: as the file has them.
      path: what messages call the file.

    Raises:
      InputError: if a setting is missing, no number, or asks for what is not computed here.
    """
    family = settings.get("model_type")
    if family not in FAMILIES:
        raise InputError(
            f"{path}: model_type is {family!r}, but the families read here are {', '.join(FAMILIES)} (SmolLM "
            "and SmolLM2 are Llamas); give a model of these"
        )
    for name, (value, families) in FIXED.items():
        found = settings.get(name)
        if family in families and found is not None and found != value:
            _refuse(path, name, found, value)
    kinds = settings.get("layer_types") or []
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind != "full_attention":
            _refuse(path, "layer_types", kind, "full_attention")
    width, heads = _whole(path, settings, "hidden_size"), _whole(path, settings, "num_attention_heads")
    head_width = HEAD_WIDTH_QWEN3 if family == "qwen3" else width // heads
    if settings.get("head_dim") is None and family != "qwen3" and width % heads:
        raise InputError(
            f"{path}: num_attention_heads is {heads}, which does not divide hidden_size {width}; add head_dim"
        )
    return ModelConfig(
        vocabulary=_whole(path, settings, "vocab_size"),
        width=width,
        layers=_whole(path, settings, "num_hidden_layers"),
        heads=heads,
        kv_heads=_whole(path, settings, "num_key_value_heads", heads),
        head_width=_whole(path, settings, "head_dim", head_width),
        hidden=_whole(path, settings, "intermediate_size"),
        context=_whole(path, settings, "max_position_embeddings"),
        rope_theta=_rope_theta(path, settings),
        norm_epsilon=_number(path, settings, "rms_norm_eps", 1e-6),
        tied=_boolean(path, settings, "tie_word_embeddings", False),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        dtype=dtype,
    )


def _refuse(path: str, name: str, found: Any, value: Any) -> None:
    raise InputError(
        f"{path}: {name} is {str(found)[:60]!r}, but only {value!r} is computed here; give a model without"
    )


def _rope_theta(path: str, settings: Mapping[str, Any]) -> float:
    """Base of the rotary frequencies, from ``rope_parameters`` (transformers 5) or ``rope_theta``."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = settings.get(name) or {}
        if not isinstance(rope, dict):
            raise InputError(f"{path}: {name} is {str(rope)[:60]!r}, but it must be an object; correct it")
        kind = rope.get("rope_type", rope.get("type"))
        if kind not in (None, "default"):
            _refuse(path, f"the rope type of {name}", kind, "default")
        strange = set(rope) - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
        if strange:
            key = min(strange)
            _refuse(path, f"{key} of {name}", rope[key], None)
        if rope.get("partial_rotary_factor") not in (None, 1):
            _refuse(path, f"partial_rotary_factor of {name}", rope["partial_rotary_factor"], 1)
        if rope.get("rope_theta") is not None:
            return _number(path, rope, "rope_theta")
    return _number(path, settings, "rope_theta", 10000.0)


def _given(path: str, settings: Mapping[str, Any], name: str, default: Any) -> Any:
    value = settings.get(name)
    if value is None and default is ABSENT:
        raise InputError(f"{path}: {name} is missing; give the configuration that belongs to the weights")
    return default if value is None else value


def _whole(path: str, settings: Mapping[str, Any], name: str, default: Any = ABSENT) -> int:
    value = _given(path, settings, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(
            f"{path}: {name} is {value!r}, but it must be a positive whole number; correct the file"
        )
    return value


def _number(path: str, settings: Mapping[str, Any], name: str, default: Any = ABSENT) -> float:
    value = _given(path, settings, name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
        raise InputError(f"{path}: {name} is {value!r}, but it must be a positive number; correct the file")
    return float(value)


def _boolean(path: str, settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = _given(path, settings, name, default)
    if not isinstance(value, bool):
        raise InputError(f"{path}: {name} is {value!r}, but it must be true or false; correct the file")
    return value


def open_tensors(folder: pathlib.Path) -> Source:
    """Open the safetensors of a folder; only their headers are read.

    Args:
      folder: with ``model.safetensors``, or shards and ``model.safetensors.index.json``.

    Raises:
      InputError: if there are none, one is missing or damaged, or has a dtype that is no plain float.
    """
    from safetensors import SafetensorError, safe_open

    files = _files(folder)
    handles: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        path = folder / file
        try:
            handle = safe_open(path, framework="numpy")
            names = list(handle.keys())
        except FileNotFoundError:
            raise InputError(f"{path}: is not there, but {INDEX} names it; fetch it") from None
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: is no intact safetensors file ({error}); download it again") from None
        for name in names:
            part = handle.get_slice(name)
            if part.get_dtype() not in FLOATS:
                raise InputError(
                    f"{path}: tensor {name} is {part.get_dtype()}, but only {', '.join(FLOATS)} are read; "
                    "give weights that are not quantised"
                )
            if name in handles:
                raise InputError(f"{path}: tensor {name} is in another shard too; download the folder again")
            handles[name] = handle
            shapes[name] = tuple(part.get_shape())

    def read(name: str) -> np.ndarray:
        return handles[name].get_tensor(name)

    return Source(str(folder), shapes, read)


def _files(folder: pathlib.Path) -> list[str]:
    """Names of the files with the weights of a folder."""
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if not (folder / INDEX).is_file():
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".pkl"))
        if pickles:
            raise InputError(
                f"{folder}: has {pickles[0]} but no {SINGLE}; pickles can run code and are never opened: "
                "save the model as safetensors (save_pretrained of transformers does)"
            )
        raise InputError(f"{folder}: has neither {SINGLE} nor {INDEX}; give a folder with weights")
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise InputError(f"{folder / INDEX}: has no weight_map; download it again")
    files = sorted({str(file) for file in table.values()})
    for file in files:
        if not PLAIN.fullmatch(file):
            raise InputError(
                f"{folder / INDEX}: names the file {file[:80]!r}, which is no plain name of a safetensors "
                "file in the same folder; download it again"
            )
    return files
