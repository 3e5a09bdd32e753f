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
from nlhf.transformer.responses import Responses, readable

Array = jax.Array


def table(preference: Any, vocabulary: int) -> Judge:
    """Judge strings of T tokens by ``P[i, j]``, i and j their places in lexicographic order.

    ``i = Σ_t token_t V^(T-1-t)``. A response that is no such string (padding, or a token beyond V) is
    refused: by ``check`` before a model draws it, by ``describe`` where it can be read. In a compiled step
    without an oracle that has asked ``check``, its preference is NaN, not another string's.

    Args:
      preference: ``[V^T, V^T]`` probabilities, ``P + P^T = 1``; its dtype is that of the answers.
      vocabulary: V >= 2.

    Raises:
      InputError: if the matrix is not one of preferences, or its size no power of V; from ``check`` and
        ``describe``, if responses are no strings of the table.
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
    return Judge(Partial(_index, settings), Partial(_look_up, jnp.asarray(matrix)), Partial(_check, settings))


def _check(settings: Static, vocabulary: int, length: int, end: int | None) -> None:
    known, of_table = settings
    if vocabulary > known:
        raise InputError(
            f"the model draws from {vocabulary} tokens, but the judge's table has strings of {known}; "
            f"give a table of all {vocabulary}^{of_table} strings, or a model with vocabulary={known}"
        )
    if length != of_table or end is not None:
        ended = "" if end is None else f" that may end before at token {end}"
        raise InputError(
            f"the responses have {length} tokens{ended}, but the judge's strings {of_table}; "
            f"sample with length={of_table} and no end token"
        )


def _index(settings: Static, responses: Responses) -> Array:
    vocabulary, length = settings
    tokens = responses.tokens
    _check(settings, vocabulary, tokens.shape[-1], None)
    known = (tokens >= 0) & (tokens < vocabulary)
    if readable(tokens) and not np.all(known):
        row = int(np.argwhere(~np.asarray(known))[0, 0])
        raise InputError(
            f"response {row} is {np.asarray(tokens)[row].tolist()}, but the judge's table has strings of the "
            f"tokens 0 to {vocabulary - 1}; give a table of all strings that the model can write"
        )
    powers = vocabulary ** np.arange(length - 1, -1, -1)
    index = tokens @ powers.astype(tokens.dtype)
    return jnp.where(jnp.all(known, axis=-1), index, vocabulary**length)


def _look_up(matrix: Array, first: Array, second: Array) -> Array:
    return matrix.at[first, second].get(mode="fill", fill_value=jnp.nan)
