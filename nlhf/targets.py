"""Targets of a projection: elementwise, so that they serve a table ``[X, A]`` and samples ``[B, K]`` alike.

Both forms are one mirror step on the KL-regularised game; they differ in where the KL term is evaluated.
``explicit(η)`` equals ``implicit(g)`` up to a constant a row when ``η = g / (1 + g β)``.
"""

from __future__ import annotations

from typing import Any

import jax

Array = jax.Array


def explicit(log_prob: Array, log_ref: Array, preference: Array, *, step_size: Any, beta: Any) -> Array:
    """Explicit target ``(1 - η β) log π + η β log π_ref + η P``.

    Args:
      log_prob: ``[...]`` log-probabilities of the anchor.
      log_ref: ``[...]`` log-probabilities of the reference at the same responses.
      preference: ``[...]`` payoff of the responses.
      step_size: η >= 0, with η β <= 1.
      beta: KL coefficient, >= 0.
    """
    pull = step_size * beta
    return (1 - pull) * log_prob + pull * log_ref + step_size * preference


def implicit(log_prob: Array, log_ref: Array, preference: Array, *, step_size: Any, beta: Any) -> Array:
    """Composite target ``(log π + g β log π_ref + g P) / (1 + g β)``, the exact proximal step.

    Args:
      log_prob: ``[...]`` log-probabilities of the anchor (the prox centre).
      log_ref: ``[...]`` log-probabilities of the reference at the same responses.
      preference: ``[...]`` payoff of the responses.
      step_size: g >= 0.
      beta: KL coefficient, >= 0.
    """
    pull = step_size * beta
    return (log_prob + pull * log_ref + step_size * preference) / (1 + pull)
