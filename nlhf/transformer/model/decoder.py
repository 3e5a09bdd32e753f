"""A decoder-only transformer: rotary, grouped-query attention, gated feed-forward layers, stacked layers.

The only file that knows flax. Outside of it a model is ``init(key, config)`` and functions of a plain nested
dictionary of arrays:

- ``embedding [V, D]``, ``final_norm [D]``, ``head [D, V]`` (untied models only);
- ``layers/``, every array with the layers first: ``attention_norm [L, D]``, ``qkv [L, D, KV, G + 2, Dh]``
  (the G query heads of a key head, then its key, then its value), ``qkv_bias [L, KV, G + 2, Dh]``,
  ``query_norm`` and ``key_norm [L, Dh]``, ``out [L, KV, G, Dh, D]``, ``mlp_norm [L, D]``,
  ``gate_up [L, D, 2, F]``, ``down [L, F, D]``.

K responses to one prompt share its computation: a row is one prompt and K branches, each of which attends to
the prompt's keys and to its own. Training, scoring and sampling are this one layout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nlhf.transformer.model.attention import (
    Cache,
    StepContext,
    apply_rotary,
    attend_branches,
    attend_prompt,
    attend_step,
    branch_context,
    prompt_context,
)
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype
from nlhf.transformer.model.matmul import KEPT, product, wide_product
from nlhf.transformer.model.sharding import constrain

Array = jax.Array
Parameters = Any


class Block(nn.Module):
    """One layer; ``attend(context, cache, query, key, value)`` says what sees what."""

    config: ModelConfig
    attend: Callable[..., tuple[Array, Any]]

    @nn.compact
    def __call__(self, x: Array, cache: Any, context: Any) -> tuple[Array, Any]:
        """Return the layer's output ``[B, S, D]`` and its new cache."""
        c = self.config
        dtype = jnp.dtype(c.dtype)
        projection = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
        normed = norm(x, self.param("attention_norm", nn.initializers.ones, (c.width,)), c)
        qkv = self.param("qkv", projection, (c.width, c.kv_heads, c.group + 2, c.head_width))
        heads = product("bsd,dhgw->bshgw", normed, qkv)
        if c.qkv_bias:
            shape = (c.kv_heads, c.group + 2, c.head_width)
            heads = heads + self.param("qkv_bias", nn.initializers.zeros, shape).astype(dtype)[None, None]
        heads = constrain(heads, "rows", None, "kv_heads")
        query, key, value = heads[..., : c.group, :], heads[..., c.group, :], heads[..., c.group + 1, :]
        if c.qk_norm:
            query = norm(query, self.param("query_norm", nn.initializers.ones, (c.head_width,)), c)
            key = norm(key, self.param("key_norm", nn.initializers.ones, (c.head_width,)), c)
        query = apply_rotary(query, context.angles)
        key = apply_rotary(key[..., None, :], context.angles)[..., 0, :]
        mixed, cache = self.attend(context, cache, query, key, value)
        back = nn.initializers.lecun_normal(in_axis=(0, 1, 2), out_axis=3)
        out = self.param("out", back, (c.kv_heads, c.group, c.head_width, c.width))
        x = constrain(x + product("bshgw,hgwd->bsd", mixed, out), "rows")
        normed = norm(x, self.param("mlp_norm", nn.initializers.ones, (c.width,)), c)
        spread = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        gate_up = self.param("gate_up", spread, (c.width, 2, c.hidden))
        both = product("bsd,dnf->bsnf", normed, gate_up)
        both = constrain(both, "rows", None, None, "hidden")
        precise = both.astype(accumulation_dtype(c.dtype))
        hidden = (jax.nn.silu(precise[..., 0, :]) * precise[..., 1, :]).astype(dtype)
        down = self.param("down", nn.initializers.lecun_normal(), (c.hidden, c.width))
        return constrain(x + product("bsf,fd->bsd", hidden, down), "rows"), cache


class Decoder(nn.Module):
    """Embedding, the layers as one scan, and the last norm; the read-out is ``logits``."""

    config: ModelConfig
    attend: Callable[..., tuple[Array, Any]]

    @nn.compact
    def __call__(self, tokens: Array, cache: Any, context: Any) -> tuple[Array, Any]:
        """Map ids ``[B, S]`` to hidden states ``[B, S, D]`` and the caches of all layers."""
        c = self.config
        embedding = self.param("embedding", nn.initializers.normal(0.02), (c.vocabulary, c.width))
        if not c.tied:
            self.param("head", nn.initializers.lecun_normal(), (c.width, c.vocabulary))
        x = embed(embedding, c, tokens)
        # products with weights are kept for the backward pass; everything else is computed again, which is
        # faster than storing and loading it
        policy = None if c.remat else jax.checkpoint_policies.save_only_these_names(KEPT)
        layers = nn.scan(
            nn.remat(Block, prevent_cse=False, policy=policy),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            out_axes=0,
            length=c.layers,
        )
        x, cache = layers(c, self.attend, name="layers")(x, cache, context)
        return norm(x, self.param("final_norm", nn.initializers.ones, (c.width,)), c), cache


