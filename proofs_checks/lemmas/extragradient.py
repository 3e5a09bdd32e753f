"""The links of the extragradient: mirror prox, and EGPO, which is the same in explicit steps.

Write M = P - 1/2 (skew, entries within 1/2), π* for the regularised Nash policy, π for the policy before a
step, h for the half step, π+ for the policy after it, g for the composite step. Each prox step z = prox(π,
v), the minimiser of -g<v, u> + gβ KL(u‖π_ref) + KL(u‖π), obeys for every u

    (1 + gβ) KL(u‖z) = KL(u‖π) - KL(z‖π) + gβ [KL(u‖π_ref) - KL(z‖π_ref)] - g <v, u - z>,          (prox)

and the equilibrium gives β [KL(π*‖π_ref) - KL(h‖π_ref)] - <M h, π*> = -β KL(h‖π*) for every h.       (nash)

From (prox) at u = π* for π+, at u = π+ for h, and (nash):

    (1 + gβ) KL(π*‖π+) = KL(π*‖π) - (1 + gβ) KL(π+‖h) - KL(h‖π) - gβ KL(h‖π*) + g <M(h - π), π+ - h>;   (full)

from (prox) at u = π* for h and (nash):

    (1 + gβ) KL(π*‖h) = KL(π*‖π) - KL(h‖π) - gβ KL(h‖π*) + g <M(h - π), π* - h>.                        (half)

Couplings are bounded by game.smoothness and Pinsker: g <M(p - q), u - v> <= g √KL(p‖q) √KL(u‖v), in whichever
order of the arguments.
"""

from __future__ import annotations

import jax.numpy as jnp

from nlhf import egpo, nash_mirror_prox
from nlhf.logspace import kl
from proofs_checks.lemmas.bank import (
    EPSILON,
    KL_ERROR,
    Array,
    Case,
    Lemma,
    Sides,
    advantage_over,
    checks,
    distance,
    inner,
    kl_allowance,
    step,
)


def longest(case: Case) -> Array:
    """End of the proved range, ``2β + 2√(1 + β²)``, where g²/4 = 1 + gβ."""
    return 2 * case.game.beta + 2 * jnp.sqrt(1 + case.game.beta**2)


def extragradient(case: Case, g: Array) -> tuple[Array, Array]:
    """Return the half step h and π+, ``[A]`` log-probabilities, of mirror prox with composite step g."""
    method = nash_mirror_prox(g, case.game.beta)
    state = step(method, method.init(case.policy[None]), case.game)
    return state.half[0], state.policy[0]


def _sum_of_products(case: Case, log_first: Array, log_second: Array, vector: Array) -> tuple[Array, Array]:
    """``<vector, p - q>`` and how far rounding may move it."""
    value = inner(log_first, vector) - inner(log_second, vector)
    size = inner(log_first, jnp.abs(vector)) + inner(log_second, jnp.abs(vector))
    return value, case.policy.size * EPSILON * (size + 1)


def _identity(case: Case, terms: list[Array], coupling: tuple[Array, Array], moved: Array) -> Array:
    """Rounding of an identity: of its divergences, of its coupling, and of logs that differ by ``moved``."""
    total = sum(jnp.abs(term) for term in terms)
    shift = sum(kl_allowance(jnp.abs(term), case.delta) for term in terms)
    return KL_ERROR * total + coupling[1] + shift + case.delta * moved


def prox_three_point(case: Case) -> Sides:
    """(prox): the objective's excess over its minimum is (1 + gβ) KL(u‖z), having no other curvature."""
    log_ref, beta = case.game.log_ref[0], case.game.beta
    g = case.share * longest(case)
    half, _ = extragradient(case, g)
    u = case.other
    vector = g * advantage_over(case, case.policy)
    coupling = _sum_of_products(case, u, half, vector)
    pull = g * beta
    terms = [
        kl(u, case.policy),
        -kl(half, case.policy),
        pull * kl(u, log_ref),
        -pull * kl(half, log_ref),
    ]
    left = (1 + pull) * kl(u, half)
    allowed = _identity(case, [*terms, left], coupling, (1 + pull) * distance(u, half))
    right = sum(terms) - coupling[0]
    return Sides(jnp.abs(left - right), allowed, jnp.abs(left - right + terms[3]), allowed)


