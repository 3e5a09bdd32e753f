"""Measured against promised: the ratio at every step, with an honest allowance for rounding.

A log-probability of size L is stored to ``eps L``, and a method remembers about 1/(gβ) of its steps, so that
policies are known to some δ nats. Near equilibrium KL divergence and regularised exploitability are squares
(δ shifts their root), span and payoff are linear (δ shifts themselves). The allowance is subtracted from the
measurement; nothing else is forgiven.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import Claim
from proofs_checks.rows import ROUNDING
from tabular.games import Game
from tabular.payoff import payoff

Array = Any

SQUARES = ("kl_to_nash", "kl_from_nash", "kl_to_reference")
WEIGHTED_SQUARES = {"exploitability": 1.0, "duality_gap": 2.0}  # squares times this multiple of β
ULPS = 16  # roundings of one step, of its metric and of the reference solution


def log_rounding(game: Game, start: Array, step: Array, step_size: Any) -> Array:
    """How far off a stored log-policy may be after ``step`` steps, in nats.

    ``16 eps max(1, |log_ref|, |log π_0|, 1/(2β)) (1 + min(t, 1/(ηβ)))``: one step's rounding, once for each
    step that is still remembered.

    Args:
      game: one game (not a batch).
      start: ``[X, A]`` first log-policy.
      step: ``[R]`` steps made.
      step_size: the method's step size; NaN (a schedule) remembers all steps.
    """
    largest = jnp.maximum(_largest(game.log_ref), _largest(start))
    scale = jnp.maximum(jnp.maximum(1.0, largest), jnp.where(game.beta > 0, 0.5 / game.beta, 0.0))
    pull = jnp.asarray(step_size) * game.beta
    memory = jnp.where(pull > 0, 1 / pull, jnp.inf)
    remembered = jnp.minimum(jnp.asarray(step, scale.dtype), memory)
    return ULPS * jnp.finfo(scale.dtype).eps * scale * (1 + remembered)


def _largest(log_policy: Array) -> Array:
    return jnp.abs(jnp.where(jnp.isneginf(log_policy), 0.0, log_policy)).max()


def ratio(claim: Claim, measured: Array, bound: Array, delta: Array, beta: Array) -> Array:
    """Return measured/bound after the allowance; NaN in either, or a negative bound, counts as infinite.

    Args:
      claim: for its metric.
      measured: ``[R]`` metric at each step.
      bound: ``[R]`` promised ceiling, ``inf`` where nothing is promised yet.
      delta: ``[R]`` nats, from ``log_rounding``.
      beta: ``[]`` KL coefficient.
    """
    if claim.metric in SQUARES:
        left = jnp.maximum(jnp.sqrt(jnp.maximum(measured, 0)) - delta, 0) ** 2
    elif claim.metric in WEIGHTED_SQUARES:
        root = jnp.sqrt(WEIGHTED_SQUARES[claim.metric] * beta) * delta
        left = jnp.where(
            beta > 0,
            jnp.maximum(jnp.sqrt(jnp.maximum(measured, 0)) - root, 0) ** 2,
            jnp.maximum(measured - delta, 0),
        )
    else:
        left = jnp.maximum(measured - delta, 0)
    value = jnp.where((left > 0) & (bound < jnp.inf), left / bound, 0.0)
    return jnp.where(jnp.isnan(measured) | jnp.isnan(bound) | (bound < 0), jnp.inf, value)


def planted_reference(game: Game, log_nash: Array) -> Array:
    """The reference that makes a chosen policy the regularised Nash policy: ``log π* - (P - 1/2) π* / β``.

    Args:
      game: one game; its reference is not read.
      log_nash: ``[X, A]`` normalised log-probabilities.
    """
    return logspace.normalise(log_nash - payoff(game.advantage, log_nash) / game.beta)


def moved(values: Array) -> Array:
    """Return where a metric ``[..., R]`` is no longer the start's: before that a bound says nothing.

    At step 0 most bounds are the measured number itself, and an optimistic first step only extrapolates: it
    normalises the start once more, which may turn its last bits.
    """
    first = values[..., :1]
    return ~(abs(values - first) <= ROUNDING * abs(first))  # so that NaN counts as moved


def worst(ratios: Any, first: int = 1) -> tuple[int, int, float]:
    """Return instance, step index and value of the largest of ``[N, R]`` ratios from record ``first`` on.

    At step 0 most bounds are the measured number itself.
    """
    table = np.asarray(ratios)[:, first:]
    where = np.unravel_index(np.argmax(table), table.shape)
    return int(where[0]), int(where[1]) + first, float(table[where])
