"""From the tensors of a checkpoint to our parameters and back; the names are those of Hugging Face files.

A file keeps projections apart, ``[out, in]``, a layer at a time; ours are fused, stacked and ``[in, out]``
(``model.decoder`` has the layout). Every tensor's shape is compared with the configuration
before anything is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype

IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")  # a table that older files carry
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"


class Source(NamedTuple):
    """The tensors of a checkpoint.

    Attributes:
      path: what messages call it.
      shapes: of every tensor by its Hugging Face name, known without reading it.
      read: ``read(name)`` returns the tensor in any float dtype.
      interleaved: whether rotary pairs are neighbours (2i, 2i + 1), as in files of llama2.c and llama.cpp,
        rather than half a head apart.
    """

    path: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    interleaved: bool = False


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one layer's tensors in a file, by the end of their names."""
    width, hidden = config.width, config.hidden
    query, key = config.heads * config.head_width, config.kv_heads * config.head_width
    shapes: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (query, width),
        "self_attn.k_proj.weight": (key, width),
        "self_attn.v_proj.weight": (key, width),
        "self_attn.o_proj.weight": (width, query),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (hidden, width),
        "mlp.up_proj.weight": (hidden, width),
        "mlp.down_proj.weight": (width, hidden),
    }
    if config.qkv_bias:
        shapes |= {f"self_attn.{letter}_proj.bias": (query if letter == "q" else key,) for letter in "qkv"}
    if config.qk_norm:
        shapes |= {f"self_attn.{letter}_norm.weight": (config.head_width,) for letter in "qk"}
    return shapes