def full_identity(case: Case) -> Sides:
    """(full), in the module's docstring."""
    beta, g = case.game.beta, case.share * longest(case)
    half, after = extragradient(case, g)
    vector = g * (advantage_over(case, half) - advantage_over(case, case.policy))
    coupling = _sum_of_products(case, after, half, vector)
    terms = [
        kl(case.log_nash, case.policy),
        -(1 + g * beta) * kl(after, half),
        -kl(half, case.policy),
        -g * beta * kl(half, case.log_nash),
    ]
    left = (1 + g * beta) * kl(case.log_nash, after)
    # the payoffs against h and π are each rounded before they are subtracted
    moved = (1 + g * beta) * (distance(case.log_nash, after) + distance(after, half))
    allowed = _identity(case, [*terms, left], coupling, moved)
    right = sum(terms) + coupling[0]
    return Sides(jnp.abs(left - right), allowed, jnp.abs(left - right + 2 * coupling[0]), allowed)


def one_step(case: Case) -> Sides:
    """``KL(π*‖π+) <= KL(π*‖π)/(1 + gβ)``: in (full) the coupling is at most KL(h‖π) + (g²/4) KL(π+‖h)."""
    beta = case.game.beta

    def contracted(g: Array) -> tuple[Array, Array]:
        _, after = extragradient(case, g)
        return kl(case.log_nash, after), kl(case.log_nash, case.policy) / (1 + g * beta)

    g = case.share * longest(case)
    left, right = contracted(g)
    wrong_left, wrong_right = contracted(2 * g)
    return Sides(left, right, wrong_left, wrong_right, kl_allowance(left, case.delta))


def egpo_step(case: Case) -> Sides:
    """``KL(π*‖π+) <= (1 - ηβ) KL(π*‖π)`` for η <= 1/(β + 1/2): η = g/(1 + gβ) with g <= 2."""
    beta = case.game.beta

    def contracted(eta: Array) -> tuple[Array, Array]:
        method = egpo(eta, beta)
        after = step(method, method.init(case.policy[None]), case.game).policy[0]
        return kl(case.log_nash, after), (1 - eta * beta) * kl(case.log_nash, case.policy)

    left, right = contracted(case.share / (beta + 0.5))
    wrong_left, wrong_right = contracted(case.share / (beta + 0.25))
    return Sides(left, right, wrong_left, wrong_right, kl_allowance(left, case.delta))


def half_step(case: Case) -> Sides:
    """``(1 + gβ - g²/4) KL(π*‖h) <= KL(π*‖π)``: in (half) the coupling is <= KL(h‖π) + (g²/4) KL(π*‖h)."""
    beta, g = case.game.beta, case.share * longest(case)
    half, _ = extragradient(case, g)
    left, right = kl(case.log_nash, half), kl(case.log_nash, case.policy)
    factor, wrong = 1 + g * beta - g**2 / 4, 1 + g * beta + g**2 / 4
    allowance = wrong * kl_allowance(left, case.delta)
    return Sides(factor * left, right, wrong * left, right, allowance)


def half_step_sharp(case: Case) -> Sides:
    """``(1 + gβ - max(0, g²/4 - gβ)) KL(π*‖h) <= KL(π*‖π)``.

    As ``half_step``, but |π* - h|_1²/2 is at most both KL(π*‖h) and KL(h‖π*), and (half) has gβ KL(h‖π*) to
    spare. At g = 2 the factor is 4β, which beats ``half_step_doubling`` for β > 1/6.
    """
    beta = case.game.beta
    g = case.share * (4 * beta + 2 * jnp.sqrt(1 + 4 * beta**2))
    half, _ = extragradient(case, g)
    left, right = kl(case.log_nash, half), kl(case.log_nash, case.policy)
    factor = 1 + g * beta - jnp.maximum(0.0, g**2 / 4 - g * beta)
    wrong = 1 + g * beta
    return Sides(factor * left, right, wrong * left, right, wrong * kl_allowance(left, case.delta))


