"""A judge that reads both responses at once, so that its preferences need not follow any ranking."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf import losses
from nlhf.base import Comparisons
from nlhf.transformer.judges import trunk
from nlhf.transformer.judges.protocol import Judge, from_logit
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.responses import Responses, length

Array = jax.Array
Parameters = Any


def init(key: Array, config: ModelConfig, start: Parameters = None) -> Parameters:
    """Return parameters of a pairwise model that prefers nothing; its separator is the token V.

    Args:
      start: its parameters; ``None`` draws them.
    """
    return trunk.init(key, config, start, num_new=1)


def logit(params: Parameters, config: ModelConfig, first: Responses, second: Responses) -> Array:
    """Return ``[N]`` logits of P(first preferred), ``f(x, y, y') - f(x, y', y)``, odd by construction.

    f is read at the last token of the row: prompt, response, separator, other response.

    Args:
      params: as ``init`` makes them.
      first: ``[N]``.
      second: ``[N]``, to the same prompts.

    Raises:
      InputError: if prompt and both responses are longer than the context.
    """
    wider = trunk.reader_config(config, num_new=1)
    forth, back = jnp.split(trunk.read_many(params, wider, *_rows(config, first, second)), 2)
    return forth - back


def _rows(config: ModelConfig, first: Responses, second: Responses) -> tuple[Array, Array]:
    """Both orders, one after the other, ``[2 N, P + 2 R + 1]``."""
    separator = jnp.full_like(first.tokens[:, :1], config.vocabulary)

    def order(one: Responses, other: Responses) -> tuple[Array, Array]:
        tokens = jnp.concatenate([first.prompt, one.tokens, separator, other.tokens], axis=1)
        return tokens, first.prompt.shape[1] + one.tokens.shape[1] + length(other)

    return jax.tree.map(lambda *sides: jnp.concatenate(sides), order(first, second), order(second, first))


def judge(params: Parameters, config: ModelConfig) -> Judge:
    """Judge by ``P(y ≻ y') = σ(f(x, y, y') - f(x, y', y))``.

    Args:
      params: as ``init`` makes them.
    """
    return Judge(Partial(_same), Partial(_compare, config, params))


def _same(responses: Responses) -> Responses:
    return responses


def _compare(config: ModelConfig, params: Parameters, first: Responses, second: Responses) -> Array:
    return from_logit(logit(params, config, first, second))


def loss(config: ModelConfig) -> Any:
    """Return ``loss(params, comparisons)``: ``Σ weight (-p log P - (1 - p) log(1 - P))``, p the labels."""
    return Partial(_loss, config)


def _loss(config: ModelConfig, params: Parameters, comparisons: Comparisons) -> Array:
    rows = _rows(config, comparisons.first, comparisons.second)
    forth, back = jnp.split(trunk.read(params, trunk.reader_config(config, num_new=1), *rows), 2)
    label = comparisons.prefer_first.astype(forth.dtype)
    each = losses.logistic(forth, back, label, beta=1.0)
    return jnp.sum(comparisons.weight.astype(each.dtype) * each)
