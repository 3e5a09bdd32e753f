"""How well a distribution covers policies: concentrability, and coverability of a class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def concentrability(log_policy: Array, log_cover: Array) -> Array:
    """``max_{x, a} π(a|x) / μ(a|x)``, the coverage coefficient of π under μ; ``inf`` where μ misses π.

    Args:
      log_policy: ``[X, A]`` log-probabilities of π.
      log_cover: ``[X, A]`` log-probabilities of μ.
    """
    absent = jnp.isneginf(log_policy)
    ratio = jnp.where(absent, 0.0, log_policy) - jnp.where(absent, 0.0, log_cover)
    return jnp.exp(jnp.where(absent, -jnp.inf, ratio).max())


def coverability(log_policies: Array, context_prob: Array) -> Array:
    """``inf_μ sup_{π, x, a} ρ(x) π(a|x)/μ(x, a) = E_{x~ρ} Σ_a max_π π(a|x)``, by the best cover.

    Args:
      log_policies: ``[M, X, A]`` log-probabilities of a class.
      context_prob: ``[X]``, ρ.

    Reference: arXiv:2405.21046, definition of C_cov; the closed form is derived.
    """
    return context_prob @ jnp.exp(log_policies.max(0)).sum(-1)