def half_step_doubling(case: Case) -> Sides:
    """``KL(π*‖h) <= (1 + g²/4)/(1 + gβ) KL(π*‖π)`` for every g, so at most twice KL(π*‖π) for g <= 2.

    With ρ = 1/(1 + gβ), d = π - π* and h_0 = softmax(log π + g M d), h is the mixture π*^(1-ρ) h_0^ρ, because
    π* is a fixed point; nash_md.mixture gives KL(π*‖h) <= ρ KL(π*‖h_0). And KL(π*‖h_0) = KL(π*‖π) - g <M d,
    π*> + log <π, e^(g M d)> <= KL(π*‖π) + g <M d, d> + g² span(M d)²/8 (Hoeffding), where <M d, d> = 0 and
    span(M d)² <= |d|_1² <= 2 KL(π*‖π).
    """
    before = kl(case.log_nash, case.policy)

    def sides(g: Array) -> tuple[Array, Array, Array]:
        half, _ = extragradient(case, g)
        scale = before / (1 + g * case.game.beta)
        return kl(case.log_nash, half), (1 + g**2 / 4) * scale, (1 + g**2 / 16) * scale

    pairs = zip(sides(2 * case.share), sides(2 * longest(case) * case.share), strict=True)
    left, right, wrong = (jnp.stack(pair) for pair in pairs)
    return Sides(left, right, left, wrong, kl_allowance(left, case.delta))


MIRROR_PROX = "composite mirror prox with game.smoothness and game.pinsker"
EXACT = "β > 0, exact payoffs"
RANGE = EXACT + ", g <= 2β + 2√(1 + β²)"

LEMMAS = (
    Lemma(
        prox_three_point,
        "nash_mirror_prox.three_point",
        "three-point identity of the objective",
        "(1 + gβ) KL(u‖h) = KL(u‖π) - KL(h‖π) + gβ [KL(u‖π_ref) - KL(h‖π_ref)] - g <Mπ, u - h>; error over "
        "rounding",
        RANGE + ", any u",
        "gβ KL(h‖π_ref) counted twice",
    ),
    Lemma(
        full_identity,
        "nash_mirror_prox.full_identity",
        "two prox steps and the equilibrium",
        "(1 + gβ) KL(π*‖π+) = KL(π*‖π) - (1 + gβ) KL(π+‖h) - KL(h‖π) - gβ KL(h‖π*) + g <M(h - π), π+ - h>; "
        "error over rounding",
        RANGE,
        "the coupling with the other sign",
    ),
    Lemma(
        one_step,
        "nash_mirror_prox.one_step",
        MIRROR_PROX,
        "KL(π*‖π+) <= KL(π*‖π)/(1 + gβ)",
        RANGE,
        "twice the step size, beyond the range",
    ),
    Lemma(
        egpo_step,
        "egpo.one_step",
        MIRROR_PROX,
        "KL(π*‖π+) <= (1 - ηβ) KL(π*‖π)",
        EXACT + ", η <= 1/(β + 1/2)",
        "η up to 1/(β + 1/4), beyond the range",
    ),
    Lemma(
        half_step,
        "nash_mirror_prox.half_step",
        MIRROR_PROX,
        "(1 + gβ - g²/4) KL(π*‖h) <= KL(π*‖π)",
        RANGE,
        "+ g²/4",
    ),
    Lemma(
        half_step_sharp,
        "nash_mirror_prox.half_step_sharp",
        MIRROR_PROX + ", Pinsker both ways round",
        "(1 + gβ - max(0, g²/4 - gβ)) KL(π*‖h) <= KL(π*‖π)",
        EXACT + ", g <= 4β + 2√(1 + 4β²)",
        "factor 1 + gβ at any g, as for g <= 4β",
    ),
    Lemma(
        half_step_doubling,
        "nash_mirror_prox.half_step_doubling",
        "nash_md.mixture, Hoeffding's lemma, skewness, game.payoff_span and game.pinsker",
        "KL(π*‖h) <= (1 + g²/4)/(1 + gβ) KL(π*‖π), so at most 2 KL(π*‖π) for g <= 2",
        EXACT + ", every g",
        "g²/16 for g²/4",
    ),
)
CHECKS = checks(LEMMAS)
