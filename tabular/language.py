"""The enumerable language: every string over a small vocabulary, as a game and as token sequences.

It ties the two halves of the project: a sequence model's policy over it is also a table, so its distance to
the exact Nash policy is a number.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.errors import InputError
from tabular.families import from_upper
from tabular.games import Game, make_game

Array = jax.Array
LARGEST = 4096


class Language(NamedTuple):
    """A game over all strings of one length.

    Attributes:
      tokens: ``[A, T]`` the strings, in lexicographic order.
      log_token_ref: ``[V, V]`` reference bigram model, row = previous token; row 0 starts a string.
      game: the preference game over the strings.
    """

    tokens: Array
    log_token_ref: Array
    game: Game


def strings(vocabulary: int, length: int) -> np.ndarray:
    """All ``vocabulary ** length`` strings, ``[A, T]``, in lexicographic order.

    Raises:
      InputError: if there are more than 4096, or fewer than 2.

    >>> strings(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    count = vocabulary**length
    if not 2 <= count <= LARGEST:
        raise InputError(
            f"{vocabulary} tokens in strings of {length} make {count} strings, but 2 to {LARGEST} can be "
            "enumerated; give a smaller vocabulary or length"
        )
    return np.stack(np.unravel_index(np.arange(count), (vocabulary,) * length), -1)


def population_language(
    key: Array,
    vocabulary: int = 3,
    length: int = 4,
    num_judges: int = 3,
    beta: float = 0.1,
    sharpness: float = 2.0,
) -> Language:
    """Strings judged by a population, each judge by a reward of its own: the majority is intransitive.

    ``P(y ≻ y') = mean over judges j of sigmoid(sharpness (r_j(y) - r_j(y')))`` with r_j a random sum of
    position and bigram scores, standardised; the reference is a random bigram model.

    Args:
      vocabulary: V >= 2 tokens.
      length: T >= 1 tokens a string; V^T <= 4096.
      num_judges: size of the population.
      sharpness: how decided each judge is.
    """
    unigram_key, bigram_key, reference_key = jax.random.split(key, 3)
    tokens = jnp.asarray(strings(vocabulary, length))
    unigram = jax.random.normal(unigram_key, (num_judges, length, vocabulary))
    bigram = jax.random.normal(bigram_key, (num_judges, vocabulary, vocabulary))
    reward = unigram[:, jnp.arange(length), tokens].sum(-1) + bigram[:, tokens[:, :-1], tokens[:, 1:]].sum(-1)
    reward = (reward - reward.mean(-1, keepdims=True)) / reward.std(-1, keepdims=True)
    margin = sharpness * (reward[:, :, None] - reward[:, None, :])
    log_token_ref = logspace.normalise(jax.random.normal(reference_key, (vocabulary, vocabulary)))
    previous = jnp.concatenate([jnp.zeros_like(tokens[:, :1]), tokens[:, :-1]], axis=1)
    log_ref = log_token_ref[previous, tokens].sum(-1)
    game = make_game(from_upper(jax.nn.sigmoid(margin).mean(0)), log_ref, beta)
    return Language(tokens, log_token_ref, game)
