"""Log-probabilities of responses, a chunk of positions at a time: ``[B, T, V]`` is never made in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype
from nlhf.transformer.model.sharding import constrain, row_parts
from nlhf.transformer.responses import Responses

Array = jax.Array
Component = tuple[Any, Any]  # parameters of a model, and its weight in a geometric mixture
CHUNK = 1 << 23  # logits at a time; 32 MiB in float32


def log_prob(params: Any, config: ModelConfig, responses: Responses, *, chunk: int = CHUNK) -> Array:
    """``Σ_t log π(y_t | x, y_<t)`` of K responses to each prompt, ``[B, K]``.

    Args:
      responses: ``[B, K]``; the prompt is read from the first of each row.
      chunk: about how many logits are held at a time.
    """
    return token_log_prob(((params, 1.0),), config, responses, chunk=chunk).sum(-1)


def token_log_prob(
    components: Sequence[Component], config: ModelConfig, responses: Responses, *, chunk: int = CHUNK
) -> Array:
    """Log-probability of each token, ``[B, K, R]``; 0 where there is none.

    With several components, under their token-level geometric mixture
    ``log m(·|x, y_<t) = log_softmax(Σ_i w_i log π_i(·|x, y_<t))``, which is what the sampler draws from.

    Args:
      components: pairs of parameters and weight.
      responses: ``[B, K]``; the prompt is read from the first of each row.
      chunk: about how many logits a device holds at a time, in the backward pass too.
    """
    tokens = responses.tokens
    shape = tokens.shape
    states = [
        decoder.branch_hidden(params, config, responses.prompt[:, 0], tokens).reshape(-1, config.width)
        for params, _ in components
    ]
    picked = jnp.maximum(tokens.reshape(-1), 0)
    heads = [_head(params) for params, _ in components]
    weights = [weight for _, weight in components]

    def part(rows: tuple[list[Array], Array]) -> Array:
        scores = mixture_logits(heads, weights, config, rows[0])
        chosen = jnp.take_along_axis(scores, rows[1][..., None], axis=-1)[..., 0]
        return chosen - jax.nn.logsumexp(scores, axis=-1)

    parts = row_parts(shape[0])
    rows = picked.shape[0] // parts
    chunks = -(-rows * config.vocabulary // max(chunk, config.vocabulary))
    if chunks == 1:
        values = part((states, picked))
    else:
        size = -(-rows // chunks)

        # each device goes through its own rows: chunks across devices would be fetched from one by one
        def beside(leaf: Array) -> Array:
            split = leaf.reshape(parts, rows, *leaf.shape[1:])
            split = jnp.pad(split, ((0, 0), (0, chunks * size - rows)) + ((0, 0),) * (leaf.ndim - 1))
            split = split.reshape(parts, chunks, size, *leaf.shape[1:]).swapaxes(0, 1)
            return constrain(split, None, "rows")

        # the backward pass computes the logits again
        found = jax.lax.map(jax.checkpoint(part), jax.tree.map(beside, (states, picked)))
        values = found.swapaxes(0, 1).reshape(parts, chunks * size)[:, :rows]
    return jnp.where(tokens >= 0, values.reshape(shape), jnp.zeros((), values.dtype))


def _head(params: Any) -> Any:
    return {name: params[name] for name in ("embedding", "head") if name in params}


def mixture_logits(
    heads: Sequence[Any], weights: Sequence[Any], config: ModelConfig, states: Sequence[Array]
) -> Array:
    """Unnormalised log-probabilities ``[..., V]`` of the token-level geometric mixture.

    Args:
      heads: parameters with the read-out of each model.
      states: hidden states ``[..., D]`` of each model.
    """
    scores = [decoder.logits(head, config, each) for head, each in zip(heads, states, strict=True)]
    if len(scores) == 1:
        return scores[0]
    dtype = accumulation_dtype(config.dtype)
    # no need to normalise each first: that subtracts a constant at each position, which cancels
    return sum(
        (jnp.asarray(weight, dtype) * score for weight, score in zip(weights, scores, strict=True)),
        start=jnp.zeros((), dtype),
    )
