"""Policies of bounded rewards: the class in which optimism has a minimum, by projected Newton steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Calibration, Comparisons, PolicySpace, Static, check_number, check_whole
from tabular.games import Game
from tabular.spaces.simplex import log_ratio_loss, simplex

Array = jax.Array


@functools.cache
def bounded_rewards(
    bound: float, num_starts: int = 1, max_steps: int = 60, tolerance: float = 1e-9
) -> Callable[[Any], PolicySpace]:
    """Space of the policies ``π_ref exp(r/β)`` with rewards r in [0, bound]; ``fit`` is to tolerance.

    The fit is a projected Newton method on the rewards: a damped Newton step on the coordinates that are not
    held at a bound, then a search along the projected arc. Where the objective is not convex (optimism) it
    starts from the present policy and from ``num_starts - 1`` random vertices, and keeps the best.

    Args:
      bound: R > 0, in nats of the Bradley-Terry model.
      num_starts: >= 1.
      max_steps: Newton steps of one fit, >= 1.
      tolerance: a fit stops when the projected gradient is below it.

    Returns:
      A factory ``make_space(game) -> PolicySpace`` with policies as ``[X, A]`` tables; the same arguments
      give the same object.

    Raises:
      InputError: if a number is out of range.
    """
    check_number("bound", bound, open_low=True)
    check_number("tolerance", tolerance, open_low=True)
    settings = Static(
        (
            float(bound),
            check_whole("num_starts", num_starts),
            check_whole("max_steps", max_steps),
            float(tolerance),
        )
    )

    def make_space(game: Game) -> PolicySpace:
        return simplex(game)._replace(fit=Partial(_fit, settings, game))

    return make_space


def _fit(
    settings: Static,
    game: Game,
    key: Array,
    policy: Array,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    bound, num_starts, max_steps, tolerance = settings
    shape = game.log_ref.shape

    def objective(reward: Array) -> Array:
        log_policy = logspace.normalise(game.log_ref + reward.reshape(shape) / game.beta)
        return log_ratio_loss(log_policy, game, loss, comparisons, calibration)

    warm = implicit_rewards(game, policy, bound).reshape(1, -1)
    vertices = bound * jax.random.bernoulli(key, 0.5, (num_starts - 1, warm.shape[1])).astype(warm.dtype)
    starts = jnp.concatenate([warm, vertices])
    ends = jax.vmap(lambda start: minimise_in_box(objective, start, bound, max_steps, tolerance))(starts)
    best = ends[jnp.argmin(jax.vmap(objective)(ends))]
    return logspace.normalise(game.log_ref + best.reshape(shape) / game.beta)


def implicit_rewards(game: Game, policy: Array, bound: float) -> Array:
    """Rewards ``[X, A]`` in [0, bound] with ``policy ∝ π_ref exp(r/β)``, as far as the bound allows; least 0.

    Args:
      game: its reference and β are used.
      policy: ``[X, A]`` log-probabilities; actions without mass get the least reward.
      bound: R > 0.
    """
    present = ~jnp.isneginf(game.log_ref) & ~jnp.isneginf(policy)
    ratio = jnp.where(present, policy, 0.0) - jnp.where(present, game.log_ref, 0.0)
    least = jnp.where(present, ratio, jnp.inf).min(-1, keepdims=True)
    return jnp.where(present, jnp.clip(game.beta * (ratio - least), 0, bound), 0.0)


def minimise_in_box(
    objective: Callable[[Array], Array], start: Array, bound: float, max_steps: int, tolerance: float
) -> Array:
    """Minimise a smooth function over ``[0, bound]^N`` by projected Newton steps; jit- and ``vmap``-able.

    Coordinates at or near a bound with the gradient pointing outward go to it. On the others the step is a
    Newton direction, truncated where the curvature is negative; the longest of the halvings of the step whose
    projection decreases the objective enough is taken.

    Args:
      objective: ``[N] -> scalar``.
      start: ``[N]``, inside the box.
      bound: R > 0.
      tolerance: stops when no entry of ``x - clip(x - g)`` exceeds it.

    Returns:
      ``[N]``, the last point.

    Reference: D. Bertsekas, Projected Newton methods for optimization problems with simple constraints, SIAM
      Journal on Control and Optimization 20(2), 1982.
    """
    gradient, hessian = jax.grad(objective), jax.hessian(objective)
    halvings = 0.5 ** jnp.arange(25, dtype=start.dtype)
    tolerance = max(tolerance, 100 * float(jnp.finfo(start.dtype).eps))

    def residual(point: Array, slope: Array) -> Array:
        return jnp.abs(point - jnp.clip(point - slope, 0, bound)).max()

    def step(carry: tuple) -> tuple:
        point, slope, count, _ = carry
        # coordinates near a bound are sent to it: left among the free ones, they would bend the step
        margin = jnp.minimum(1e-3 * bound, residual(point, slope))
        held = ((point <= margin) & (slope > 0)) | ((point >= bound - margin) & (slope < 0))
        free = (~held).astype(point.dtype)
        reduced = hessian(point) * free[:, None] * free[None, :]
        direction = newton_direction(reduced, slope * free) - jnp.where(held, margin * jnp.sign(slope), 0.0)
        candidates = jnp.clip(point[None] + halvings[:, None] * direction[None], 0, bound)
        decrease = objective(point) - jax.vmap(objective)(candidates)
        promised = -(candidates - point[None]) @ slope
        enough = (decrease >= 1e-4 * promised) & (decrease > 0)
        # at the floor of rounding a decrease cannot be seen any more, a shorter gradient still can
        level = jnp.abs(decrease[0]) <= 1e-13 * (1 + jnp.abs(objective(point)))
        shorter = residual(candidates[0], gradient(candidates[0])) < 0.5 * residual(point, slope)
        enough = enough.at[0].set(enough[0] | (level & shorter))
        moved = jnp.where(enough.any(), candidates[jnp.argmax(enough)], point)
        return moved, gradient(moved), count + 1, enough.any()

    def unfinished(carry: tuple) -> Array:
        point, slope, count, moving = carry
        return (residual(point, slope) > tolerance) & (count < max_steps) & moving

    carry = (start, gradient(start), 0, jnp.asarray(True))
    return jax.lax.while_loop(unfinished, step, carry)[0]


def newton_direction(hessian: Array, slope: Array) -> Array:
    """Descent direction ``-H^-1 g`` by conjugate gradients, truncated at the first negative curvature c.

    There the last move is made as if the curvature were |c|, and no further one. A singular H is no obstacle
    where g is in its range, as with a constant that rewards do not determine. No LAPACK routine is called:
    batched ones were seen to wait for each other for ever when two programs ran in two threads.

    Args:
      hessian: ``[N, N]``, symmetric.
      slope: ``[N]``.

    Reference: J. Nocedal and S. Wright, Numerical optimization, section 7.1 (line search Newton-CG).
    """
    scale = jnp.abs(hessian).max() + jnp.finfo(slope.dtype).tiny

    def iterate(_: Array, carry: tuple) -> tuple:
        total, left, towards, square, going = carry
        image = hessian @ towards
        curvature = towards @ image
        bent = jnp.maximum(jnp.abs(curvature), 1e-12 * scale * (towards @ towards))
        length = jnp.where(going, square / jnp.where(going, bent, 1), 0)
        total, left = total + length * towards, left - length * image
        after = left @ left
        going = going & (curvature > 0) & (after > 1e-26 * (slope @ slope))
        turned = left + jnp.where(going, after / jnp.where(square > 0, square, 1), 0) * towards
        return total, left, jnp.where(going, turned, towards), jnp.where(going, after, square), going

    square = slope @ slope
    carry = (jnp.zeros_like(slope), -slope, -slope, square, square > 0)
    return jax.lax.fori_loop(0, 2 * slope.shape[0], iterate, carry)[0]
