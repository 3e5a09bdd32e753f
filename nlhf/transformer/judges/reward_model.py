"""The Bradley-Terry judge: a transformer gives each response a reward, their difference decides."""

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
    """Return parameters of a reward model whose rewards are 0.

    Args:
      start: its parameters; ``None`` draws them.
    """
    return trunk.init(key, config, start)


def reward(params: Parameters, config: ModelConfig, responses: Responses) -> Array:
    """Return ``[N]`` rewards in nats, read at the last token of the response (of the prompt, if it is empty).

    Args:
      params: as ``init`` makes them.
      responses: ``[N]``.

    Raises:
      InputError: if prompt and response are longer than the context.
    """
    return trunk.read_many(params, trunk.reader_config(config), *_rows(responses))


def _rows(responses: Responses) -> tuple[Array, Array]:
    tokens = jnp.concatenate([responses.prompt, responses.tokens], axis=1)
    return tokens, responses.prompt.shape[1] - 1 + length(responses)


def judge(params: Parameters, config: ModelConfig) -> Judge:
    """Judge by ``P(y ≻ y') = σ(r(y) - r(y'))``.

    Args:
      params: as ``init`` makes them.
    """
    return Judge(Partial(_describe, config, params), Partial(_compare))


def _describe(config: ModelConfig, params: Parameters, responses: Responses) -> Array:
    return reward(params, config, responses)


def _compare(first: Array, second: Array) -> Array:
    return from_logit(first - second)


def loss(config: ModelConfig) -> Any:
    """Return ``loss(params, comparisons)``, the sum of ``weight losses.logistic(r(y), r(y'), label)``."""
    return Partial(_loss, config)


def _loss(config: ModelConfig, params: Parameters, comparisons: Comparisons) -> Array:
    both = jax.tree.map(lambda *sides: jnp.concatenate(sides), comparisons.first, comparisons.second)
    first, second = jnp.split(trunk.read(params, trunk.reader_config(config), *_rows(both)), 2)
    label = comparisons.prefer_first.astype(first.dtype)
    each = losses.logistic(first, second, label, beta=1.0)
    return jnp.sum(comparisons.weight.astype(each.dtype) * each)
