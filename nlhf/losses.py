"""Losses of one comparison, in the log-ratios of its two responses; batching is the caller's.

``log_ratio = log π(y) - log π_ref(y)``. Each takes the log-ratio of the first response, of the second, and
the label ``prefer_first`` in [0, 1] (1: the first was preferred; between: a judge's probability).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def logistic(log_ratio_first: Array, log_ratio_second: Array, prefer_first: Array, *, beta: float) -> Array:
    """DPO loss: ``-p log σ(β h) - (1 - p) log σ(-β h)`` with ``h = log_ratio_first - log_ratio_second``.

    Args:
      log_ratio_first: ``[...]`` in nats.
      log_ratio_second: ``[...]`` in nats.
      prefer_first: ``[...]`` in [0, 1].
      beta: KL coefficient, > 0.

    Reference: arXiv:2305.18290 (direct preference optimisation).
    """
    margin = beta * (log_ratio_first - log_ratio_second)
    return -prefer_first * jax.nn.log_sigmoid(margin) - (1 - prefer_first) * jax.nn.log_sigmoid(-margin)


def squared(log_ratio_first: Array, log_ratio_second: Array, prefer_first: Array, *, beta: float) -> Array:
    """IPO loss with soft labels: ``p (h - 1/(2β))² + (1 - p) (h + 1/(2β))²``.

    Its minimiser over h is ``(2p - 1) / (2β)``: for pairs (y, y') drawn from the same policy the population
    minimiser has ``log_ratio(y) = P(y ≻ policy)/β + constant``.

    Args:
      log_ratio_first: ``[...]`` in nats.
      log_ratio_second: ``[...]`` in nats.
      prefer_first: ``[...]`` in [0, 1].
      beta: KL coefficient (τ in the paper), > 0.

    Reference: arXiv:2310.12036 (identity preference optimisation); online form arXiv:2403.08635, section 4.
    """
    margin = log_ratio_first - log_ratio_second
    target = 1 / (2 * beta)
    return prefer_first * (margin - target) ** 2 + (1 - prefer_first) * (margin + target) ** 2


def contrast(log_prob: Array, target: Array, weight: Array | None = None) -> Array:
    """Mean squared difference of contrasts of a log-policy and a target, over all pairs of K responses.

    ``mean_{k,l} [(d_k - d_l)²] = 2 Var(d)`` with ``d = log_prob - target``: the normaliser of both cancels,
    so an unnormalised target serves. Weighted by draws: ``Σ w_k w_l (d_k - d_l)²``.

    Args:
      log_prob: ``[..., K]`` log-probabilities of K responses to one prompt.
      target: ``[..., K]`` unnormalised target log-probabilities; no gradient flows into it.
      weight: ``[..., K]`` non-negative, summing to one over K; ``None`` is uniform.

    Returns:
      ``[...]``.
    """
    difference = log_prob - jax.lax.stop_gradient(target)
    if weight is None:
        return 2 * jnp.var(difference, axis=-1)
    mean = jnp.sum(weight * difference, axis=-1, keepdims=True)
    return 2 * jnp.sum(weight * (difference - mean) ** 2, axis=-1)
