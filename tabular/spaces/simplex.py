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
from nlhf.optimiser import apply
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
        project=Partial(project, game.log_ref),
        fit=Partial(fit_logits, game.log_ref, Partial(minimise), Partial(log_ratio_loss, game=game)),
    )


def _log_prob(policy: Array, responses: Array | None = None) -> Array:
    """Return ``[X, A]`` log-probabilities, or those of sampled actions ``[X, K]``."""
    return policy if responses is None else jnp.take_along_axis(policy, responses, axis=-1)


def present(log_ref: Array, log_policy: Array) -> Array:
    """Put zeros where the reference excludes an action: 0 * -inf inside a target would be NaN."""
    return jnp.where(jnp.isneginf(log_ref), 0.0, log_policy)


def table(log_ref: Array, logits: Array) -> Array:
    """Log-probabilities of logits, ``-inf`` where the reference excludes an action."""
    return logspace.normalise(jnp.where(jnp.isneginf(log_ref), -jnp.inf, logits))


def project(log_ref: Array, policy: Array, target: Target, feedback: Feedback) -> Array:
    """``log_softmax(target(log_policy, log_ref, preference))``, the exact projection of tables."""
    return table(log_ref, target(present(log_ref, policy), present(log_ref, log_ref), feedback.preference))


def fit_logits(
    log_ref: Array,
    minimiser: Callable[..., Array],
    mean_loss: Callable[..., Array],
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    """The ``fit`` of a space of tables: minimise a mean loss over their logits, from those of ``policy``.

    Args:
      log_ref: ``[X, A]``.
      minimiser: ``minimiser(objective, start)``.
      mean_loss: ``mean_loss(log_policy, loss=, comparisons=, calibration=)``, such as ``log_ratio_loss``.
      key: not used.
      policy: ``[X, A]``, the start; the other arguments are those of a ``PolicySpace``.
    """
    del key

    def objective(logits: Array) -> Array:
        log_policy = table(log_ref, logits)
        return mean_loss(log_policy, loss=loss, comparisons=comparisons, calibration=calibration)

    return table(log_ref, minimiser(objective, present(log_ref, policy)))


def mean_over(
    comparisons: Comparisons, loss: Callable[..., Array], first: Array, second: Array, term: Any = None
) -> Array:
    """``(Σ weight loss(first, second, prefer_first) + term) / Σ weight`` for log-ratios ``[N]``."""
    observed = comparisons.weight > 0
    # absent rows may hold anything: what is not finite there must not reach the gradient
    first, second = jnp.where(observed, first, 0.0), jnp.where(observed, second, 0.0)
    # a memory is made in the default precision, a policy may have another
    label = jnp.where(observed, comparisons.prefer_first, 0.5).astype(first.dtype)
    weight = jnp.where(observed, comparisons.weight, 0).astype(first.dtype)
    total = (weight * loss(first, second, label)).sum()
    return (total if term is None else total + term) / jnp.maximum(weight.sum(), 1)


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
      calibration: its policy as an ``[X, A]`` table, and its weight c.
    """
    ratio = log_policy - present(game.log_ref, game.log_ref)
    first = ratio[comparisons.context, comparisons.first]
    second = ratio[comparisons.context, comparisons.second]
    term = None
    if calibration is not None:
        mass = jnp.exp(calibration.policy)
        mean = game.context_prob @ (mass * jnp.where(mass > 0, ratio, 0.0)).sum(-1)
        term = calibration.weight * mean
    return mean_over(comparisons, loss, first, second, term)


def minimise(
    objective: Callable[[Any], Array],
    start: Any,
    tolerance: float = FIT_TOLERANCE,
    max_steps: int = FIT_STEPS,
) -> Any:
    """Minimise a smooth function by L-BFGS with a zoom line search, jit- and ``vmap``-able.

    Args:
      objective: pytree -> scalar.
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
        moved, state = apply(solver, grad, state, point, value=value, grad=grad, value_fn=objective)
        # an objective without a minimum ends in infinities: keep the last point that is one
        finite = jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(moved)]).all()
        point = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, point)
        return point, state, optax.tree.norm(optax.tree.get(state, "grad")), count + 1

    def unfinished(carry: tuple) -> Array:
        return (carry[2] > tolerance) & (carry[3] < max_steps)

    norm = optax.tree.norm(jax.grad(objective)(start))
    return jax.lax.while_loop(unfinished, step, (start, solver.init(start), norm, 0))[0]
