"""The judge of the enumerable language: every string has a row of a preference matrix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Static, check_whole
from nlhf.errors import InputError
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.responses import Responses

Array = jax.Array


def table(preference: Any, vocabulary: int) -> Judge:
    """Judge strings of T tokens by ``P[i, j]``, i and j their places in lexicographic order.

    ``i = Σ_t token_t V^(T-1-t)``. A response that is no such string (padding, or a token beyond V) has the
    preference NaN, not another string's.

    Args:
      preference: ``[V^T, V^T]`` probabilities, ``P + P^T = 1``; its dtype is that of the answers.
      vocabulary: V >= 2.

    Raises:
      InputError: if the matrix is not one of preferences, or its size no power of V; from ``describe``, if
        the responses have another length.
    """
    vocabulary = check_whole("vocabulary", vocabulary, low=2)
    matrix = np.asarray(preference)
    size = len(matrix) if matrix.ndim else 0
    if matrix.dtype.kind != "f" or matrix.shape != (size, size):
        raise InputError(
            f"the judge's table is {matrix.dtype}{list(matrix.shape)}, but preferences are a square matrix "
            "of floats; give P[i, j] for every two strings"
        )
    length = round(np.log(max(size, 1)) / np.log(vocabulary))
    if length < 1 or vocabulary**length != size:
        raise InputError(
            f"the judge's table has {size} rows, but strings over {vocabulary} tokens are a power of "
            f"{vocabulary}; give the vocabulary of the table"
        )
    tolerance = 1e-9 if matrix.dtype == np.float64 else 1e-6
    wrong = ~((matrix >= 0) & (matrix <= 1) & (np.abs(matrix + matrix.T - 1) <= tolerance))
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise InputError(
            f"the judge's table has P[{i}, {j}] = {matrix[i, j]:g} and P[{j}, {i}] = {matrix[j, i]:g}, but "
            "they are probabilities that add up to 1; divide votes by their number"
        )
    settings = Static((vocabulary, length))
    return Judge(Partial(_index, settings), Partial(_look_up, jnp.asarray(matrix)))


def _index(settings: Static, responses: Responses) -> Array:
    vocabulary, length = settings
    tokens = responses.tokens
    if tokens.shape[-1] != length:
        raise InputError(
            f"the responses have {tokens.shape[-1]} tokens, but the judge's strings {length}; "
            f"sample with length={length} and no end token"
        )
    powers = vocabulary ** np.arange(length - 1, -1, -1)
    index = tokens @ powers.astype(tokens.dtype)
    known = jnp.all((tokens >= 0) & (tokens < vocabulary), axis=-1)
    return jnp.where(known, index, vocabulary**length)


def _look_up(matrix: Array, first: Array, second: Array) -> Array:
    return matrix.at[first, second].get(mode="fill", fill_value=jnp.nan)
