"""The shape of a decoder-only transformer: what sets Llama, SmolLM, Qwen2 and Qwen3 apart, as data."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from nlhf.base import check_number, check_whole
from nlhf.errors import InputError, unknown

DTYPES = ("float32", "bfloat16", "float64")


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and switches of a model; hashable, so that jit takes it as structure.

    Attributes:
      vocabulary: V, rows of the embedding.
      width: D of the residual stream.
      layers: L.
      heads: query heads.
      kv_heads: key and value heads, a divisor of ``heads``.
      head_width: Dh, even; ``heads * head_width`` need not be ``width``.
      hidden: F of the gated feed-forward layer.
      context: the most positions that the model was made for.
      rope_theta: base of the rotary frequencies.
      norm_epsilon: of the root-mean-square norms.
      tied: whether the read-out is the embedding, transposed.
      qkv_bias: bias on queries, keys and values (Qwen2).
      qk_norm: norm of queries and keys, head by head (Qwen3).
      dtype: of the computation: ``float32``, ``bfloat16`` or ``float64``; norms, softmax and
        log-probabilities have float32 at least.
      remat: whether the backward pass computes the activations of a layer again instead of keeping them.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    context: int
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    tied: bool = True
    qkv_bias: bool = False
    qk_norm: bool = False
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self) -> None:
        """Check what the sizes must satisfy.

        Raises:
          InputError: if a size is not a positive whole number, or they do not go together.
        """
        for name in ("vocabulary", "width", "layers", "heads", "kv_heads", "head_width", "hidden", "context"):
            check_whole(name, getattr(self, name))
        check_number("rope_theta", self.rope_theta, open_low=True)
        check_number("norm_epsilon", self.norm_epsilon, open_low=True)
        if self.heads % self.kv_heads:
            raise InputError(
                f"kv_heads is {self.kv_heads}, but it must divide heads, {self.heads}; give a divisor"
            )
        if self.head_width % 2:
            raise InputError(
                f"head_width is {self.head_width}, but rotary embeddings turn pairs; give an even number"
            )
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is {self.dtype!r}, but it must be one of {', '.join(DTYPES)}")

    @property
    def group(self) -> int:
        """Query heads of one key head."""
        return self.heads // self.kv_heads


def num_parameters(config: ModelConfig) -> int:
    """Count the parameters of a model.

    >>> num_parameters(preset("tiny"))
    105920
    """
    per_layer = config.width * (2 + config.head_width * (2 * config.heads + 2 * config.kv_heads))
    per_layer += 3 * config.width * config.hidden
    per_layer += config.qkv_bias * config.head_width * (config.heads + 2 * config.kv_heads)
    per_layer += config.qk_norm * 2 * config.head_width
    embeddings = config.vocabulary * config.width * (1 if config.tied else 2)
    return config.layers * per_layer + embeddings + config.width


def accumulation_dtype(dtype: Any) -> jnp.dtype:
    """Dtype of sums, norms, softmax and log-probabilities in a computation of ``dtype``: float32 at least."""
    return jnp.dtype(jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32)


def _preset(vocabulary: int, width: int, layers: int, heads: int, context: int) -> ModelConfig:
    return ModelConfig(
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=heads // 2,
        head_width=width // heads,
        hidden=width * 8 // 3 // 8 * 8,
        context=context,
    )


PRESETS = {
    "tiny": _preset(258, 64, 2, 4, 256),
    "small": _preset(258, 256, 6, 8, 512),
}


def preset(name: str) -> ModelConfig:
    """Return a model of a known size over bytes.

    Args:
      name: ``tiny`` (trains in a minute on a processor) or ``small``.

    Raises:
      InputError: if the name is another one.
    """
    if name not in PRESETS:
        raise InputError(unknown(name, tuple(PRESETS), "preset"))
    return PRESETS[name]
