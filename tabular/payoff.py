"""One verb, ``payoff``: the advantage of every action against a policy, whatever the game is stored as.

A game stores the *advantage* P - 1/2, which is skew: a constant added to a payoff changes no update, and
the centred matrix is better conditioned. A structured advantage answers the same verb without the matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def brief(record: Any) -> str:
    """One line for a record of arrays: numbers as they are, arrays by type and shape.

    >>> brief(BradleyTerry(jnp.zeros((1, 3), jnp.float32)))
    'BradleyTerry(scores: float32[1, 3])'
    """

    def shown(value: Any) -> str:
        if isinstance(value, jax.Array | np.ndarray) and (value.ndim or isinstance(value, jax.core.Tracer)):
            return f"{value.dtype}{list(value.shape)}"
        return f"{value:g}" if isinstance(value, jax.Array) else repr(value)

    fields = zip(record._fields, record, strict=True)
    return f"{type(record).__name__}({', '.join(f'{name}: {shown(value)}' for name, value in fields)})"


class LowRank(NamedTuple):
    """Advantage ``left right^T - right left^T`` of rank 2R ("disc" games for R = 1).

    Attributes:
      left: ``[X, A, R]``.
      right: ``[X, A, R]``; entries of the implied matrix must stay within [-1/2, 1/2].
    """

    left: Array
    right: Array


class BradleyTerry(NamedTuple):
    """Advantage ``sigmoid(score_a - score_b) - 1/2`` that is never stored as a matrix.

    Attributes:
      scores: ``[X, A]`` in nats.
    """

    scores: Array


Advantage = Any  # Array [X, A, A] | LowRank | BradleyTerry


def payoff(advantage: Advantage, log_policy: Array) -> Array:
    """Return ``(P - 1/2) π``, the advantage of each action over a draw from the policy.

    Args:
      advantage: ``[X, A, A]`` skew matrices (this is relied on), or a structured equivalent.
      log_policy: ``[X, A]`` log-probabilities.

    Returns:
      ``[X, A]`` in [-1/2, 1/2].
    """
    policy = jnp.exp(log_policy)
    if isinstance(advantage, LowRank):
        towards_right = jnp.einsum("xar,xa->xr", advantage.right, policy)
        towards_left = jnp.einsum("xar,xa->xr", advantage.left, policy)
        return jnp.einsum("xar,xr->xa", advantage.left, towards_right) - jnp.einsum(
            "xar,xr->xa", advantage.right, towards_left
        )
    if isinstance(advantage, BradleyTerry):
        return jax.lax.map(_bradley_terry_row, (advantage.scores, policy))
    # skew, so A π = -π A: with the policy on the left a batch of settings is one product in the layout of its
    # policies, which XLA multiplies at twice the rate of the other order and without transposing the result
    return -jnp.einsum("xb,xba->xa", policy, advantage)


def _bradley_terry_row(context: tuple[Array, Array]) -> Array:
    scores, policy = context
    # 1/2 tanh(s/2) = sigmoid(s) - 1/2 without cancellation; one row of the matrix at a time
    return jax.lax.map(lambda score: 0.5 * jnp.tanh(0.5 * (score - scores)) @ policy, scores)


def columns(advantage: Advantage, actions: Array) -> Array:
    """Return columns of the matrix: the advantage of every action over each of K given ones.

    Args:
      advantage: as in ``payoff``; a structured one is not made dense.
      actions: ``[X, K]`` action indices.

    Returns:
      ``[X, A, K]``.
    """
    if isinstance(advantage, LowRank):
        left, right = (jnp.take_along_axis(side, actions[:, :, None], axis=1) for side in advantage)
        return jnp.einsum("xar,xkr->xak", advantage.left, right) - jnp.einsum(
            "xar,xkr->xak", advantage.right, left
        )
    if isinstance(advantage, BradleyTerry):
        drawn = jnp.take_along_axis(advantage.scores, actions, axis=1)
        return 0.5 * jnp.tanh(0.5 * (advantage.scores[:, :, None] - drawn[:, None, :]))
    return jnp.take_along_axis(advantage, actions[:, None, :], axis=2)


def entries(advantage: Advantage, context: Array, first: Array, second: Array) -> Array:
    """Return ``[N]`` entries of the matrices: the advantage of ``first`` over ``second`` in ``context``.

    Args:
      advantage: as in ``payoff``; a structured one is not made dense.
      context: ``[N]`` context indices.
      first: ``[N]`` action indices.
      second: ``[N]`` action indices.
    """
    if isinstance(advantage, LowRank):
        left, right = advantage
        forward = (left[context, first] * right[context, second]).sum(-1)
        return forward - (right[context, first] * left[context, second]).sum(-1)
    if isinstance(advantage, BradleyTerry):
        return 0.5 * jnp.tanh(0.5 * (advantage.scores[context, first] - advantage.scores[context, second]))
    return advantage[context, first, second]


def dense(advantage: Advantage) -> Array:
    """Return the ``[X, A, A]`` matrix of any advantage."""
    if isinstance(advantage, LowRank):
        half = jnp.einsum("xar,xbr->xab", advantage.left, advantage.right)
        return half - jnp.swapaxes(half, -1, -2)
    if isinstance(advantage, BradleyTerry):
        return 0.5 * jnp.tanh(0.5 * (advantage.scores[:, :, None] - advantage.scores[:, None, :]))
    return advantage
