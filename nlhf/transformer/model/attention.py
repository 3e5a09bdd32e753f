"""What attends to what: a prompt sees itself, a response its prompt and itself; padding is never seen.

Heads are laid out ``[B, S, KV, G, Dh]`` (G query heads to a key head); keys and values come as
``[B, S, KV, Dh]`` and are kept as ``[B, KV, S, Dh]``. Scores are taken in float32 at least.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.transformer.model.config import ModelConfig, accumulation_dtype

Array = jax.Array


class Context(NamedTuple):
    """What every layer needs beside its input.

    Attributes:
      angles: cosines and sines ``[B, S, Dh/2]`` of the positions.
      prompt: ``[B, P]`` bool, where the prompt has tokens.
      tokens: ``[B, K, R]`` bool, where the responses have tokens; ``None`` for a prompt alone.
    """

    angles: tuple[Array, Array]
    prompt: Array
    tokens: Array | None = None


class Cache(NamedTuple):
    """Keys and values of a layer (or, with a leading axis, of all layers).

    Attributes:
      prompt: pair of ``[B, KV, P, Dh]``, shared by all responses to a prompt.
      tokens: pair of ``[B K, KV, R, Dh]``, as a product of matrices takes it. An axis to drop from it
        (K = 1) would have XLA copy the whole cache at every token.
    """

    prompt: tuple[Array, Array]
    tokens: tuple[Array, Array]


def angles(config: ModelConfig, positions: Array) -> tuple[Array, Array]:
    """Cosine and sine of position times frequency, ``[B, S, Dh/2]``.

    Args:
      config: for the frequencies ``theta^(-2i/Dh)``.
      positions: ``[B, S]``.
    """
    dtype = accumulation_dtype(config.dtype)
    exponents = jnp.arange(0, config.head_width, 2, dtype=dtype) / config.head_width
    frequencies = jnp.asarray(config.rope_theta, dtype) ** -exponents
    angle = positions.astype(dtype)[..., None] * frequencies[None, None]
    return jnp.cos(angle), jnp.sin(angle)


def apply_rotary(x: Array, angle: tuple[Array, Array]) -> Array:
    """Rotate the pairs ``(x_i, x_{i + Dh/2})`` of every head.

    Args:
      x: ``[B, S, ..., Dh]`` with one or two axes of heads.
      angle: ``[B, S, Dh/2]``, cosine and sine.
    """
    shape = angle[0].shape[:2] + (1,) * (x.ndim - 3) + angle[0].shape[2:]
    cos, sin = (part.reshape(shape) for part in angle)
    low, high = jnp.split(x.astype(cos.dtype), 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(x.dtype)


def prompt_context(config: ModelConfig, tokens: Array) -> Context:
    """Context of plain sequences ``[B, T]``; positions count tokens, not padding."""
    present = tokens >= 0
    positions = jnp.maximum(jnp.cumsum(present, axis=-1) - 1, 0)
    return Context(angles(config, positions), present)


def branch_context(config: ModelConfig, prompt: Array, tokens: Array) -> Context:
    """Context of rows of one prompt and K responses, whose positions all continue from its last.

    Args:
      prompt: ``[B, P]`` ids.
      tokens: ``[B, K, R]`` ids.
    """
    present, (num, branches, length) = prompt >= 0, tokens.shape
    own = jnp.maximum(jnp.cumsum(present, axis=-1) - 1, 0)
    after = present.sum(-1)[:, None, None] + jnp.arange(length)[None, None]
    after = jnp.broadcast_to(after, (num, branches, length)).reshape(num, -1)
    positions = jnp.concatenate([own, after.astype(own.dtype)], axis=1)
    return Context(angles(config, positions), present, tokens >= 0)


def _softmax(scores: list[Array], seen: list[Array], width: int) -> list[Array]:
    """Softmax over the last axes of both parts together, in float32 at least."""
    lowest = [jnp.asarray(jnp.finfo(part.dtype).min, part.dtype) for part in scores]
    masked = [
        jnp.where(mask, part * width**-0.5, low) for part, mask, low in zip(scores, seen, lowest, strict=True)
    ]
    joint = jax.nn.softmax(jnp.concatenate(masked, axis=-1), axis=-1)
    return list(jnp.split(joint, [masked[0].shape[-1]], axis=-1))


def _partial_softmax(scores: Array, seen: Array, values: Array) -> tuple[Array, Array, Array]:
    """Largest score, sum of exponentials and their sum of values, by row: what a softmax in parts is made of.

    Args:
      scores: ``[..., M, S]``.
      seen: bool, broadcasts against ``scores``.
      values: ``[..., S, Dh]``.
    """
    scores = jnp.where(seen, scores, jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype))
    largest = jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    exponentials = jnp.exp(scores - largest)
    mixed = jnp.einsum("...ms,...sw->...mw", exponentials.astype(values.dtype), values)
    return largest, exponentials.sum(-1, keepdims=True), mixed.astype(scores.dtype)


def _scores(query: Array, key: Array) -> Array:
    """``[..., M, Dh]`` times ``[..., S, Dh]``, scaled; shapes that products of matrices take as they are.

    The axes in front stay apart: one that merged prompts and heads could not be split over a mesh by both.
    """
    dtype = accumulation_dtype(query.dtype)
    scores = jnp.einsum("...mw,...sw->...ms", query, key, preferred_element_type=dtype)
    return scores * query.shape[-1] ** -0.5  # here, as in decoding: in bfloat16 the factor itself is rounded


def attend_prompt(
    context: Context, cache: Any, query: Array, key: Array, value: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Causal attention of sequences to themselves; returns their keys and values as the layer's cache.

    Args:
      context: as ``prompt_context`` makes it.
      cache: not read.
      query: ``[B, P, KV, G, Dh]``.
      key: ``[B, P, KV, Dh]``.
      value: ``[B, P, KV, Dh]``.
    """
    del cache
    num, size, kv_heads, group, width = query.shape
    keys, values = key.swapaxes(1, 2), value.swapaxes(1, 2)
    rows = query.transpose(0, 2, 3, 1, 4).reshape(num, kv_heads, group * size, width)
    position = jnp.arange(size)
    causal = jnp.tile(position, group)[:, None] >= position[None]
    seen = causal[None, None] & context.prompt[:, None, None]
    _, total, mixed = _partial_softmax(_scores(rows, keys), seen, values)
    mixed = (mixed / total).astype(value.dtype).reshape(num, kv_heads, group, size, width)
    return mixed.transpose(0, 3, 1, 2, 4), (keys, values)


