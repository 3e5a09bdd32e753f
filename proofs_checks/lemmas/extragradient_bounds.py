"""What the extragradient's steps mean for exploitability, and for log-probabilities action by action.

Write M = P - 1/2 (skew, entries within 1/2), π* for the regularised Nash policy, h and π+ for the half and
full steps from π, g for the composite step; (prox), (nash) and (full) are in ``extragradient``.
"""

from __future__ import annotations

import jax.numpy as jnp

from nlhf.logspace import kl, span
from proofs_checks.lemmas.bank import Case, Lemma, Sides, checks, difference, distance, kl_allowance
from proofs_checks.lemmas.extragradient import EXACT, RANGE, extragradient, longest
from proofs_checks.lemmas.game import exploitability


def half_exploitability(case: Case) -> Sides:
    """``exploitability(h) <= KL(π*‖π)/g + KL(π*‖h)/(4β)``.

    game.sandwich_upper at h, and gβ KL(h‖π*) <= KL(π*‖π) from (full).
    """
    beta, delta = case.game.beta, case.delta
    g = case.share * longest(case)
    half, _ = extragradient(case, g)
    left = exploitability(case, half)
    first, second = kl(case.log_nash, case.policy) / g, kl(case.log_nash, half) / (4 * beta)
    return Sides(left, first + second, left, second, beta * kl_allowance(left / beta, delta))


def full_exploitability(case: Case) -> Sides:
    """``exploitability(π+) <= (1/g + 1/(4β(1 + gβ))) KL(π*‖π)`` for g <= 2.

    Put K = KL(π*‖π), s = (1 + gβ) KL(π*‖π+). (full) with its coupling at most KL(h‖π) + (g²/4) KL(π+‖h)
    leaves gβ KL(π+‖h) <= K - s. (prox) at u = π* for π+ and (nash) at π+ give gβ KL(π+‖π*) <= K - s + g <M(π+
    - h), π* - π+> <= K - s + 2 √(a s (K - s)) with a = g/(4β(1 + gβ)). game.sandwich_upper at π+ adds
    KL(π*‖π+)/(4β) = a s/g. Together (√(K - s) + √(a s))²/g <= (1 + a) K/g, by Cauchy-Schwarz.
    """
    beta, delta = case.game.beta, case.delta
    g = 2 * case.share
    _, after = extragradient(case, g)
    left, before = exploitability(case, after), kl(case.log_nash, case.policy)
    right = (1 / g + 1 / (4 * beta * (1 + g * beta))) * before
    wrong = before / (4 * beta * (1 + g * beta))
    return Sides(left, right, left, wrong, beta * kl_allowance(left / beta, delta))


def span_step(case: Case) -> Sides:
    """``span(log π+ - log π*) <= ρ span(log π - log π*) + ρ g |h - π*|_1``, ρ = 1/(1 + gβ).

    π* is a fixed point: log π+ - log π* = ρ (log π - log π*) + ρ g M(h - π*) + constant; game.payoff_span.
    """
    g = case.share * longest(case)
    rho = 1 / (1 + g * case.game.beta)
    half, after = extragradient(case, g)
    left = span(difference(after, case.log_nash))
    kept = rho * span(difference(case.policy, case.log_nash))
    return Sides(left, kept + rho * g * distance(half, case.log_nash), left, kept, 4 * case.delta)


def span_step_kl(case: Case) -> Sides:
    """``span(log π+ - log π*) <= ρ span(log π - log π*) + 2 ρ g √KL(π*‖π)`` for g <= 2.

    |h - π*|_1 <= √(2 KL(π*‖h)) <= 2 √KL(π*‖π), the last by ``half_step_doubling``.
    """
    g = 2 * case.share
    rho = 1 / (1 + g * case.game.beta)
    _, after = extragradient(case, g)
    left = span(difference(after, case.log_nash))
    kept = rho * span(difference(case.policy, case.log_nash))
    before = kl(case.log_nash, case.policy)
    return Sides(
        left,
        kept + 2 * rho * g * jnp.sqrt(before),
        left,
        kept + 2 * rho * g * before,
        4 * case.delta,
    )


LEMMAS = (
    Lemma(
        half_exploitability,
        "nash_mirror_prox.half_step_exploitability",
        "game.sandwich_upper and nash_mirror_prox.full_identity",
        "exploitability(h) <= KL(π*‖π)/g + KL(π*‖h)/(4β)",
        RANGE,
        "without the first term",
    ),
    Lemma(
        full_exploitability,
        "nash_mirror_prox.full_step_exploitability",
        "game.sandwich_upper and nash_mirror_prox.full_identity",
        "exploitability(π+) <= (1/g + 1/(4β(1 + gβ))) KL(π*‖π)",
        EXACT + ", g <= 2",
        "only the term of KL(π*‖π+)/(4β)",
    ),
    Lemma(
        span_step,
        "nash_mirror_prox.span_step",
        "game.payoff_span",
        "span(log π+ - log π*) <= ρ span(log π - log π*) + ρ g |h - π*|_1, ρ = 1/(1 + gβ)",
        EXACT,
        "without the second term",
    ),
    Lemma(
        span_step_kl,
        "nash_mirror_prox.span_step_kl",
        "nash_mirror_prox.span_step, Pinsker and nash_mirror_prox.half_step_doubling",
        "span(log π+ - log π*) <= ρ span(log π - log π*) + 2 ρ g √KL(π*‖π), ρ = 1/(1 + gβ)",
        EXACT + ", g <= 2",
        "KL without the root",
    ),
)
CHECKS = checks(LEMMAS)