def expected_shapes(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a model with its shape, as a file has it, one at a time."""
    yield EMBEDDING, (config.vocabulary, config.width)
    for layer in range(config.layers):
        for name, shape in layer_shapes(config).items():
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", (config.width,)
    if not config.tied:
        yield HEAD, (config.vocabulary, config.width)


def check_tensors(source: Source, config: ModelConfig) -> None:
    """Check that a checkpoint holds the tensors of a model, without reading any.

    Raises:
      InputError: names the first tensor that is missing, has another shape or is not expected, with the
        expected and the found shape.
    """
    rest = {name: tuple(shape) for name, shape in source.shapes.items() if not IGNORED.fullmatch(name)}
    for name, shape in expected_shapes(config):
        found = rest.pop(name, None)
        if found is None:
            raise InputError(
                f"{source.path}: tensor {name} is missing (expected shape {list(shape)}, found none among "
                f"{len(source.shapes)} tensors); give a complete checkpoint of this configuration"
            )
        if found != shape:
            raise InputError(
                f"{source.path}: tensor {name} has shape {list(found)}, but the configuration asks for "
                f"{list(shape)}; give the configuration that belongs to these weights"
            )
    if config.tied:
        _check_tied(source, rest.pop(HEAD, None), config)
    if rest:
        name, found = next(iter(rest.items()))
        raise InputError(
            f"{source.path}: tensor {name} of shape {list(found)} is not expected (no tensor of this name, "
            f"{len(rest)} such in all); give the configuration that belongs to these weights"
        )


def _check_tied(source: Source, shape: tuple[int, ...] | None, config: ModelConfig) -> None:
    """A tied model's file may repeat the embedding as its read-out, but not hold another one."""
    if shape is None:
        return
    expected = (config.vocabulary, config.width)
    if shape != expected or not np.array_equal(source.read(HEAD), source.read(EMBEDDING)):
        raise InputError(
            f"{source.path}: tensor {HEAD} of shape {list(shape)} is not the embedding (expected shape "
            f"{list(expected)}, the same values), but the configuration ties the two; untie them there"
        )


def assemble(source: Source, config: ModelConfig) -> dict[str, Any]:
    """Read a checkpoint into our parameters, float32 (float64 where the computation is).

    Returns:
      The nested dictionary of arrays that ``model.decoder`` describes.

    Raises:
      InputError: if tensors are missing, not expected, of another shape or not finite.
    """
    check_tensors(source, config)
    dtype = np.dtype(accumulation_dtype(config.dtype))
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise InputError("dtype is 'float64', but JAX has 64-bit numbers switched off; set JAX_ENABLE_X64=1")

    def read(name: str) -> np.ndarray:
        tensor = np.asarray(source.read(name)).astype(dtype, copy=False)
        if not np.isfinite(tensor).all():
            raise InputError(f"{source.path}: tensor {name} holds NaN or infinities; download it again")
        return tensor

    c, layers = config, config.layers
    stacked: dict[str, np.ndarray] = {
        name: np.empty((layers, *shape), dtype) for name, shape in _stacked_shapes(c).items()
    }
    for layer in range(layers):
        parts = {name: read(f"model.layers.{layer}.{name}") for name in layer_shapes(c)}
        for name, value in _fuse(parts, c, source.interleaved).items():
            stacked[name][layer] = value
    params: dict[str, Any] = {
        "embedding": jnp.asarray(read(EMBEDDING)),
        "final_norm": jnp.asarray(read("model.norm.weight")),
        "layers": {name: jnp.asarray(value) for name, value in stacked.items()},
    }
    if not c.tied:
        params["head"] = jnp.asarray(np.ascontiguousarray(read(HEAD).T))
    return params


def _stacked_shapes(c: ModelConfig) -> dict[str, tuple[int, ...]]:
    heads = (c.kv_heads, c.group + 2, c.head_width)
    shapes: dict[str, tuple[int, ...]] = {
        "attention_norm": (c.width,),
        "qkv": (c.width, *heads),
        "out": (c.kv_heads, c.group, c.head_width, c.width),
        "mlp_norm": (c.width,),
        "gate_up": (c.width, 2, c.hidden),
        "down": (c.hidden, c.width),
    }
    if c.qkv_bias:
        shapes["qkv_bias"] = heads
    if c.qk_norm:
        shapes |= {"query_norm": (c.head_width,), "key_norm": (c.head_width,)}
    return shapes


def half_split(rows: np.ndarray, head_width: int) -> np.ndarray:
    """Reorder the rows of heads from neighbouring rotary pairs to pairs half a head apart.

    Args:
      rows: ``[heads * head_width, ...]``.
      head_width: Dh.

    >>> half_split(np.arange(8), 4)
    array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    pairs = rows.reshape(-1, head_width // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _fuse(parts: Mapping[str, np.ndarray], c: ModelConfig, interleaved: bool) -> dict[str, np.ndarray]:
    """One layer's tensors of a file as ours."""

    def heads(kind: str) -> np.ndarray:
        """Queries, keys and values of every key head side by side, ``[KV, G + 2, Dh, ...]``."""
        q, k, v = (parts[f"self_attn.{letter}_proj.{kind}"] for letter in "qkv")
        if interleaved:
            q, k = half_split(q, c.head_width), half_split(k, c.head_width)
        each = [x.reshape(c.kv_heads, -1, c.head_width, *x.shape[1:]) for x in (q, k, v)]
        return np.concatenate(each, axis=1)

    both = np.stack([parts["mlp.gate_proj.weight"], parts["mlp.up_proj.weight"]])
    fused = {
        "attention_norm": parts["input_layernorm.weight"],
        "qkv": np.moveaxis(heads("weight"), -1, 0),
        "out": parts["self_attn.o_proj.weight"].T.reshape(c.kv_heads, c.group, c.head_width, c.width),
        "mlp_norm": parts["post_attention_layernorm.weight"],
        "gate_up": np.moveaxis(both, -1, 0),
        "down": parts["mlp.down_proj.weight"].T,
    }
    if c.qkv_bias:
        fused["qkv_bias"] = heads("bias")
    if c.qk_norm:
        fused["query_norm"] = parts["self_attn.q_norm.weight"]
        fused["key_norm"] = parts["self_attn.k_norm.weight"]
    return fused


def take_apart(params: Any, config: ModelConfig) -> dict[str, np.ndarray]:
    """Tensors of a Hugging Face file with our parameters, the inverse of ``assemble``.

    Args:
      params: the nested dictionary of arrays that ``model.decoder`` describes.

    Raises:
      InputError: if an array is missing or has another shape than the configuration says.
    """
    _check_parameters(params, config)
    # the writer of files ignores strides, so that every tensor must lie in memory in the order of its axes
    tensors = {EMBEDDING: np.ascontiguousarray(params["embedding"])}
    for layer in range(config.layers):
        own = {name: np.asarray(value[layer]) for name, value in params["layers"].items()}
        for name, value in _split(own, config).items():
            tensors[f"model.layers.{layer}.{name}"] = np.ascontiguousarray(value)
    tensors["model.norm.weight"] = np.ascontiguousarray(params["final_norm"])
    if not config.tied:
        tensors[HEAD] = np.ascontiguousarray(np.asarray(params["head"]).T)
    return tensors


def _check_parameters(params: Any, c: ModelConfig) -> None:
    expected: dict[str, tuple[int, ...]] = {"embedding": (c.vocabulary, c.width), "final_norm": (c.width,)}
    if not c.tied:
        expected["head"] = (c.width, c.vocabulary)
    expected |= {f"layers/{name}": (c.layers, *shape) for name, shape in _stacked_shapes(c).items()}
    found = {name: np.shape(value) for name, value in params.items() if name != "layers"}
    found |= {f"layers/{name}": np.shape(value) for name, value in params.get("layers", {}).items()}
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"parameter {name} has shape {found.get(name)}, but the configuration asks for "
                f"{expected.get(name)}; give the configuration of these parameters"
            )


def _split(own: Mapping[str, np.ndarray], c: ModelConfig) -> dict[str, np.ndarray]:
    """One layer's arrays as the tensors of a file."""

    def heads(fused: np.ndarray, kind: str) -> dict[str, np.ndarray]:
        each = np.split(fused, [c.group, c.group + 1], axis=1)
        rows = [x.reshape(-1, *x.shape[3:]) for x in each]
        return {f"self_attn.{letter}_proj.{kind}": x for letter, x in zip("qkv", rows, strict=True)}

    parts = {
        "input_layernorm.weight": own["attention_norm"],
        **heads(np.moveaxis(own["qkv"], 0, -1), "weight"),
        "self_attn.o_proj.weight": own["out"].reshape(-1, c.width).T,
        "post_attention_layernorm.weight": own["mlp_norm"],
        "mlp.gate_proj.weight": own["gate_up"][:, 0].T,
        "mlp.up_proj.weight": own["gate_up"][:, 1].T,
        "mlp.down_proj.weight": own["down"].T,
    }
    if c.qkv_bias:
        parts |= heads(own["qkv_bias"], "bias")
    if c.qk_norm:
        parts |= {"self_attn.q_norm.weight": own["query_norm"], "self_attn.k_norm.weight": own["key_norm"]}
    return parts