def attend_branches(
    context: Context, cache: Any, query: Array, key: Array, value: Array
) -> tuple[Array, None]:
    """Attention in rows of one prompt and K responses: each response sees the prompt and its own past.

    Args:
      context: as ``branch_context`` makes it.
      cache: not read.
      query: ``[B, P + K R, KV, G, Dh]``.
      key: ``[B, P + K R, KV, Dh]``.
      value: ``[B, P + K R, KV, Dh]``.
    """
    assert context.tokens is not None
    width, (num, branches, length) = context.prompt.shape[1], context.tokens.shape
    kv_heads, group, head_width = query.shape[2:]
    mixed_prompt, shared = attend_prompt(context, cache, query[:, :width], key[:, :width], value[:, :width])
    # [B, KV, K, G, R, Dh]: one product with each prompt's keys, and one with each response's own
    split = query[:, width:].reshape(num, branches, length, kv_heads, group, head_width)
    rows = split.transpose(0, 3, 1, 4, 2, 5)
    own = [
        each[:, width:].reshape(num, branches, length, kv_heads, head_width).transpose(0, 3, 1, 2, 4)
        for each in (key, value)
    ]
    to_prompt = _partial_softmax(
        _scores(rows.reshape(num, kv_heads, -1, head_width), shared[0]),
        context.prompt[:, None, None],
        shared[1],
    )
    position = jnp.arange(length)
    causal = jnp.tile(position, group)[:, None] >= position[None]
    to_own = _partial_softmax(
        _scores(rows.reshape(num, kv_heads, branches, group * length, head_width), own[0]),
        causal[None, None, None] & context.tokens[:, None, :, None],
        own[1],
    )
    mixed = _combine(rows.shape[:-1], to_prompt, to_own).astype(value.dtype)
    mixed = mixed.transpose(0, 2, 4, 1, 3, 5).reshape(num, branches * length, kv_heads, group, head_width)
    return jnp.concatenate([mixed_prompt, mixed], axis=1), None


