"""Facts about the game that the proofs stand on: smoothness, divergences, exploitability, the equilibrium.

Write M = P - 1/2 (skew, entries within 1/2), π* for the regularised Nash policy, KL(p‖q) in nats. The proofs
are in the docstrings; each function measures both sides of its inequality at one instance.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import logsumexp

from nlhf.logspace import kl, normalise, span
from proofs_checks.lemmas.bank import (
    EPSILON,
    KL_ERROR,
    Array,
    Case,
    Lemma,
    Sides,
    advantage_over,
    checks,
    difference,
    distance,
    inner,
    kl_allowance,
)

VERTICES = 8  # pairs of the first actions, whose differences are the extreme directions


def exploitability(case: Case, log_policy: Array) -> Array:
    """One-sided regularised exploitability ``β KL(π‖BR(π))``, BR(π) = softmax(log_ref + M π / β)."""
    beta = case.game.beta
    return beta * kl(log_policy, normalise(case.game.log_ref[0] + advantage_over(case, log_policy) / beta))


def _vertex_span(case: Case) -> Array:
    rows = case.game.advantage[0][:VERTICES]
    return span(rows[:, None, :] - rows[None, :, :]).max()


def smoothness(case: Case) -> Sides:
    """``|<M(p - q), u - v>| <= |p - q|_1 |u - v|_1 / 2``.

    Both differences are convex combinations of c (e_i - e_j) with 2c their l1 norm, so the supremum is at
    such pairs: four entries of M, at most 2 = 2·2/2. Decided pairs attain it; it is judged there and at
    policies.
    """
    p, q, u, v = case.policy, case.game.log_ref[0], case.other, case.log_nash
    policies = jnp.abs((advantage_over(case, p) - advantage_over(case, q)) @ (jnp.exp(u) - jnp.exp(v)))
    left = jnp.stack([policies, _vertex_span(case)])
    product = jnp.stack([distance(p, q) * distance(u, v), jnp.asarray(4.0)])
    # the products of M are sums of A terms
    allowance = EPSILON * case.policy.size
    return Sides(left, product / 2, left, product / 4, allowance)


def payoff_span(case: Case) -> Sides:
    """``span(M(p - q)) <= |p - q|_1``.

    (M d)_i - (M d)_j = <M_i - M_j, d>, and a row difference has entries within 1: for sum-zero d it is at
    most half its span, 1, times |d|_1.
    """
    p, q = case.policy, case.game.log_ref[0]
    move = advantage_over(case, p) - advantage_over(case, q)
    left = jnp.stack([span(jnp.where(jnp.isneginf(q), jnp.nan, move)), _vertex_span(case)])
    right = jnp.stack([distance(p, q), jnp.asarray(2.0)])
    return Sides(left, right, left, right / 2, EPSILON * case.policy.size)


def pinsker(case: Case) -> Sides:
    """``|p - q|_1² <= 2 KL(p‖q)``, both ways round and for policies far apart."""
    first = jnp.stack([case.log_nash, case.policy, case.other])
    second = jnp.stack([case.policy, case.log_nash, case.policy])
    left, right = distance(first, second) ** 2, 2 * kl(first, second)
    return Sides(left, right, left, right / 2, kl_allowance(left, case.delta))


def three_point(case: Case) -> Sides:
    """``KL(p‖r) = KL(p‖q) + KL(q‖r) + <log q - log r, p - q>``: expand the logarithms."""
    p, q, r = case.log_nash, case.policy, case.other
    logs = jnp.nan_to_num(difference(q, r))
    term = inner(p, logs) - inner(q, logs)
    total = kl(p, q) + kl(q, r) + kl(p, r)
    left = jnp.abs(kl(p, r) - kl(p, q) - kl(q, r) - term)
    wrong = jnp.abs(kl(p, r) - kl(p, q) - kl(r, q) - term)
    scale = inner(p, jnp.abs(logs)) + inner(q, jnp.abs(logs))
    allowed = KL_ERROR * total + case.policy.size * EPSILON * scale + case.delta * distance(p, q)
    return Sides(left, allowed, wrong, allowed)


def skew(case: Case) -> Sides:
    """``<M x, x> = 0``: a policy ties with itself, whatever the matrix."""
    left = jnp.abs(inner(case.policy, advantage_over(case, case.policy)))
    # two sums of A terms, each at most 1/2 in all
    allowed = jnp.asarray(EPSILON * case.policy.size)
    uncentred = jnp.abs(inner(case.policy, advantage_over(case, case.policy) + 0.5))
    return Sides(left, allowed, uncentred, allowed)


def kl_to_reference(case: Case) -> Sides:
    """``KL(π*‖π_ref) + KL(π_ref‖π*) = -<Mπ*, π_ref>/β <= 1/(2β)``.

    log π* - log π_ref = Mπ*/β + constant; take its inner product with π* - π_ref and use <Mπ*, π*> = 0. The
    published rates from the reference get their 1/β from the first term, which is judged here alone.
    """
    left = kl(case.log_nash, case.game.log_ref[0])
    right = 1 / (2 * case.game.beta)
    return Sides(left, right, left, right / 2)


def sandwich_lower(case: Case) -> Sides:
    """``β KL(π‖π*) <= exploitability(π)``: π* is one of the deviations, and wins by exactly β KL(π‖π*)."""
    beta, delta = case.game.beta, case.delta
    left, right = beta * kl(case.policy, case.log_nash), exploitability(case, case.policy)
    swapped = beta * kl(case.log_nash, case.policy)
    return Sides(left, right, swapped, right, beta * kl_allowance(left / beta, delta))


def sandwich_upper(case: Case) -> Sides:
    """``exploitability(π) <= β KL(π‖π*) + KL(π*‖π)/(4β)``.

    With d = π - π* it equals β KL(π‖π*) + max_u [<M d, u - π*> - β KL(u‖π*)]; smoothness and Pinsker bound
    the bracket by |d|_1 |u - π*|_1/2 - β |u - π*|_1²/2 <= |d|_1²/(8β) <= KL(π*‖π)/(4β).
    """
    beta, delta = case.game.beta, case.delta
    left = exploitability(case, case.policy)
    first, second = beta * kl(case.policy, case.log_nash), kl(case.log_nash, case.policy) / (4 * beta)
    return Sides(left, first + second, left, first, beta * kl_allowance(left / beta, delta))


def certificate(case: Case) -> Sides:
    """``KL(π‖π*) <= logsumexp(log_ref + Mπ/β) + Σ π (log π - log_ref)``, which is exploitability/β.

    Here in the closed form with its cancellation, an evaluation apart from ``β KL(π‖BR(π))``.
    """
    log_ref = case.game.log_ref[0]
    closed = logsumexp(log_ref + advantage_over(case, case.policy) / case.game.beta)
    closed += inner(case.policy, jnp.nan_to_num(difference(case.policy, log_ref)))
    left = kl(case.policy, case.log_nash)
    # the closed form is a difference of numbers as large as the logs
    return Sides(left, closed, left, case.game.beta * closed, case.delta + kl_allowance(left, case.delta))


def original_exploitability(case: Case) -> Sides:
    """``max_a (Mπ)_a <= exploitability_β(π) + β log(1/min π_ref)``: a pure deviation pays at most that KL."""
    log_ref, beta = case.game.log_ref[0], case.game.beta
    present = jnp.isfinite(log_ref)
    left = jnp.max(jnp.where(present, advantage_over(case, case.policy), -jnp.inf))
    gap = exploitability(case, case.policy)
    right = gap - beta * jnp.min(jnp.where(present, log_ref, 0.0))
    return Sides(left, right, left, gap + beta * jnp.log(present.sum().astype(float)))


def per_action(case: Case) -> Sides:
    """``(Mπ*)_i + β KL(π*‖π_ref) <= β log(1/π_ref,i)``; the two differ by β log(1/π*_i).

    The constant of the fixed point is KL(π*‖π_ref), since <Mπ*, π*> = 0.
    """
    log_ref, beta = case.game.log_ref[0], case.game.beta
    present = jnp.isfinite(log_ref)
    payoff, divergence = advantage_over(case, case.log_nash), kl(case.log_nash, log_ref)
    right = -beta * jnp.where(present, log_ref, 0.0)
    left, wrong = (jnp.where(present, payoff + times * beta * divergence, -jnp.inf) for times in (1, 2))
    # (Mπ*)_i off by the rounding of π*; the bound is an equality where π*_i is 1
    return Sides(left, right, wrong, right, 2 * beta * case.delta)


def regularisation_bias(case: Case) -> Sides:
    """``max_a (Mπ*)_a <= β log(1/min π_ref)``: ``per_action``; β log A for a uniform reference."""
    log_ref, beta = case.game.log_ref[0], case.game.beta
    present = jnp.isfinite(log_ref)
    left = jnp.max(jnp.where(present, advantage_over(case, case.log_nash), -jnp.inf))
    right = -beta * jnp.min(jnp.where(present, log_ref, 0.0))
    wrong = beta * jnp.log(present.sum().astype(float))
    return Sides(left, right, left, wrong, 2 * beta * case.delta)


ANY = "skew M with entries within 1/2"
REGULARISED = "β > 0, policies of full support on the reference's actions"

LEMMAS = (
    Lemma(
        smoothness,
        "game.smoothness",
        "extreme points; the constant of every step-size range here",
        "|<M(p - q), u - v>| <= |p - q|_1 |u - v|_1 / 2",
        ANY,
        "constant 1/4",
    ),
    Lemma(
        payoff_span,
        "game.payoff_span",
        "extreme points",
        "span(M(p - q)) <= |p - q|_1",
        ANY,
        "half of it",
    ),
    Lemma(
        pinsker,
        "game.pinsker",
        "Pinsker's inequality (Csiszár 1967)",
        "|p - q|_1² <= 2 KL(p‖q)",
        "any two policies",
        "constant 1 for 2",
        status="theorem",
    ),
    Lemma(
        three_point,
        "game.three_point",
        "three-point identity of a Bregman divergence (Chen and Teboulle 1993)",
        "KL(p‖r) = KL(p‖q) + KL(q‖r) + <log q - log r, p - q>; error over rounding",
        "any three policies of full support",
        "KL(r‖q) for KL(q‖r)",
        status="theorem",
    ),
    Lemma(
        skew,
        "game.skew",
        "P + Pᵀ = 1",
        "<M x, x> = 0; error over rounding",
        ANY,
        "the payoff not centred at 1/2",
        status="theorem",
    ),
    Lemma(
        kl_to_reference,
        "game.kl_to_reference",
        "fixed point of π* and skewness",
        "KL(π*‖π_ref) <= 1/(2β)",
        REGULARISED,
        "1/(4β)",
    ),
    Lemma(
        sandwich_lower,
        "game.sandwich_lower",
        "deviation to π*",
        "β KL(π‖π*) <= exploitability(π)",
        REGULARISED,
        "KL(π*‖π) for KL(π‖π*)",
    ),
    Lemma(
        sandwich_upper,
        "game.sandwich_upper",
        "smoothness and Pinsker",
        "exploitability(π) <= β KL(π‖π*) + KL(π*‖π)/(4β)",
        REGULARISED,
        "without the second term",
    ),
    Lemma(
        certificate,
        "game.certificate",
        "as game.sandwich_lower, exploitability in closed form",
        "KL(π‖π*) <= exploitability(π)/β",
        REGULARISED,
        "not divided by β",
    ),
    Lemma(
        original_exploitability,
        "game.original_exploitability",
        "KL(e_a‖π_ref) = log(1/π_ref,a)",
        "max_a (Mπ)_a <= exploitability_β(π) + β log(1/min π_ref)",
        REGULARISED,
        "β log A, right for a uniform reference alone",
    ),
    Lemma(
        per_action,
        "game.per_action",
        "fixed point of π*",
        "(Mπ*)_i <= β log(1/π_ref,i) - β KL(π*‖π_ref)",
        REGULARISED,
        "twice the KL term",
    ),
    Lemma(
        regularisation_bias,
        "game.regularisation_bias",
        "game.per_action",
        "max_a (Mπ*)_a <= β log(1/min π_ref)",
        REGULARISED,
        "β log A, right for a uniform reference alone",
    ),
)
CHECKS = checks(LEMMAS)
