"""The equilibrium of a KL-regularised preference game by Newton's method: the truth to judge algorithms by.

The game: two players each pick a policy on A actions; the first wins with probability π·Pπ′ and each pays
β KL(policy ‖ reference). With P + Pᵀ = 1 it is symmetric and its one equilibrium is the fixed point

    log π* = log π_ref + (P - 1/2) π* / β + constant.

No algorithm of the library is used here. Write M = P - 1/2 (skew) and D = diag π - ππᵀ. The Jacobian of the
fixed-point residual in log-space, I - M D / β, has the eigenvalues of I - D^½ M D^½ / β, which lie on the
line 1 + iℝ: it is never singular, so Newton with a line search cannot be trapped.

Every answer carries its certificate: KL(π ‖ π*) <= exploitability / β, computed without knowing π*.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.logspace import kl, normalise, span

Array = jax.Array
Carry = tuple[Array, Array, Array, Array, Array]  # log-policy, record, stage, iteration, done

EASY_BETA = 4.0  # above 1/2 the plain fixed-point map contracts, so Newton needs no help from here on
STAGE_TOLERANCE = 0.1  # nats: enough for the next, at most twice smaller, beta to start close by
STEP_HALVINGS = 24
MAX_ITERATIONS = 1000  # a guard: the hardest of 30,000 games with beta >= 1e-3 took 152


class NashSolution(NamedTuple):
    """A regularised equilibrium and the evidence for it.

    Attributes:
      log_policy: ``[A]`` normalised log π, ``-inf`` exactly where the reference has no mass.
      residual: ``[]`` relative fixed-point residual, see ``relative_residual``; a few 1e-16 when solved.
      exploitability: ``[]`` one-sided, regularised, in units of preference probability;
        KL(π ‖ π*) <= exploitability / beta.
      iterations: ``[]`` int32, Newton steps taken over the whole path in beta.
    """

    log_policy: Any
    residual: Any
    exploitability: Any
    iterations: Any


def best_response(preference: Array, log_ref: Array, beta: Array, log_policy: Array) -> Array:
    """Log-policy that maximises P(· ≻ π) - β KL(· ‖ π_ref): ``normalise(log_ref + (P - 1/2) π / β)``.

    Args:
      preference: ``[A, A]`` in [0, 1], entry [i, j] the probability that i is preferred to j.
      log_ref: ``[A]`` reference log-probabilities, ``-inf`` allowed.
      beta: ``[]`` KL coefficient, above 0.
      log_policy: ``[A]`` the opponent's normalised log-probabilities.
    """
    return normalise(log_ref + (preference - 0.5) @ jnp.exp(log_policy) / beta)


def exploitability(preference: Array, log_ref: Array, beta: Array, log_policy: Array) -> Array:
    """One-sided regularised exploitability, ``beta * KL(π ‖ BR(π))``, zero at the equilibrium alone.

    The same number is max_u [u·Pπ - β KL(u ‖ ref)] - [1/2 - β KL(π ‖ ref)], in closed form
    β logsumexp(log_ref + (P - 1/2) π / β) + β KL(π ‖ ref). That one is a difference of two numbers which
    agree to sixteen digits near the equilibrium; the one coded is a sum of non-negative terms and follows
    the gap down to about 1e-30. The two-sided duality gap is twice it.

    Args: as ``best_response``.

    Returns:
      ``[]``, >= 0 up to rounding, ``inf`` if π has mass where the reference has none.
    """
    return beta * kl(log_policy, best_response(preference, log_ref, beta, log_policy))


def relative_residual(preference: Array, log_ref: Array, beta: Array, log_policy: Array) -> Array:
    """Span of ``log π - log_ref - (P - 1/2) π / β`` over ``max(1, |log_ref|_inf, 1 / (2 β))``.

    The numerator, in nats, vanishes at the equilibrium alone: π is the exact equilibrium for a reference
    moved by that vector. The denominator is the largest term the sum can have, so rounding leaves a few
    1e-16 for every β and A, and a larger value means "not converged", never "small β". Relative to
    max(1, |log π|_inf) instead, merely storing log π leaves up to 1e-13 at β = 1e-3.

    Args: as ``best_response``.
    """
    support = jnp.isfinite(log_ref)
    gap = _fixed_point_gap(preference - 0.5, jnp.where(support, log_ref, 0.0), support, beta, log_policy)
    size = jnp.max(jnp.abs(jnp.where(support, log_ref, 0.0)))
    return span(gap) / jnp.maximum(jnp.maximum(1.0, size), 0.5 / beta)


def _fixed_point_gap(centred: Array, log_ref: Array, support: Array, beta: Array, log_policy: Array) -> Array:
    """Fixed-point residual ``[A]`` in nats, mean zero on the support and zero off it."""
    level = jnp.where(support, log_policy, 0.0)
    gap = jnp.where(support, level - log_ref - centred @ jnp.exp(log_policy) / beta, 0.0)
    # a constant added to logits changes no policy, so the constant part of the residual means nothing
    return jnp.where(support, gap - gap.sum() / support.sum().astype(gap.dtype), 0.0)


def solve_regularised(preference: Array, log_ref: Array, beta: Array) -> NashSolution:
    """Solve ``log π = log_ref + (P - 1/2) π / β + constant`` by continuation in β and damped Newton.

    β falls from max(4, β) to its target in at most-halving, equal ratios; at each stage one solves
    (I - M D / β) d = -residual and takes the best of the steps d, d/2, d/4, ... The number of stages is
    data, so one compiled function serves every β, and ``jax.vmap`` batches games, references and betas.
    Nothing is checked here, and in float32 the answer has float32 accuracy: read ``residual``, or call
    ``tabular.solve``.

    Args:
      preference: ``[A, A]`` in [0, 1] with P + Pᵀ = 1, float64.
      log_ref: ``[A]`` normalised reference log-probabilities. An action with ``-inf`` is out of the game:
        the policy's mass there is exactly 0.
      beta: ``[]`` KL coefficient, above 0; tried from 1e-5 to 10.

    Returns:
      The solution with its residual and exploitability. No convergence means a large residual.

    Reference:
      Existence and uniqueness: 2312.00886, Proposition 1. The method is textbook Newton.
    """
    support = jnp.isfinite(log_ref)
    reference = jnp.where(support, log_ref, 0.0)
    centred = preference - 0.5
    dtype = preference.dtype
    epsilon = jnp.finfo(dtype).eps
    scale = jnp.maximum(jnp.maximum(1.0, jnp.max(jnp.abs(reference))), 0.5 / beta)
    largest = jnp.maximum(beta, EASY_BETA)
    last = jnp.ceil(jnp.log2(largest / beta)).astype(jnp.int32)
    shrink = jnp.exp2(-jnp.arange(STEP_HALVINGS, dtype=dtype))

    def fixed_point_gap(log_policy: Array, stage_beta: Array) -> Array:
        return _fixed_point_gap(centred, reference, support, stage_beta, log_policy)

    def newton(carry: Carry) -> Carry:
        log_policy, record, stage, iteration, _ = carry
        left = (last - stage).astype(dtype) / jnp.maximum(last, 1).astype(dtype)
        stage_beta = beta * (largest / beta) ** left
        policy = jnp.exp(log_policy)
        gap = fixed_point_gap(log_policy, stage_beta)
        coupling = (centred - (centred @ policy)[:, None]) * policy[None, :] / stage_beta
        direction = jnp.linalg.solve(jnp.eye(policy.size, dtype=dtype) - coupling, -gap)
        trials = normalise(
            log_policy[None, :] + shrink[:, None] * jnp.where(support, direction, 0.0)[None, :]
        )
        gaps = jax.vmap(fixed_point_gap, (0, None))(trials, stage_beta)
        norms = jnp.linalg.norm(gaps, axis=-1)
        best = jnp.argmin(norms)
        # a record that can only fall: at the rounding floor, comparing with a re-evaluated norm can cycle
        before = jnp.minimum(jnp.linalg.norm(gap), record)
        improved = norms[best] < before
        log_policy = jnp.where(improved, trials[best], log_policy)
        size = jnp.where(improved, span(gaps[best]), span(gap))
        onward = (stage < last) & (~improved | (size <= STAGE_TOLERANCE))
        at_floor = (size <= jnp.sqrt(epsilon) * scale) & (norms[best] > 0.5 * before)
        done = (stage == last) & (~improved | at_floor | (size <= epsilon))
        record = jnp.where(onward, jnp.inf, jnp.minimum(before, norms[best]))
        return log_policy, record, stage + onward.astype(jnp.int32), iteration + 1, done

    def unfinished(carry: Carry) -> Array:
        *_, iteration, done = carry
        return ~done & (iteration < MAX_ITERATIONS)

    start = (
        normalise(log_ref),
        jnp.asarray(jnp.inf, dtype),
        jnp.asarray(0, jnp.int32),
        jnp.asarray(0, jnp.int32),
        jnp.asarray(False),
    )
    log_policy, _, _, iterations, _ = jax.lax.while_loop(unfinished, newton, start)
    return NashSolution(
        log_policy=log_policy,
        residual=relative_residual(preference, log_ref, beta, log_policy),
        exploitability=exploitability(preference, log_ref, beta, log_policy),
        iterations=iterations,
    )