def embed(embedding: Array, config: ModelConfig, tokens: Array) -> Array:
    """Rows of the embedding, ``[B, S, D]``; padding gets some row, which nothing reads.

    Args:
      embedding: ``[V, D]``.
      tokens: ``[B, S]`` ids.
    """
    table = constrain(embedding, "vocabulary")
    x = jnp.take(table, jnp.maximum(tokens, 0), axis=0, mode="clip")
    return constrain(x.astype(jnp.dtype(config.dtype)), "rows")


def norm(x: Array, weight: Array, config: ModelConfig) -> Array:
    """Root-mean-square norm ``weight x / √(mean x² + ε)`` over the last axis.

    Args:
      x: ``[..., D]``.
      weight: ``[D]``.
    """
    precise = x.astype(accumulation_dtype(config.dtype))
    scale = jax.lax.rsqrt(jnp.mean(precise**2, axis=-1, keepdims=True) + config.norm_epsilon)
    return (precise * scale).astype(x.dtype) * weight.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


@functools.partial(jax.jit, static_argnames="config")
def init(key: Array, config: ModelConfig) -> Parameters:
    """Random parameters: truncated normals of variance 1/inputs, embedding 0.02, float32 (or float64).

    Returns:
      The nested dictionary of the module's docstring.
    """
    tokens = jnp.zeros((1, 1), jnp.int32)
    context = prompt_context(config, tokens)
    variables = Decoder(config, attend_prompt).init(key, tokens, None, context)
    return jax.tree.map(lambda leaf: leaf.astype(accumulation_dtype(config.dtype)), variables["params"])


def hidden(params: Parameters, config: ModelConfig, tokens: Array) -> Array:
    """Hidden states ``[B, T, D]`` after the last norm, of plain sequences.

    Args:
      tokens: ``[B, T]`` ids; -1 on either side is padding, which no token sees.
    """
    context = prompt_context(config, tokens)
    return Decoder(config, attend_prompt).apply({"params": params}, tokens, None, context)[0]


def logits(params: Parameters, config: ModelConfig, states: Array) -> Array:
    """Read-out ``[..., V]`` of hidden states, in float32 (or float64).

    Args:
      states: ``[..., D]``.
    """
    flat = states.reshape(-1, states.shape[-1])
    if config.tied:
        scores = wide_product("nd,vd->nv", flat, params["embedding"])
    else:
        scores = wide_product("nd,dv->nv", flat, params["head"])
    return scores.reshape(*states.shape[:-1], -1)


def apply(params: Parameters, config: ModelConfig, tokens: Array) -> Array:
    """Logits ``[B, T, V]`` of the token after each position.

    Args:
      tokens: ``[B, T]`` ids; -1 on either side is padding.
    """
    return logits(params, config, hidden(params, config, tokens))


def branch_hidden(params: Parameters, config: ModelConfig, prompt: Array, tokens: Array) -> Array:
    """Hidden states ``[B, K, R, D]`` from which each token of K responses to one prompt is predicted.

    Entry r is the state *before* token r: the prompt's last one for the first token.

    Args:
      prompt: ``[B, P]`` ids, left-padded with -1.
      tokens: ``[B, K, R]`` ids, right-padded with -1.
    """
    (num, width), (_, branches, length) = prompt.shape, tokens.shape
    row = jnp.concatenate([prompt, tokens.reshape(num, -1)], axis=1)
    context = branch_context(config, prompt, tokens)
    states, _ = Decoder(config, attend_branches).apply({"params": params}, row, None, context)
    first = jnp.broadcast_to(states[:, None, width - 1 : width], (num, branches, 1, config.width))
    rest = states[:, width:].reshape(num, branches, length, config.width)[:, :, :-1]
    return jnp.concatenate([first, rest], axis=2)


def prefill(params: Parameters, config: ModelConfig, prompt: Array) -> tuple[Array, tuple[Array, Array]]:
    """Hidden state ``[B, D]`` after each prompt, and the prompts' keys and values ``[L, B, KV, P, Dh]``.

    Args:
      prompt: ``[B, P]`` ids, left-padded with -1.
    """
    context = prompt_context(config, prompt)
    decoder: Any = Decoder(config, attend_prompt)
    states, cache = decoder.apply({"params": params}, prompt, None, context)
    return states[:, -1], cache


def by_layer(params: Parameters, config: ModelConfig) -> list[Parameters]:
    """Take the stacked layers apart: a loop that reads them again and again then copies none of them."""
    leaves, structure = jax.tree.flatten(params["layers"])
    return [jax.tree.unflatten(structure, [leaf[index] for leaf in leaves]) for index in range(config.layers)]


def decode(
    params: Parameters,
    layers: list[Parameters],
    config: ModelConfig,
    caches: list[Cache],
    tokens: Array,
    context: StepContext,
) -> tuple[Array, list[Cache]]:
    """Hidden states ``[B, K, D]`` after one more token of each response, and the caches with it.

    Args:
      layers: ``by_layer(params, config)``.
      tokens: ``[B, K]`` ids.
      context: as ``attention.step_context`` makes it.
    """
    x = embed(params["embedding"], config, tokens)
    block: Any = Block(config, attend_step)
    new = []
    for layer, cache in zip(layers, caches, strict=True):
        x, cache = block.apply({"params": layer}, x, cache, context)
        new.append(cache)
    return norm(x, params["final_norm"], config), new
