"""The exact oracle of a language that can be written out: every string of it, and a table of preferences.

It ties the two halves of the project: the policy of a sequence model over such a language is a table too, so
its distance to the exact Nash policy is a number, and its gradients can be compared with exact ones.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Comparisons, Feedback, Oracle, Policy, PolicySpace
from nlhf.errors import InputError
from nlhf.transformer.responses import Responses

Array = jax.Array


def all_responses(tokens: Any, begin: int) -> Responses:
    """Every string of a language as responses to one prompt, which is the single token ``begin``.

    Args:
      tokens: ``[A, T]`` the strings.
      begin: id of the token that a string follows. Take one that no string holds: rotary positions are
        relative, so after 0 and after 00 a model predicts the same, and most tables are out of its reach.

    Returns:
      ``Responses`` with leading axes ``[1, A]``; no policy drew them.
    """
    tokens = jnp.asarray(tokens, jnp.int32)
    prompt = jnp.full((1, len(tokens), 1), begin, jnp.int32)
    return Responses(prompt, tokens[None], jnp.zeros((1, len(tokens))))


def table(space: PolicySpace, policy: Policy, responses: Responses) -> Array:
    """Log-probabilities ``[1, A]`` of a policy over all strings, normalised.

    Args:
      policy: trained, the reference or a mixture.
      responses: as ``all_responses`` makes them.
    """
    return logspace.normalise(space.log_prob(policy, responses))


def language_oracle(space: PolicySpace, responses: Responses, preference: Any) -> Oracle:
    """Exact payoffs ``P π - 1/2`` of all strings, and duels between strings drawn from the exact tables.

    Args:
      responses: all strings, ``[1, A]``.
      preference: ``[A, A]``, ``P[i, j]`` how often string i is preferred to string j.

    Raises:
      InputError: if the table is not one row and one column a string.
    """
    size = responses.tokens.shape[1]
    if np.shape(preference) != (size, size):
        raise InputError(
            f"the table is {list(np.shape(preference))}, but there are {size} strings; give [{size}, {size}]"
        )
    matrix = jnp.asarray(preference)
    return Oracle(Partial(_payoff, space, responses, matrix), Partial(_duel, space, responses, matrix))


def _payoff(space: PolicySpace, responses: Responses, matrix: Array, key: Array, policy: Policy) -> Feedback:
    del key
    probability = jnp.exp(table(space, policy, responses))[0]
    return Feedback(responses, (matrix @ probability.astype(matrix.dtype))[None] - 0.5)


def _duel(
    space: PolicySpace, responses: Responses, matrix: Array, key: Array, policy: Policy, opponent: Policy
) -> Comparisons:
    first_key, second_key, label_key = jax.random.split(key, 3)
    first, second = (
        jax.random.categorical(draw_key, table(space, drawer, responses)[0])[None]
        for draw_key, drawer in ((first_key, policy), (second_key, opponent))
    )
    prefer_first = jax.random.bernoulli(label_key, matrix[first, second]).astype(matrix.dtype)
    chosen = [jax.tree.map(lambda leaf, index=index: leaf[0, index], responses) for index in (first, second)]
    return Comparisons(jnp.zeros_like(first), chosen[0], chosen[1], prefer_first, jnp.ones_like(prefer_first))
