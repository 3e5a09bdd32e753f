"""The simplex: policies are tables of exact log-probabilities, and a projection is a normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Calibration, Comparisons, Feedback, PolicySpace, Target
from tabular.games import Game

Array = jax.Array
FIT_TOLERANCE = 1e-10
FIT_STEPS = 500


def simplex(game: Game) -> PolicySpace:
    """All policies over a finite set of actions, as ``[X, A]`` log-probabilities.

    ``project`` is exact: ``log_softmax(target(log_policy, log_ref, preference))``. Actions that the
    reference excludes (``-inf``) keep probability exactly zero.

    Args:
      game: only its reference and the distribution of its contexts are used.

    Returns:
      A ``PolicySpace`` whose policies are arrays.
    """
    return PolicySpace(
        reference=game.log_ref,
        log_prob=Partial(_log_prob),
        mix=Partial(logspace.geometric_mixture),
        project=Partial(_project, game.log_ref),
        fit=Partial(_fit, game),
    )


def _log_prob(policy: Array, responses: Array | None = None) -> Array:
    """Return ``[X, A]`` log-probabilities, or those of sampled actions ``[X, K]``."""
    return policy if responses is None else jnp.take_along_axis(policy, responses, axis=-1)


def _project(log_ref: Array, policy: Array, target: Target, feedback: Feedback) -> Array:
    excluded = jnp.isneginf(log_ref)
    # 0 * -inf inside a target would be NaN: excluded actions are moved as zeros, then excluded again
    logits = target(jnp.where(excluded, 0.0, policy), jnp.where(excluded, 0.0, log_ref), feedback.preference)
    return logspace.normalise(jnp.where(excluded, -jnp.inf, logits))


def log_ratio_loss(
    log_policy: Array,
    game: Game,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    """``(Σ weight loss(log_ratio_first, log_ratio_second, prefer_first) + c E_cal[log_ratio]) / Σ weight``.

    Args:
      log_policy: ``[X, A]`` log-probabilities.
      game: only its reference and the distribution of its contexts are used.
      loss: per-example loss, as in ``nlhf.losses`` with its hyper-parameters bound.
      comparisons: pairs of action indices.
      calibration: its policy as an ``[X, A]`` table, and its weight c.
    """
    ratio = log_policy - jnp.where(jnp.isneginf(game.log_ref), 0.0, game.log_ref)
    present = comparisons.weight > 0
    # absent rows may hold anything: what is not finite there must not reach the gradient
    first = jnp.where(present, ratio[comparisons.context, comparisons.first], 0.0)
    second = jnp.where(present, ratio[comparisons.context, comparisons.second], 0.0)
    # a memory is made in the default precision, a policy may have another
    label = jnp.where(present, comparisons.prefer_first, 0.5).astype(ratio.dtype)
    weight = jnp.where(present, comparisons.weight, 0).astype(ratio.dtype)
    total = (weight * loss(first, second, label)).sum()
    if calibration is not None:
        mass = jnp.exp(calibration.policy)
        mean = game.context_prob @ (mass * jnp.where(mass > 0, ratio, 0.0)).sum(-1)
        total = total + calibration.weight * mean
    return total / jnp.maximum(weight.sum(), 1)


def _fit(
    game: Game,
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    """Minimise over logits by L-BFGS until the gradient is below ``FIT_TOLERANCE`` (or ``FIT_STEPS``)."""
    del key
    excluded = jnp.isneginf(game.log_ref)

    def objective(logits: Array) -> Array:
        log_policy = logspace.normalise(jnp.where(excluded, -jnp.inf, logits))
        return log_ratio_loss(log_policy, game, loss, comparisons, calibration)

    start = jnp.where(excluded, 0.0, policy)
    return logspace.normalise(jnp.where(excluded, -jnp.inf, minimise(objective, start)))


def minimise(
    objective: Callable[[Any], Array],
    start: Any,
    tolerance: float = FIT_TOLERANCE,
    max_steps: int = FIT_STEPS,
) -> Any:
    """Minimise a smooth function by L-BFGS with a zoom line search, jit- and ``vmap``-able.

    Args:
      objective: pytree -> scalar.
      start: first point.
      tolerance: stop when the Euclidean norm of the gradient is below this.
      max_steps: stop after this many steps in any case.

    Returns:
      The last point; where there is no minimum, the last one that was finite.
    """
    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry: tuple) -> tuple:
        point, state, _, count = carry
        value, grad = value_and_grad(point, state=state)
        # optax mixes integer counts with floats, which strict promotion (our tests) refuses
        with jax.numpy_dtype_promotion("standard"):
            updates, state = solver.update(grad, state, point, value=value, grad=grad, value_fn=objective)
        moved = optax.apply_updates(point, updates)
        # an objective without a minimum ends in infinities: keep the last point that is one
        finite = jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(moved)]).all()
        point = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, point)
        return point, state, optax.tree.norm(optax.tree.get(state, "grad")), count + 1

    def unfinished(carry: tuple) -> Array:
        return (carry[2] > tolerance) & (carry[3] < max_steps)

    norm = optax.tree.norm(jax.grad(objective)(start))
    return jax.lax.while_loop(unfinished, step, (start, solver.init(start), norm, 0))[0]