def _combine(shape: tuple[int, ...], *parts: tuple[Array, Array, Array]) -> Array:
    """Softmax over all parts together, from each part's own largest score, sum and mixture."""
    flat = [tuple(each.reshape(*shape, each.shape[-1]) for each in part) for part in parts]
    largest = functools.reduce(jnp.maximum, [part[0] for part in flat])
    factors = [jnp.exp(part[0] - largest) for part in flat]
    sums = [
        functools.reduce(jnp.add, [factor * part[place] for factor, part in zip(factors, flat, strict=True)])
        for place in (1, 2)
    ]
    return sums[1] / sums[0]


class StepContext(NamedTuple):
    """What every layer needs while one token of each response is decoded.

    Attributes:
      angles: cosines and sines ``[B, K, Dh/2]`` of the tokens' position.
      prompt: ``[B, P]`` bool, where the prompt has tokens.
      filled: how many tokens of the responses are in the cache already.
    """

    angles: tuple[Array, Array]
    prompt: Array
    filled: Array


def step_context(config: ModelConfig, prompt: Array, num_responses: int, index: Array) -> StepContext:
    """Context of decoding token ``index`` (from 0) of K responses to each prompt.

    Args:
      prompt: ``[B, P]`` ids.
      num_responses: K.
      index: scalar.
    """
    present = prompt >= 0
    filled = jnp.asarray(index, jnp.int32)
    position = present.sum(-1, dtype=jnp.int32)[:, None] + filled
    position = jnp.broadcast_to(position, (prompt.shape[0], num_responses))
    return StepContext(angles(config, position), present, filled)


def attend_step(
    context: StepContext, cache: Cache, query: Array, key: Array, value: Array
) -> tuple[Array, Cache]:
    """Attention of one new token of each response to the prompt and to the tokens before it and itself.

    A response that has ended is still computed; nothing reads the result.

    Args:
      context: as ``step_context`` makes it.
      query: ``[B, K, KV, G, Dh]``.
      key: ``[B, K, KV, Dh]``.
      value: ``[B, K, KV, Dh]``.
    """
    num, branches, kv_heads, group, width = query.shape
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(
            kept, new.reshape(num * branches, kv_heads, 1, width), context.filled, axis=2
        )
        for kept, new in zip(cache.tokens, (key, value), strict=True)
    )
    dtype = accumulation_dtype(query.dtype)
    rows = query.reshape(num * branches, kv_heads, group, width)
    to_prompt = jnp.einsum("bkhgw,bhpw->bkhgp", query, cache.prompt[0], preferred_element_type=dtype)
    to_own = jnp.einsum("nhgw,nhsw->nhgs", rows, keys, preferred_element_type=dtype)
    to_own = to_own.reshape(num, branches, kv_heads, group, keys.shape[2])
    seen = [
        context.prompt[:, None, None, None, :],
        (jnp.arange(keys.shape[2], dtype=jnp.int32) <= context.filled)[None, None, None, None],
    ]
    weights = [part.astype(value.dtype) for part in _softmax([to_prompt, to_own], seen, width)]
    mixed = jnp.einsum("bkhgp,bhpw->bkhgw", weights[0], cache.prompt[1])
    own = jnp.einsum("nhgs,nhsw->nhgw", weights[1].reshape(num * branches, kv_heads, group, -1), values)
    return mixed + own.reshape(mixed.shape), Cache(cache.prompt, (keys, values))
