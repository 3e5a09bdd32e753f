"""Confidence widths of reward estimates from comparisons, for bonuses."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Comparisons, check_number
from nlhf.errors import InputError
from tabular.bandits import Bandit

Array = jax.Array


def elliptic(
    bandit: Bandit, ridge: float = 1.0, features: Array | None = None
) -> Callable[[Comparisons], Array]:
    """Width of ``r(x, a) - E_{b~π_ref} r(x, b)``: ``sqrt(v' Σ^-1 v)``, v = φ(x, a) - E_{π_ref} φ(x, ·).

    ``Σ = ridge I + Σ_i weight_i (φ(y_i) - φ(y'_i)) (φ(y_i) - φ(y'_i))'`` over the comparisons.

    Args:
      bandit: its shapes and its reference are used, never its reward.
      ridge: > 0.
      features: ``[X, A, D]``; ``None`` is one indicator for each context and action.

    Returns:
      ``uncertainty(comparisons) -> [X, A]``.

    Raises:
      InputError: if ridge is not positive, or features of another shape or not finite.

    Reference: the width of linear dueling bandits; as the bonus of arXiv:2605.04477, known at second hand.
    """
    check_number("ridge", ridge, open_low=True)
    contexts, actions = bandit.reward.shape
    if features is None:
        features = jnp.eye(contexts * actions, dtype=bandit.reward.dtype).reshape(contexts, actions, -1)
    features = jnp.asarray(features, bandit.reward.dtype)
    if (
        features.ndim != 3
        or features.shape[:2] != (contexts, actions)
        or not bool(jnp.isfinite(features).all())
    ):
        raise InputError(
            f"features has shape {features.shape}, but it must be [{contexts}, {actions}, D] and finite"
        )
    return Partial(_elliptic, features, bandit.log_ref, ridge)


def _elliptic(features: Array, log_ref: Array, ridge: float, comparisons: Comparisons) -> Array:
    first = features[comparisons.context, comparisons.first]
    second = features[comparisons.context, comparisons.second]
    weight = jnp.where(comparisons.weight > 0, comparisons.weight, 0).astype(features.dtype)
    difference = (first - second) * jnp.sqrt(weight)[:, None]
    size = features.shape[-1]
    covariance = ridge * jnp.eye(size, dtype=features.dtype) + difference.T @ difference
    centre = jnp.einsum("xa,xad->xd", jnp.exp(log_ref), features)
    from_reference = (features - centre[:, None, :]).reshape(-1, size)
    solved = jnp.linalg.solve(covariance, from_reference.T).T
    return jnp.sqrt((from_reference * solved).sum(-1)).reshape(log_ref.shape)
