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


def hinge(log_ratio_first: Array, log_ratio_second: Array, prefer_first: Array, *, beta: float) -> Array:
    """SLiC loss: ``p max(0, 1 - β h) + (1 - p) max(0, 1 + β h)``, h the difference of the log-ratios.

    The margin is 1 in units of the implicit reward β h; the likelihoods are taken relative to the reference.

    Args:
      log_ratio_first: ``[...]`` in nats.
      log_ratio_second: ``[...]`` in nats.
      prefer_first: ``[...]`` in [0, 1].
      beta: KL coefficient, > 0.

    Reference: arXiv:2305.10425 (SLiC-HF).
    """
    margin = beta * (log_ratio_first - log_ratio_second)
    return prefer_first * jax.nn.relu(1 - margin) + (1 - prefer_first) * jax.nn.relu(1 + margin)


def exploratory(
    log_ratio_first: Array, log_ratio_second: Array, prefer_first: Array, *, beta: float, optimism: float
) -> Array:
    """XPO loss: ``optimism log_ratio_second + logistic(log_ratio_first, log_ratio_second, prefer_first)``.

    The sign is plus, and the term is on the second response alone, the one drawn from the reference: the
    fit moves mass *away* from what the reference already covers. Minimising with a minus explores nothing.

    Args:
      log_ratio_first: ``[...]`` in nats, of the policy's own response.
      log_ratio_second: ``[...]`` in nats, of the response of the sampling policy.
      prefer_first: ``[...]`` in [0, 1].
      beta: KL coefficient, > 0.
      optimism: α of the paper, a constant per comparison, >= 0.

    Reference: arXiv:2405.21046, Algorithm 1 (there with log π in place of the log-ratio, which differs by a
      constant).
    """
    return optimism * log_ratio_second + logistic(log_ratio_first, log_ratio_second, prefer_first, beta=beta)


def contrastive(
    log_prob_first: Array, log_prob_second: Array, prefer_first: Array, *, temperature: float, bias: float
) -> Array:
    """CPL loss: ``-p log σ(α (s - λ s')) - (1 - p) log σ(α (s' - λ s))``.

    Args:
      log_prob_first: ``[...]`` s = Σ_t γ^t log π(a_t|s_t) of the first segment, in nats.
      log_prob_second: ``[...]`` s' of the second segment.
      prefer_first: ``[...]`` in [0, 1].
      temperature: α > 0.
      bias: λ in (0, 1], on the *loser*; 1 is plain CPL, less than 1 favours actions in the data.

    Reference: arXiv:2310.13639 (contrastive preference learning).
    """
    first_wins = temperature * (log_prob_first - bias * log_prob_second)
    second_wins = temperature * (log_prob_second - bias * log_prob_first)
    return -prefer_first * jax.nn.log_sigmoid(first_wins) - (1 - prefer_first) * jax.nn.log_sigmoid(
        second_wins
    )


def cloning(log_prob_first: Array, log_prob_second: Array, prefer_first: Array, *, preferred: float) -> Array:
    """Behaviour cloning: ``-(1 - c) (s + s') / 2 - c (p s + (1 - p) s')``, the negative log-likelihood.

    Args:
      log_prob_first: ``[...]`` s, log-probability of the first response or segment, in nats.
      log_prob_second: ``[...]`` s' of the second.
      prefer_first: ``[...]`` p in [0, 1].
      preferred: c in [0, 1]: 0 clones both, 1 the preferred one alone.
    """
    both = 0.5 * (log_prob_first + log_prob_second)
    better = prefer_first * log_prob_first + (1 - prefer_first) * log_prob_second
    return -(1 - preferred) * both - preferred * better


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
