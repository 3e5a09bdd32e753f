"""A finite class of policies, as theorems have it: a fit is an exact argmin, with a rule for ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Calibration, Comparisons, PolicySpace
from nlhf.errors import InputError
from tabular.games import Game
from tabular.spaces.simplex import log_ratio_loss, simplex

Array = jax.Array
TIE = 1e-12  # objectives closer than this, relative to their size, are tied


def class_policies(game: Game, rewards: Array) -> Array:
    """Log-probabilities ``[M, X, A]`` of the policies ``π_ref exp(r/β)`` of a class of rewards.

    Args:
      game: a bandit or game; its reference and β are used.
      rewards: ``[M, X, A]``.
    """
    return logspace.normalise(game.log_ref[None] + rewards / game.beta)


def finite_class(rewards: Any) -> Callable[[Any], PolicySpace]:
    """Space of the M policies ``π_m ∝ π_ref exp(r_m/β)``; ``fit`` returns the best, the first of those tied.

    ``project`` and ``mix`` leave the class, as in the simplex. Order the class so that ties go where the
    theorem sends them (to the reference: give reward 0 first).

    Args:
      rewards: ``[M, X, A]``, finite, M >= 1.

    Returns:
      A factory ``make_space(game) -> PolicySpace`` with policies as ``[X, A]`` tables. Keep the object: a run
      recompiles for another one.

    Raises:
      InputError: if the class has another shape or an entry that is not finite.
    """
    table = np.asarray(rewards, float)
    if table.ndim != 3 or table.size == 0:
        raise InputError(f"rewards has shape {table.shape}, but a class must be [M, X, A] with M >= 1")
    if not np.isfinite(table).all():
        raise InputError("a reward of the class is not finite; give finite rewards")

    def make_space(game: Game) -> PolicySpace:
        if table.shape[1:] != game.log_ref.shape:
            raise InputError(
                f"the class is over {table.shape[1:]} contexts and actions, but the game has "
                f"{game.log_ref.shape}; give rewards [M, X, A]"
            )
        candidates = class_policies(game, jnp.asarray(table))
        return simplex(game)._replace(fit=Partial(_fit, game, candidates))

    return make_space


def _fit(
    game: Game,
    candidates: Array,
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    del key, policy
    visible = jnp.where(jnp.isneginf(game.log_ref), 0.0, game.log_ref)
    weight = comparisons.weight.astype(candidates.dtype)

    # a table of losses that does not depend on the weights: with a replay that keeps counts the rows never
    # change, and the compiler takes the table out of the scan
    def losses(log_policy: Array) -> Array:
        ratio = log_policy - visible
        first = ratio[comparisons.context, comparisons.first]
        return loss(first, ratio[comparisons.context, comparisons.second], comparisons.prefer_first)

    rows = jax.vmap(losses)(candidates)
    objective = jnp.where(weight[None] > 0, weight[None] * rows, 0.0).sum(-1)
    if calibration is not None:
        nothing = jax.tree.map(lambda column: column[:0], comparisons)
        term = jax.vmap(lambda each: log_ratio_loss(each, game, loss, nothing, calibration))
        objective = objective + term(candidates)
    objective = objective / jnp.maximum(weight.sum(), 1)
    best = objective.min()
    tied = objective <= best + TIE * (1 + jnp.abs(best))
    return candidates[jnp.argmax(tied)]
