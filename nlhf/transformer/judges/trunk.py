"""A transformer as a reader: the hidden state at one place of each sequence, and a number read from it."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype

Array = jax.Array
Parameters = Any
ROWS = 64  # sequences read at a time outside of training; bounds the activations


def reader_config(config: ModelConfig, num_new: int = 0) -> ModelConfig:
    """Return the model that a trunk is: without a read-out over the vocabulary, with rows for new tokens.

    Args:
      num_new: tokens beyond its vocabulary, with ids from V on.
    """
    return dataclasses.replace(config, tied=True, vocabulary=config.vocabulary + num_new)


def init(key: Array, config: ModelConfig, trunk: Parameters = None, num_new: int = 0) -> Parameters:
    """Return ``{"trunk": parameters, "read_out": [D] zeros}``: at first every number read is 0.

    Args:
      key: random key, of a trunk of random parameters and of the new rows.
      trunk: its parameters, to start from; ``None`` draws them.
      num_new: as in ``reader_config``; the new rows of a given embedding are draws like its mean and spread.

    Raises:
      InputError: if the trunk's embedding is not that of the config.
    """
    read_out = jnp.zeros(config.width, accumulation_dtype(config.dtype))
    if trunk is None:
        return {"trunk": decoder.init(key, reader_config(config, num_new)), "read_out": read_out}
    embedding = trunk["embedding"]
    if embedding.shape != (config.vocabulary, config.width):
        raise InputError(
            f"the trunk's embedding has shape {embedding.shape}, but the config says "
            f"{(config.vocabulary, config.width)}; give the config of the trunk"
        )
    noise = jax.random.normal(key, (num_new, config.width), embedding.dtype)
    new = embedding.mean(0, keepdims=True) + embedding.std(0, keepdims=True) * noise
    rest = {name: leaf for name, leaf in trunk.items() if name != "head"}
    return {
        "trunk": {**rest, "embedding": jnp.concatenate([embedding, new])},
        "read_out": read_out,
    }


def read(params: Parameters, config: ModelConfig, tokens: Array, place: Array) -> Array:
    """Return ``[N]``, the read-out times the hidden state at one place of each sequence.

    Args:
      params: as ``init`` makes them.
      config: as ``reader_config`` makes it.
      tokens: ``[N, T]`` ids; -1 anywhere is padding.
      place: ``[N]``, which of the T, a token.

    Raises:
      InputError: if the sequences are longer than the context.
    """
    if tokens.shape[1] > config.context:
        raise InputError(
            f"a judge's sequences have {tokens.shape[1]} tokens, but its context is {config.context}; "
            "shorten prompts or responses"
        )
    states = decoder.hidden(params["trunk"], config, tokens)
    at = jnp.take_along_axis(states, place[:, None, None], axis=1)[:, 0]
    precise = accumulation_dtype(config.dtype)
    return at.astype(precise) @ params["read_out"].astype(precise)


@functools.partial(jax.jit, static_argnames="config")
def read_many(params: Parameters, config: ModelConfig, tokens: Array, place: Array) -> Array:
    """Return what ``read`` does, ``ROWS`` sequences at a time; for judging, not for training."""
    if tokens.shape[0] <= ROWS:
        return read(params, config, tokens, place)
    one = functools.partial(read, params, config)
    return jax.lax.map(lambda row: one(row[0][None], row[1][None])[0], (tokens, place), batch_size=ROWS)
