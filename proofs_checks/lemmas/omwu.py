"""The links of OMWU: one prox step against the answer to the policy before it, and what that memory costs.

Write M = P - 1/2 (skew, entries within 1/2), π* for the regularised Nash policy, h_before for the policy of
the last query, h = prox(π, M h_before) for the next one, π+ = prox(π, M h), g for the composite step. The
identities (full) and (half) of ``extragradient`` hold with h_before for π in their coupling alone:

    (1 + gβ) KL(π*‖π+) = KL(π*‖π) - (1 + gβ) KL(π+‖h) - KL(h‖π) - gβ KL(h‖π*) + g <M(h - h_before), π+ - h>,
    (1 + gβ) KL(π*‖h) = KL(π*‖π) - KL(h‖π) - gβ KL(h‖π*) + g <M(h - h_before), π* - h>.

The coupling is at most g (√KL(h‖π) + √KL(π‖h_before)) √KL(π+‖h), and likewise with KL(π*‖h). From the start
h_before = π_0 the memory is nothing, so that KL(π*‖π_t) <= (1 + gβ)^-t KL(π*‖π_0) after t steps that move π.
"""

from __future__ import annotations

import jax.numpy as jnp

from nlhf import omwu
from nlhf.logspace import kl
from proofs_checks.lemmas.bank import Array, Case, Lemma, Sides, checks, kl_allowance, step

MEMORY = 2**0.5 - 1  # weight c of KL(π‖h_before); it maximises the range
CONSTANT = (1 + 2**0.5) ** 2  # (1 + c)/(c (1 - c)) there


def _omwu(case: Case) -> tuple[Array, Array, Array]:
    """Return g, h and π+ from the state (π, h_before), h_before the case's other policy."""
    beta = case.game.beta
    g = case.share * 2 * (beta + jnp.sqrt(beta**2 + CONSTANT)) / CONSTANT
    method = omwu(g / (1 + g * beta), beta)
    # a first step only extrapolates: it makes h from π and the answer against h_before
    first = step(method, method.init(case.policy[None])._replace(half=case.other[None]), case.game)
    second = step(method, first, case.game)
    return g, first.half[0], second.policy[0]


def omwu_lyapunov(case: Case) -> Sides:
    """``L(π+, h) <= L(π, h_before)/(1 + gβ)``, L(π, h) = KL(π*‖π) + c KL(π‖h), c = √2 - 1, from any state.

    The coupling is at most KL(h‖π) + c KL(π‖h_before) + (g²/4)(1 + 1/c) KL(π+‖h), whose last term fits into
    (1 + gβ)(1 - c) KL(π+‖h) if g² (1 + c)/(4c(1 - c)) <= 1 + gβ; (1 + c)/(c(1 - c)) is least, (1 + √2)², at
    c.
    """
    g, half, after = _omwu(case)
    last, memory = kl(case.log_nash, after), kl(after, half)
    before = kl(case.log_nash, case.policy)
    right = before + MEMORY * kl(case.policy, case.other)
    kept = 1 + g * case.game.beta
    allowance = kl_allowance(last, case.delta) + kl_allowance(memory, case.delta)
    return Sides(last + MEMORY * memory, right / kept, last, before / kept, allowance)


def omwu_half(case: Case) -> Sides:
    """``(1 + gβ - (2 + √2) g²/4) KL(π*‖h) <= L(π, h_before)``, L as in ``omwu_lyapunov``.

    The coupling is at most KL(h‖π) + c KL(π‖h_before) + (g²/4)(1 + 1/c) KL(π*‖h).
    For η <= min(1/(2β + 1), 1/2) the factor is at least 1/2.
    """
    g, half, _ = _omwu(case)
    left, before = kl(case.log_nash, half), kl(case.log_nash, case.policy)
    factor = 1 + g * case.game.beta - (2 + 2**0.5) * g**2 / 4
    right = before + MEMORY * kl(case.policy, case.other)
    return Sides(factor * left, right, factor * left, before, factor * kl_allowance(left, case.delta))


RANGE = "β > 0, exact payoffs, g <= 2(β + √(β² + κ))/κ, κ = (1 + √2)²; any π and any h_before"
LYAPUNOV = "optimistic step as a prox step, smoothness and Pinsker"

LEMMAS = (
    Lemma(
        omwu_lyapunov,
        "omwu.lyapunov",
        LYAPUNOV,
        "L+ <= L/(1 + gβ), L = KL(π*‖π) + (√2 - 1) KL(π‖h_before), L+ = KL(π*‖π+) + (√2 - 1) KL(π+‖h)",
        RANGE,
        "without the memory terms",
    ),
    Lemma(
        omwu_half,
        "omwu.half_step",
        LYAPUNOV,
        "(1 + gβ - (2 + √2) g²/4) KL(π*‖h) <= KL(π*‖π) + (√2 - 1) KL(π‖h_before)",
        RANGE,
        "without the memory term",
    ),
)
CHECKS = checks(LEMMAS)
