"""Sampling with a cache: one prefill for all responses to a prompt, then one jitted loop over tokens.

Several policies may decode together: every token is then drawn from their geometric mixture
``log m(·|x, y_<t) = log_softmax(Σ_i w_i log π_i(·|x, y_<t))``, in one pass over all of them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import check_number, check_whole
from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.model.attention import Cache, step_context
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype
from nlhf.transformer.model.likelihood import Component, mixture_logits
from nlhf.transformer.model.token_filters import draw, weigh
from nlhf.transformer.responses import PAD, Responses, check_prompts

Array = jax.Array


def sample(
    key: Array,
    components: Sequence[Component],
    config: ModelConfig,
    prompt: Array,
    *,
    num_responses: int = 1,
    length: int,
    temperature: Any = 1.0,
    top_k: Any = None,
    top_p: Any = None,
    end: int | None = None,
) -> Responses:
    """Draw K responses to each prompt, token by token from the geometric mixture of the components.

    Response k to prompt b depends on ``key``, b, k and the prompt only: not on how many others are drawn, how
    wide the padding is (but for rounding) or how arrays are sharded; a shorter ``length`` cuts it off.
    Compiles once for each ``config``, B, P, K, R and which filters are on, whatever their values.

    Args:
      components: pairs of parameters and weight; ``((params, 1.0),)`` for one policy.
      prompt: ``[B, P]`` ids, left-padded with -1.
      num_responses: K >= 1.
      length: R >= 1, the most tokens of a response.
      temperature: >= 0; divides the scores, and 0 takes the likeliest token (the first of equal ones).
      top_k: how many tokens to draw from, >= 1, or ``None`` for all.
      top_p: mass of the likeliest tokens to draw from, in (0, 1], after top-k, or ``None`` for all.
      end: id that ends a response and is its last token, or ``None`` for R tokens always.

    Returns:
      Responses ``[B, K]``. ``log_prob`` is that of the response under the mixture itself, with neither
      temperature nor filters: what ``likelihood.token_log_prob`` of the same components adds up to.

    Raises:
      InputError: if the prompt is not left-padded ids of the model, prompt and response exceed the context,
        or a number is out of range.
    """
    num, size = check_whole("num_responses", num_responses), check_whole("length", length)
    _check(components, config, prompt, size, temperature, top_k, top_p, end)
    plain = top_k is None and top_p is None and isinstance(temperature, int | float) and temperature == 1
    dtype = accumulation_dtype(config.dtype)
    return _sample(
        key,
        tuple((params, jnp.asarray(weight, dtype)) for params, weight in components),
        jnp.asarray(prompt, jnp.int32),
        None if plain else _Filters(jnp.asarray(temperature, dtype), top_k, top_p),
        jnp.asarray(PAD if end is None else end, jnp.int32),
        config=config,
        num_responses=num,
        length=size,
    )


class _Filters(NamedTuple):
    temperature: Array
    top_k: Any
    top_p: Any


class _Loop(NamedTuple):
    step: Array  # tokens drawn so far
    tokens: Array  # [B, K, R]
    log_prob: Array  # [B, K]
    ended: Array  # [B, K]
    caches: Any  # keys and values [B K, KV, R, Dh] of every component and layer


@functools.partial(jax.jit, static_argnames=("config", "num_responses", "length"))
def _sample(
    key: Array,
    components: tuple[Component, ...],
    prompt: Array,
    filters: _Filters | None,
    end: Array,
    *,
    config: ModelConfig,
    num_responses: int,
    length: int,
) -> Responses:
    shape = (prompt.shape[0], num_responses)
    uniform = uniforms(key, *shape, length)
    weights = [weight for _, weight in components]
    # cast, unstack and transpose once, before the loop: it reads these arrays at every token
    models = [jax.tree.map(lambda leaf: leaf.astype(config.dtype), params) for params, _ in components]
    layers = [decoder.by_layer(params, config) for params in models]
    heads = [{"head": params["embedding"].T if config.tied else params["head"]} for params in models]
    untied = dataclasses.replace(config, tied=False)

    def extend(loop: _Loop, states: list[Array], caches: Any) -> _Loop:
        """Draw one more token of each response that has not ended."""
        scores = mixture_logits(heads, weights, untied, states)
        step_uniform = jax.lax.dynamic_index_in_dim(uniform, loop.step, axis=2, keepdims=False)
        token, log_prob = _draw(step_uniform, scores, filters)
        token = jnp.where(loop.ended, jnp.asarray(PAD, jnp.int32), token)
        log_prob = jnp.where(loop.ended, jnp.zeros_like(log_prob), log_prob)
        return _Loop(
            loop.step + 1,
            jax.lax.dynamic_update_index_in_dim(loop.tokens, token, loop.step, axis=2),
            loop.log_prob + log_prob,
            loop.ended | (token == end),
            caches,
        )

    def again(loop: _Loop) -> Array:
        return (loop.step < length) & ~loop.ended.all()

    def advance(loop: _Loop) -> _Loop:
        token = jax.lax.dynamic_index_in_dim(loop.tokens, loop.step - 1, axis=2, keepdims=False)
        context = step_context(config, prompt, num_responses, loop.step - 1)
        moved = []
        for params, parts, shared, own in zip(models, layers, prompts, loop.caches, strict=True):
            cache = [Cache(*pair) for pair in zip(shared, own, strict=True)]
            state, cache = decoder.decode(params, parts, config, cache, token, context)
            moved.append((state, [each.tokens for each in cache]))
        return extend(loop, [state for state, _ in moved], [own for _, own in moved])

    states, prompts = [], []
    for params in models:
        state, (keys, values) = decoder.prefill(params, config, prompt)
        states.append(jnp.broadcast_to(state[:, None], (*shape, config.width)))
        prompts.append([(keys[index], values[index]) for index in range(config.layers)])
    zeros = jnp.zeros((shape[0] * shape[1], config.kv_heads, length, config.head_width), config.dtype)
    start = _Loop(
        jnp.zeros((), jnp.int32),
        jnp.full((*shape, length), PAD, jnp.int32),
        jnp.zeros(shape, accumulation_dtype(config.dtype)),
        jnp.zeros(shape, bool),
        None,
    )
    caches = [[(zeros, zeros) for _ in range(config.layers)] for _ in components]
    last = jax.lax.while_loop(again, advance, extend(start, states, caches))
    return Responses(jnp.broadcast_to(prompt[:, None], (*shape, prompt.shape[1])), last.tokens, last.log_prob)


def _draw(uniform: Array, scores: Array, filters: _Filters | None) -> tuple[Array, Array]:
    """Token ``[...]`` and its log-probability before the filters."""
    plain = weigh(scores)
    if filters is None:
        token = draw(uniform, plain)
    else:
        weights = weigh(scores, filters.temperature, filters.top_k, filters.top_p)
        token = draw(jnp.where(filters.temperature > 0, uniform, jnp.zeros_like(uniform)), weights)
    chosen = jnp.take_along_axis(scores, token[..., None], axis=-1)[..., 0]
    return token, chosen - scores.max(-1) - jnp.log(plain.sum(-1))


def uniforms(key: Array, rows: int, num_responses: int, length: int) -> Array:
    """Numbers in [0, 1), two a token: ``[B, K, R, 2]``, each a function of ``key`` and its own place only.

    Args:
      rows: B.
      num_responses: K.
      length: R.
    """
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(rows))
    keys = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(row_keys, jnp.arange(num_responses))
    return jax.vmap(jax.vmap(lambda own: jax.random.uniform(own, (length, 2), jnp.float32)))(keys)


def bucket(size: int, smallest: int = 8) -> int:
    """Round a size up to 1 or 1.5 times a power of 2: few different shapes compile, at most 1/3 is padding.

    Args:
      size: >= 0.
      smallest: what is returned for less, a power of 2, >= 2.

    >>> [bucket(size) for size in (3, 8, 9, 13, 100, 129)]
    [8, 8, 12, 16, 128, 192]
    """
    rounded = smallest
    while rounded < size:
        rounded += rounded // 2 if rounded & (rounded - 1) == 0 else rounded // 3
    return rounded


def pad_prompts(
    prompts: Sequence[Sequence[int]], *, width: int | None = None, rows: int | None = None
) -> Array:
    """Left-pad prompts into one ``[B, P]`` array of a bucketed size; rows beyond the prompts repeat the last.

    Args:
      prompts: token ids, at least one prompt of at least one id.
      width: P; by default the bucket of the longest.
      rows: B; by default the bucket of their number.

    Raises:
      InputError: if there is no prompt, one is empty, or they do not fit.
    """
    lengths = [len(each) for each in prompts]
    if not lengths or not all(lengths):
        raise InputError(
            f"there are {len(lengths)} prompts of {lengths[:8]} ids; give at least one id a prompt"
        )
    width = bucket(max(lengths)) if width is None else width
    rows = bucket(len(lengths), smallest=2) if rows is None else rows
    if max(lengths) > width or len(lengths) > rows:
        raise InputError(
            f"{len(lengths)} prompts of up to {max(lengths)} ids do not fit {rows} rows of {width}; "
            "shorten them or give more room"
        )
    padded = np.full((rows, width), PAD, np.int32)
    for index in range(rows):
        ids = prompts[min(index, len(lengths) - 1)]
        padded[index, width - len(ids) :] = ids
    return jnp.asarray(padded)


def _check(
    components: Sequence[Component],
    config: ModelConfig,
    prompt: Array,
    length: int,
    temperature: Any,
    top_k: Any,
    top_p: Any,
    end: int | None,
) -> None:
    if not components:
        raise InputError("components is empty; give at least one pair of parameters and weight")
    for _, weight in components:
        check_number("weight of a component", weight, low=-np.inf)
    check_number("temperature", temperature)
    if top_k is not None:
        check_number("top_k", top_k, low=1)
    if top_p is not None:
        check_number("top_p", top_p, high=1.0, open_low=True)
    if end is not None and not isinstance(end, jax.core.Tracer) and not 0 <= int(end) < config.vocabulary:
        raise InputError(
            f"end is {end}, but the model has ids 0 to {config.vocabulary - 1}; give one of them"
        )
    check_prompts(prompt, length, config.vocabulary, config.context)
