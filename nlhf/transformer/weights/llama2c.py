"""Checkpoints of llama2.c: seven whole numbers, then every array in a fixed order, float32."""

from __future__ import annotations

import math
import os
import pathlib
import struct

import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.layout import EMBEDDING, HEAD, Source, layer_shapes

HEADER = struct.Struct("<7i")
VERSIONED = 0x616B3432  # "ak42": what the later layouts begin with
ORDER = (
    "input_layernorm.weight",
    "self_attn.q_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
    "self_attn.o_proj.weight",
    "post_attention_layernorm.weight",
    "mlp.gate_proj.weight",
    "mlp.down_proj.weight",
    "mlp.up_proj.weight",
)


def read_llama2c(path: str | os.PathLike[str], dtype: str = "float32") -> tuple[Source, ModelConfig]:
    """Read the header of a ``.bin`` of llama2.c in the legacy layout (the one that is published).

    Seven int32: width, hidden, layers, heads, key heads, vocabulary (negative where the read-out is not the
    embedding), context; then float32 arrays, each for all layers at once, of which the last two (rotary
    tables) are not used. Base 10000 and ε = 1e-5 are the format's.

    Returns:
      The tensors, read when asked for, and the configuration.

    Raises:
      InputError: if the file is another kind of file, or its size is not what its header says.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEADER.size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of weights") from None
    if len(head) < HEADER.size:
        raise InputError(
            f"{path}: holds {size} bytes, less than the header of a llama2.c file; download it again"
        )
    width, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack(head)
    if width == VERSIONED:
        raise InputError(
            f"{path}: is llama2.c's layout of version {hidden}, but only the legacy one is read; export it "
            "with version 0, or as a Hugging Face folder"
        )
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise InputError(
            f"{path}: is a pickle, which can run code and is never opened; save the model as safetensors"
        )
    numbers = (width, hidden, layers, heads, kv_heads, context)
    if min(numbers) < 1 or vocabulary == 0 or width % heads or heads % kv_heads or width // heads % 2:
        raise InputError(
            f"{path}: header {[*numbers[:5], vocabulary, context]} (width, hidden, layers, heads, key heads, "
            "vocabulary, context) describes no model; give a llama2.c checkpoint"
        )
    config = ModelConfig(
        vocabulary=abs(vocabulary),
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_width=width // heads,
        hidden=hidden,
        context=context,
        tied=vocabulary > 0,
        dtype=dtype,
    )
    offsets, expected = _offsets(config)
    if size != expected:
        raise InputError(
            f"{path}: holds {size} bytes, but its header ({layers} layers of width {width}, vocabulary "
            f"{abs(vocabulary)}) asks for {expected}; download it again, or convert it to legacy float32"
        )
    shapes = layer_shapes(config)

    def read(name: str) -> np.ndarray:
        kind, shape = name, fixed.get(name, ())
        layer = 0
        if name not in fixed:
            number, _, kind = name.removeprefix("model.layers.").partition(".")
            layer, shape = int(number), shapes[kind]
        start = offsets[kind] + 4 * layer * math.prod(shape)
        flat = np.memmap(path, np.dtype("<f4"), "r", start, (math.prod(shape),))
        return np.array(flat).reshape(shape)

    fixed = {EMBEDDING: (config.vocabulary, width), "model.norm.weight": (width,)}
    if not config.tied:
        fixed[HEAD] = (config.vocabulary, width)
    # the size fits, so that there are no more layers than bytes
    every = {f"model.layers.{layer}.{kind}": shapes[kind] for layer in range(layers) for kind in ORDER}
    return Source(str(path), {**fixed, **every}, read, interleaved=True), config


def _offsets(config: ModelConfig) -> tuple[dict[str, int], int]:
    """Where each array starts in bytes, and the size of the file."""
    shapes = layer_shapes(config)
    blocks = [(EMBEDDING, config.vocabulary * config.width)]
    blocks += [(kind, config.layers * math.prod(shapes[kind])) for kind in ORDER]
    blocks += [("model.norm.weight", config.width), ("rotary tables", config.context * config.head_width)]
    if not config.tied:
        blocks.append((HEAD, config.vocabulary * config.width))
    offsets, position = {}, HEADER.size
    for name, length in blocks:
        offsets[name] = position
        position += 4 * length
    return offsets, position
