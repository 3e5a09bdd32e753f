"""The ``Game`` pytree: preferences, a reference policy and a KL coefficient, for X contexts at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import check_number
from nlhf.errors import InputError
from tabular.payoff import Advantage, brief, dense

Array = jax.Array
Leaf = Any  # an array; or an axis where a Game describes which of its leaves a vmap batches


class Game(NamedTuple):
    """A KL-regularised preference game; a pytree, so games and betas are ``vmap`` axes.

    Player one maximises ``π^T P π' - β KL(π ‖ ref) + β KL(π' ‖ ref)``, player two minimises it; the value
    is 1/2 and the symmetric equilibrium is unique for β > 0.

    Attributes:
      advantage: P - 1/2, skew: ``[X, A, A]`` or a structured equivalent (``tabular.payoff``).
      log_ref: ``[X, A]`` log-probabilities of the reference; ``-inf`` removes an action.
      context_prob: ``[X]`` probabilities of the contexts.
      beta: ``[]`` KL coefficient, >= 0; 0 is the unregularised game.
    """

    advantage: Advantage
    log_ref: Leaf
    context_prob: Leaf
    beta: Leaf

    def __repr__(self) -> str:
        return brief(self)

    @property
    def preference(self) -> Array:
        """``[X, A, A]`` matrix of P(a ≻ b)."""
        return dense(self.advantage) + 0.5

    @property
    def num_actions(self) -> int:
        """A."""
        return self.log_ref.shape[-1]


def make_game(preference: Any, log_ref: Any = None, beta: Any = 0.1, context_prob: Any = None) -> Game:
    """Build a game from preference matrices.

    Args:
      preference: ``[A, A]`` or ``[X, A, A]`` with P + P^T = 1; the upper triangle is kept, the lower one
        is set to one minus it, so that the advantage is skew to the last bit.
      log_ref: ``[A]`` or ``[X, A]`` log-probabilities; ``None`` is uniform.
      beta: KL coefficient, >= 0.
      context_prob: ``[X]``; ``None`` is uniform.

    Raises:
      InputError: on shapes that do not fit, entries outside [0, 1], P + P^T away from 1 by more than 1e-9
        (1e-5 in float32; names the worst entry), a reference that does not sum to one, beta < 0.

    >>> game = make_game([[0.5, 0.9], [0.1, 0.5]], beta=0.5)
    >>> game
    Game(advantage: float64[1, 2, 2], log_ref: float64[1, 2], context_prob: float64[1], beta: 0.5)
    """
    matrix = np.asarray(preference)
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    _check_matrix(matrix)
    upper = np.triu(matrix - 0.5, 1)
    num_contexts, num_actions = matrix.shape[:2]
    table = np.full((num_actions,), -np.log(num_actions)) if log_ref is None else np.asarray(log_ref)
    if table.shape[-1] != num_actions:
        raise InputError(
            f"the reference has {table.shape[-1]} entries, but the game has {num_actions} actions; "
            "give one log-probability an action"
        )
    if table.ndim > 2 or (table.ndim == 2 and table.shape[0] not in (1, num_contexts)):
        raise InputError(
            f"the reference has shape {table.shape}, but the game has {num_contexts} contexts; "
            "give one row, or one row a context"
        )
    table = np.broadcast_to(table, (num_contexts, num_actions))
    _check_distribution("reference", np.exp(table))
    weights = np.full((num_contexts,), 1 / num_contexts) if context_prob is None else np.asarray(context_prob)
    if weights.shape != (num_contexts,):
        raise InputError(
            f"context_prob has shape {weights.shape}, but the game has {num_contexts} contexts; "
            "give one probability a context"
        )
    _check_distribution("context_prob", weights[None])
    check_number("beta", beta)
    return Game(
        advantage=jnp.asarray(upper - upper.swapaxes(-1, -2)),
        log_ref=logspace.normalise(jnp.asarray(table)),
        context_prob=jnp.asarray(weights),
        beta=jnp.asarray(beta, dtype=jnp.result_type(float)),
    )


def with_beta(game: Game, beta: Any) -> Game:
    """Return the same game with another KL coefficient (an array of them is a batch of games)."""
    check_number("beta", beta)
    return game._replace(beta=jnp.asarray(beta, dtype=jnp.result_type(float)))


def _check_matrix(matrix: np.ndarray) -> None:
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2]:
        raise InputError(
            f"the preference has shape {matrix.shape}, but it must be [A, A] or [X, A, A]; reshape it"
        )
    if not np.isfinite(matrix).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
        raise InputError(
            f"preference{list(where)} is {matrix[where]}, but every entry must be finite; fill it in"
        )
    if (matrix < 0).any() or (matrix > 1).any():
        where = tuple(int(i) for i in np.argwhere((matrix < 0) | (matrix > 1))[0])
        raise InputError(
            f"preference{list(where)} is {matrix[where]:g}, outside [0, 1]; divide counts by totals"
        )
    error = np.abs(matrix + matrix.swapaxes(-1, -2) - 1)
    if error.max() > _rounding(matrix):
        x, a, b = (int(i) for i in np.unravel_index(error.argmax(), error.shape))
        raise InputError(
            f"preference[{x}, {a}, {b}] + preference[{x}, {b}, {a}] = "
            f"{matrix[x, a, b] + matrix[x, b, a]:.12g}, "
            "but it must be 1; give the share of comparisons that each side won, ties as half"
        )


def _rounding(array: np.ndarray) -> float:
    """How far from 1 a sum may be: float32 tables, with float64 off, round more."""
    return 1e-5 if array.dtype == np.float32 else 1e-9


def _check_distribution(name: str, probability: np.ndarray) -> None:
    if not np.isfinite(probability).all() or (probability < 0).any():
        raise InputError(f"{name} has an entry that is negative or not finite; give probabilities")
    total = probability.sum(-1, dtype=np.float64)
    if np.abs(total - 1).max() > _rounding(probability):
        worst = float(total[np.abs(total - 1).argmax()])
        raise InputError(f"{name} sums to {worst:.12g}, but it must sum to 1; divide it by its sum")
