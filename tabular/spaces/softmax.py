"""Tables moved by gradients: k optimiser steps on the logits, where the simplex has exact steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from nlhf import logspace, losses
from nlhf.base import (
    Calibration,
    Comparisons,
    Feedback,
    PolicySpace,
    Static,
    Target,
    check_number,
    check_whole,
)
from tabular.games import Game
from tabular.spaces.network import descend
from tabular.spaces.simplex import log_ratio_loss, simplex

Array = jax.Array


@functools.cache
def softmax_space(
    num_updates: int = 1, learning_rate: float = 0.1, optimiser: Callable[[float], Any] = optax.sgd
) -> Callable[[Any], PolicySpace]:
    """Space of softmax tables, ``[X, A]`` log-probabilities, moved by k optimiser steps on their logits.

    ``project`` descends on the squared contrasts of log-policy and target, weighted by the policy at its
    start: one step of plain gradient descent is the policy gradient (REINFORCE, in the mean, with the value
    as baseline). ``fit`` descends on the mean loss.

    Args:
      num_updates: k >= 1.
      learning_rate: > 0.
      optimiser: ``optimiser(learning_rate)`` is an optax transformation; it starts anew at every call.

    Returns:
      A factory ``make_space(game) -> PolicySpace``; the same arguments give the same object.

    Raises:
      InputError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, open_low=True)
    settings = Static((check_whole("num_updates", num_updates), float(learning_rate), optimiser))

    def make_space(game: Game) -> PolicySpace:
        return simplex(game)._replace(
            project=Partial(_project, settings, game.log_ref), fit=Partial(_fit, settings, game)
        )

    return make_space


def _table(log_ref: Array, logits: Array) -> Array:
    return logspace.normalise(jnp.where(jnp.isneginf(log_ref), -jnp.inf, logits))


def _project(settings: Static, log_ref: Array, policy: Array, target: Target, feedback: Feedback) -> Array:
    excluded = jnp.isneginf(log_ref)

    # excluded actions are moved as zeros, with weight zero
    def present(log_policy: Array) -> Array:
        return jnp.where(excluded, 0.0, log_policy)

    wanted = present(target(present(policy), present(log_ref), feedback.preference))
    weight = jax.lax.stop_gradient(jnp.exp(policy))

    def objective(logits: Array) -> Array:
        # half of Σ w_k w_l (d_k - d_l)²/2 has the gradient of -E[target - log policy] at the start
        return 0.25 * losses.contrast(present(_table(log_ref, logits)), wanted, weight).sum()

    return _table(log_ref, descend(settings, present(policy), objective))


def _fit(
    settings: Static,
    game: Game,
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    del key

    def objective(logits: Array) -> Array:
        return log_ratio_loss(_table(game.log_ref, logits), game, loss, comparisons, calibration)

    start = jnp.where(jnp.isneginf(game.log_ref), 0.0, policy)
    return _table(game.log_ref, descend(settings, start, objective))
