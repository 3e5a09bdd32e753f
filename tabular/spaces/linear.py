"""Policies of linear rewards: ``π_ref exp(φ·θ/β)`` with θ in a box, the class of linear bandits."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Array, Calibration, Comparisons, PolicySpace, Static, check_number, check_whole
from nlhf.errors import InputError
from tabular.games import Game
from tabular.spaces.bounded import minimise_in_box
from tabular.spaces.simplex import log_ratio_loss, simplex


def linear_rewards_space(
    features: Array, bound: float = 1.0, max_steps: int = 60, tolerance: float = 1e-9
) -> Callable[[Game], PolicySpace]:
    """Space of the policies ``π_θ ∝ π_ref exp(φ(x, a)·θ/β)``, θ in [0, bound]^D; ``fit`` is to tolerance.

    The fit is the projected Newton method of ``tabular.spaces.bounded`` on θ, from the θ of the present
    policy. Policies are ``[X, A]`` tables; ``project`` and ``mix`` may leave the class, and the next
    fit starts from the nearest θ (least squares on the implicit reward).

    Args:
      features: φ, ``[X, A, D]``, finite.
      bound: > 0.
      max_steps: Newton steps of one fit, >= 1.
      tolerance: a fit stops when the projected gradient is below it.

    Returns:
      A factory ``make_space(game) -> PolicySpace``. Keep the object: a run recompiles for another one.

    Raises:
      InputError: if features have another shape or are not finite, or a number is out of range.
    """
    table = np.asarray(features, float)
    if table.ndim != 3 or table.size == 0:
        raise InputError(f"features has shape {table.shape}, but it must be [X, A, D], none of them 0")
    if not np.isfinite(table).all():
        raise InputError("a feature is not finite; give finite features")
    check_number("bound", bound, open_low=True)
    check_number("tolerance", tolerance, open_low=True)
    settings = Static((float(bound), check_whole("max_steps", max_steps), float(tolerance)))
    # a reward is known up to a constant in each context, so least squares is on differences from its mean
    inverse = np.linalg.pinv((table - table.mean(1, keepdims=True)).reshape(-1, table.shape[-1]))

    def make_space(game: Game) -> PolicySpace:
        fit = Partial(_fit, settings, game, jnp.asarray(table), jnp.asarray(inverse))
        return simplex(game)._replace(fit=fit)

    return make_space


def _fit(
    settings: Static,
    game: Game,
    features: Array,
    inverse: Array,
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    del key
    bound, max_steps, tolerance = settings

    def policy_of(weights: Array) -> Array:
        return logspace.normalise(game.log_ref + features @ weights / game.beta)

    def objective(weights: Array) -> Array:
        return log_ratio_loss(policy_of(weights), game, loss, comparisons, calibration)

    present = ~jnp.isneginf(game.log_ref)
    implicit = game.beta * (jnp.where(present, policy, 0.0) - jnp.where(present, game.log_ref, 0.0))
    centred = (implicit - implicit.mean(-1, keepdims=True)).reshape(-1)
    start = jnp.clip(inverse @ centred, 0, bound)
    return policy_of(minimise_in_box(objective, start, bound, max_steps, tolerance))
