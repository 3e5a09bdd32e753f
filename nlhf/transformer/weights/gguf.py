"""GGUF files, read through the package ``gguf`` (extra ``nlhf[gguf]``), which undoes the quantisation.

Rotary pairs are neighbours in files of the Llama family, and half a head apart in those of Qwen.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nlhf import extras
from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.layout import EMBEDDING, HEAD, Source

FAMILIES = ("llama", "qwen2", "qwen3")
NAMES = {
    "token_embd.weight": EMBEDDING,
    "output_norm.weight": "model.norm.weight",
    "output.weight": HEAD,
}
IN_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    **{f"attn_{x}.{kind}": f"self_attn.{x}_proj.{kind}" for x in "qkv" for kind in ("weight", "bias")},
    **{f"attn_{x}_norm.weight": f"self_attn.{x}_norm.weight" for x in "qk"},
}
LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def read_gguf(path: str | os.PathLike[str], dtype: str = "float32") -> tuple[Source, ModelConfig]:
    """Read the header of a GGUF file.

    Returns:
      The tensors, read and dequantised when asked for, and the configuration.

    Raises:
      InputError: if ``gguf`` is not installed, the file is damaged, or of a model that is not computed here.
    """
    path = pathlib.Path(path)
    gguf = extras.load("gguf", f"{path}: a GGUF file")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"{path}: does not begin with GGUF; download it again")
    # whatever is wrong in a damaged file, the reader meets it as an error of numpy or of Python
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, TypeError, OSError) as error:
        raise InputError(f"{path}: is no intact GGUF file ({str(error)[:100]}); download it again") from None
    settings = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")
    }
    tensors = {_name(tensor.name): tensor for tensor in reader.tensors}
    shapes = {name: tuple(int(n) for n in reversed(tensor.shape)) for name, tensor in tensors.items()}

    def read(name: str) -> np.ndarray:
        tensor = tensors[name]
        try:
            return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shapes[name])
        except NotImplementedError:
            raise InputError(
                f"{path}: tensor {name} is {tensor.tensor_type.name}, which gguf cannot dequantise; "
                "give F32, F16, BF16, Q8_0 or another common kind"
            ) from None

    config = _config(settings, shapes, path, dtype)
    return Source(str(path), shapes, read, settings["general.architecture"] == "llama"), config


def _name(name: str) -> str:
    """Name of a tensor in a Hugging Face file; its own where there is none."""
    found = LAYER.fullmatch(name)
    if found and found[2] in IN_LAYER:
        return f"model.layers.{found[1]}.{IN_LAYER[found[2]]}"
    return NAMES.get(name, name)


def _config(
    settings: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], path: pathlib.Path, dtype: str
) -> ModelConfig:
    family = settings.get("general.architecture")
    if family not in FAMILIES:
        raise InputError(
            f"{path}: general.architecture is {family!r}, but the families read here are "
            f"{', '.join(FAMILIES)}; give a model of these"
        )

    def get(name: str, default: Any = None) -> Any:
        value = settings.get(f"{family}.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(
                f"{path}: {family}.{name} is {value!r}, but it must be a number; give a whole file"
            )
        return value

    width, heads = get("embedding_length"), get("attention.head_count")
    head_width = get("attention.key_length", width // heads if heads else 0)
    scaling = settings.get(f"{family}.rope.scaling.type")
    checks = {
        "rope.scaling.type": (scaling, (None, "none")),
        "expert_count": (get("expert_count", 0), (0,)),
        "attention.value_length": (get("attention.value_length", head_width), (head_width,)),
        "rope.dimension_count": (get("rope.dimension_count", head_width), (head_width,)),
        "attention.sliding_window": (get("attention.sliding_window", 0), (0,)),
    }
    for name, (found, allowed) in checks.items():
        if found not in allowed:
            raise InputError(
                f"{path}: {family}.{name} is {found!r}, but only {allowed[-1]!r} is computed here; give a "
                "model without"
            )
    if "rope_freqs.weight" in shapes:
        raise InputError(
            f"{path}: has rope_freqs.weight (scaled rope), not computed here; give another model"
        )
    return ModelConfig(
        vocabulary=shapes.get(EMBEDDING, (get("vocab_size", 1),))[0],
        width=width,
        layers=get("block_count"),
        heads=heads,
        kv_heads=get("attention.head_count_kv", heads),
        head_width=head_width,
        hidden=get("feed_forward_length"),
        context=get("context_length"),
        rope_theta=float(get("rope.freq_base", 10000.0)),
        norm_epsilon=_short(get("attention.layer_norm_rms_epsilon")),
        tied=HEAD not in shapes,
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        dtype=dtype,
    )


def _short(value: float) -> float:
    """Return the shortest decimal that is the same float32: the file has 1e-5 as 9.999999747378752e-06."""
    return float(str(np.float32(value)))
