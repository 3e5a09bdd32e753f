"""Tables moved by gradients: k optimiser steps on the logits, where the simplex has exact steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from nlhf import losses
from nlhf.base import Feedback, PolicySpace, Static, Target, check_number, check_whole
from tabular.games import Game
from tabular.spaces.network import descend
from tabular.spaces.simplex import fit_logits, log_ratio_loss, present, simplex, table

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
      optimiser: ``optimiser(learning_rate)`` is an optax transformation; every call starts it again.

    Returns:
      A factory ``make_space(game) -> PolicySpace``; the same arguments give the same object.

    Raises:
      InputError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, open_low=True)
    settings = Static((check_whole("num_updates", num_updates), float(learning_rate), optimiser))

    def make_space(game: Game) -> PolicySpace:
        fit = Partial(
            fit_logits, game.log_ref, Partial(descend, settings), Partial(log_ratio_loss, game=game)
        )
        return simplex(game)._replace(project=Partial(_project, settings, game.log_ref), fit=fit)

    return make_space


def _project(settings: Static, log_ref: Array, policy: Array, target: Target, feedback: Feedback) -> Array:
    # excluded actions are moved as zeros, with weight zero
    wanted = target(present(log_ref, policy), present(log_ref, log_ref), feedback.preference)
    weight = jax.lax.stop_gradient(jnp.exp(policy))

    def objective(logits: Array) -> Array:
        # half of Σ w_k w_l (d_k - d_l)²/2 has the gradient of -E[target - log policy] at the start
        moved = present(log_ref, table(log_ref, logits))
        return 0.25 * losses.contrast(moved, present(log_ref, wanted), weight).sum()

    return table(log_ref, descend(settings, objective, present(log_ref, policy)))
