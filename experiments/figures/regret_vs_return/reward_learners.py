"""Learn a reward that is linear in features from comparisons of segments, by partial return or by regret.

Both learners minimise ``-Σ log-likelihood + ridge |θ|²/2`` with ``P(first) = σ(score_first - score_second)``
and undiscounted sums along the segments: ``score = Σ φ θ`` (partial return), or ``score = Σ A*_θ`` (regret),
where A*_θ is the advantage of the optimum for the *candidate* reward φ θ. No surrogate stands in for that
optimum: it is found by policy iteration for every candidate. With ψ the successor features of that policy,
``A*_θ = (φ + discount P ψ - ψ) θ``, and by the envelope theorem the bracket is also its gradient wherever the
optimum is unique. So a step of regret learning is a damped Newton step of a logistic regression on features
that depend on θ. The problem is not convex: several starts, and the lowest loss wins.

Reference: arXiv:2206.02231 for the two models; the code of its authors uses a softmax over successor features
of a fixed set of policies in place of V*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nlhf.base import Comparisons
from nlhf.segments import Segments
from tabular.mdps.mdp import MDP
from tabular.mdps.values import hard_values, policy_values

Array = jax.Array
RIDGE = 1e-3
STEPS = 20


class Point(NamedTuple):
    """Where a descent is: parameters, the differences of features there, loss, damping."""

    theta: Array
    design: Array
    loss: Array
    damping: Array


def greedy(mdp: MDP, features: Array, theta: Array) -> Array:
    """``[S, A]`` log of the optimal policy for the reward ``φ θ``, uniform over ties.

    Args:
      features: ``[S, A, D]`` φ, 0 in terminal states.
      theta: ``[D]``.
    """
    return hard_values(mdp._replace(reward=features @ theta)).log_policy


def advantage_features(mdp: MDP, features: Array, log_policy: Array) -> Array:
    """``[S, A, D]`` with ``advantage of the policy under φ θ = advantage_features θ``, for every θ.

    Args:
      features: ``[S, A, D]``.
      log_policy: ``[S, A]``.
    """
    plain = mdp._replace(beta=jnp.zeros_like(mdp.beta))
    return jax.vmap(
        lambda reward: policy_values(plain._replace(reward=reward), log_policy).advantage,
        in_axes=-1,
        out_axes=-1,
    )(features)


class Rewards(NamedTuple):
    """What either learner found."""

    regret: Array  # ``[D]``
    partial_return: Array  # ``[D]``


def learn_rewards(mdp: MDP, features: Array, comparisons: Comparisons) -> Rewards:
    """Fit both models to the same comparisons; jit- and ``vmap``-able.

    Partial-return learning is convex. Regret learning keeps the better of two descents: from the fit with
    advantages of the uniform policy, and from that with partial returns.

    Args:
      mdp: its transitions, discount and terminal states; its reward is not looked at.
      features: ``[S, A, D]`` φ, 0 in terminal states.
    """

    def optimal(theta: Array) -> Array:
        return advantage_features(mdp, features, greedy(mdp, features, theta))

    tables = jnp.stack([advantage_features(mdp, features, mdp.reference), features])
    nothing = jnp.zeros(features.shape[-1])
    starts = jax.vmap(lambda table: _descend(lambda theta: table, comparisons, nothing).theta)(tables)
    found = jax.vmap(lambda start: _descend(optimal, comparisons, start))(starts)
    return Rewards(found.theta[jnp.argmin(found.loss)], starts[1])


def _descend(table: Callable[[Array], Array], comparisons: Comparisons, start: Array) -> Point:
    """Levenberg-Marquardt on a logistic regression whose features are a function of its parameters."""
    size = len(start)

    def step(carry: tuple[Point, Array], _: None) -> tuple[tuple[Point, Array], None]:
        best, candidate = carry
        design = _difference(table(candidate), comparisons)
        tried = Point(candidate, design, _loss(design @ candidate, comparisons, candidate), best.damping / 5)
        better = tried.loss < best.loss
        missed = best._replace(damping=jnp.maximum(best.damping, 1e-3) * 10)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), tried, missed)
        chance = jax.nn.sigmoid(best.design @ best.theta)
        gradient = (
            comparisons.weight * (chance - comparisons.prefer_first)
        ) @ best.design + RIDGE * best.theta
        weighted = best.design * (comparisons.weight * chance * (1 - chance))[:, None]
        curvature = weighted.T @ best.design + jnp.eye(size) * (RIDGE + best.damping)
        return (best, best.theta - jnp.linalg.solve(curvature, gradient[:, None])[:, 0]), None

    rows = comparisons.weight.shape[0]
    nowhere = Point(start, jnp.zeros((rows, size)), jnp.asarray(jnp.inf), jnp.asarray(1e-3))
    return jax.lax.scan(step, (nowhere, start), None, STEPS)[0][0]


def _difference(table: Array, comparisons: Comparisons) -> Array:
    """``[N, D]`` the sum of ``table [S, A, D]`` along the first segments less that along the second."""

    def along(side: Segments) -> Array:
        return table[side.states, side.actions].sum(1)

    return along(comparisons.first) - along(comparisons.second)


def _loss(margin: Array, comparisons: Comparisons, theta: Array) -> Array:
    label = comparisons.prefer_first
    each = label * jax.nn.softplus(-margin) + (1 - label) * jax.nn.softplus(margin)
    return (comparisons.weight * each).sum() + RIDGE * (theta @ theta) / 2
