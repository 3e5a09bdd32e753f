"""The links of the one-query methods: Nash-MD's two lemmas and its step, self-play and the best-response map.

Write M = P - 1/2 (skew, entries within 1/2), π* for the regularised Nash policy, π for the policy before a
step and π+ after it. The steps are those of ``nlhf.algorithms``; the proofs are in the docstrings.
"""

from __future__ import annotations

import jax.numpy as jnp

from nlhf import nash_md, online_mirror_descent
from nlhf.logspace import geometric_mixture, kl, normalise, span
from proofs_checks.lemmas.bank import (
    Array,
    Case,
    Lemma,
    Sides,
    advantage_over,
    checks,
    difference,
    inner,
    kl_allowance,
    step,
)


def mixture(case: Case) -> Sides:
    """``KL(p‖m) + a KL(m‖π_ref) <= a KL(p‖π_ref) + (1 - a) KL(p‖π)``, m = π^(1-a) π_ref^a normalised.

    With Z = Σ π^(1-a) π_ref^a: KL(p‖m) = a KL(p‖π_ref) + (1 - a) KL(p‖π) + log Z, and the same at p = m gives
    log Z = -a KL(m‖π_ref) - (1 - a) KL(m‖π); the last term is dropped.
    """
    log_ref, a = case.game.log_ref[0], case.share
    m = geometric_mixture(case.policy, log_ref, a)
    to_mixture, to_reference, to_policy = (
        jnp.stack([kl(p, end) for p in (case.log_nash, case.other)]) for end in (m, log_ref, case.policy)
    )
    first, second = to_mixture, kl(m, log_ref)
    right = a * to_reference + (1 - a) * to_policy
    allowance = kl_allowance(first, case.delta) + kl_allowance(second, case.delta)
    return Sides(first + a * second, right, first + second, right, allowance)


def mirror_step(case: Case) -> Sides:
    """``KL(p‖m+) <= KL(p‖m) - <v, p - m> + 2 |v|_∞²``, m+ = softmax(log m + v), here v = η M m.

    Exactly: KL(p‖m+) = KL(p‖m) - <v, p> + log <m, e^v>, and log <m, e^v> <= <v, m> + |v|_∞²/2 (Hoeffding).
    """
    log_ref, eta = case.game.log_ref[0], case.share / case.game.beta
    m = geometric_mixture(case.policy, log_ref, case.share)
    v = eta * advantage_over(case, m)
    right = kl(case.other, m) - (inner(case.other, v) - inner(m, v))
    left = kl(case.other, normalise(m + v))
    largest = jnp.max(jnp.where(jnp.isfinite(log_ref), jnp.abs(v), 0.0))
    allowance = kl_allowance(left, case.delta)
    return Sides(left, right + 2 * largest**2, left, right, allowance)


def _nash_md(case: Case) -> tuple[Array, Array, Array]:
    beta = case.game.beta
    method = nash_md(case.share / beta, beta)
    after = step(method, method.init(case.policy[None]), case.game).policy[0]
    return kl(case.log_nash, after), (1 - case.share) * kl(case.log_nash, case.policy), case.share / beta


def nash_md_step(case: Case) -> Sides:
    """``KL(π*‖π+) <= (1 - ηβ) KL(π*‖π) + 2η²``: both lemmas at p = π*.

    What is left, η [β KL(π*‖π_ref) - β KL(m‖π_ref) - <M m, π*>], is -ηβ KL(m‖π*) by the equilibrium.
    """
    left, kept, eta = _nash_md(case)
    return Sides(left, kept + 2 * eta**2, left, kept, kl_allowance(left, case.delta))


def nash_md_step_sharp(case: Case) -> Sides:
    """``KL(π*‖π+) <= (1 - ηβ) KL(π*‖π) + η²/8``.

    Payoffs have a span of at most 1 and a mean of 0 under m, so log <m, e^(η M m)> <= η²/8 (Hoeffding), where
    Lemma 2 has 2η².
    """
    left, kept, eta = _nash_md(case)
    return Sides(left, kept + eta**2 / 8, left, kept + eta**2 / 128, kl_allowance(left, case.delta))


def self_play_step(case: Case) -> Sides:
    """``KL(π*‖π+) <= KL(π*‖π) / (1 + gβ)`` for g <= 4β, so by 1/(1 + 4β²) at the end; η = g/(1 + gβ).

    (1 + gβ) KL(π*‖π+) = KL(π*‖π) - KL(π+‖π) - gβ KL(π+‖π*) + g <M(π+ - π), π* - π+>. The last term is at most
    KL(π+‖π) + (g²/4) |π* - π+|_1²/2, and |π* - π+|_1²/2 <= KL(π+‖π*).
    """
    beta = case.game.beta

    def contracted(g: Array) -> tuple[Array, Array]:
        method = online_mirror_descent(g / (1 + g * beta), beta)
        after = step(method, method.init(case.policy[None]), case.game).policy[0]
        return kl(case.log_nash, after), kl(case.log_nash, case.policy) / (1 + g * beta)

    g = 4 * beta * case.share
    left, right = contracted(g)
    wrong_left, wrong_right = contracted(2 * (beta + jnp.sqrt(1 + beta**2)))
    return Sides(left, right, wrong_left, wrong_right, kl_allowance(left, case.delta))


def best_response_span(case: Case) -> Sides:
    """``span(log BR(π) - log π*) <= span(log π - log π*) / (2β)``: a step η = 1/β of self-play is BR.

    log BR(π) - log π* = M(π - π*)/β + constant, its span is at most |π - π*|_1/β, and
    |p - q|_1 <= 2 tanh(span(log p - log q)/4) <= span/2.
    """
    beta = case.game.beta
    method = online_mirror_descent(1 / beta, beta)
    after = step(method, method.init(case.policy[None]), case.game).policy[0]
    left = span(difference(after, case.log_nash))
    before = span(difference(case.policy, case.log_nash))
    return Sides(left, before / (2 * beta), left, before / (4 * beta), 4 * case.delta)


EXACT = "β > 0, exact payoffs"

LEMMAS = (
    Lemma(
        mixture,
        "nash_md.mixture",
        "arXiv:2312.00886, Lemma 1",
        "KL(p‖m) <= ηβ KL(p‖π_ref) + (1 - ηβ) KL(p‖π) - ηβ KL(m‖π_ref), m = π^(1-ηβ) π_ref^ηβ normalised",
        "0 <= ηβ <= 1, any p",
        "the last term with factor 1",
        status="theorem",
    ),
    Lemma(
        mirror_step,
        "nash_md.mirror_step",
        "arXiv:2312.00886, Lemma 2 with σ = 1, q = ∞",
        "KL(p‖m+) <= KL(p‖m) - <v, p - m> + 2 |v|_∞², m+ = softmax(log m + v)",
        "any p and v",
        "without the last term",
        status="theorem",
    ),
    Lemma(
        nash_md_step,
        "nash_md.one_step",
        "arXiv:2312.00886, Theorem 1, inequality (6)",
        "KL(π*‖π+) <= (1 - ηβ) KL(π*‖π) + 2η²",
        "0 < ηβ <= 1, exact payoffs",
        "without 2η²",
        status="theorem",
    ),
    Lemma(
        nash_md_step_sharp,
        "nash_md.one_step_sharp",
        "inequality (6) of arXiv:2312.00886 with Hoeffding's lemma in place of Lemma 2",
        "KL(π*‖π+) <= (1 - ηβ) KL(π*‖π) + η²/8",
        "0 < ηβ <= 1, exact payoffs",
        "η²/128",
    ),
    Lemma(
        self_play_step,
        "online_mirror_descent.one_step",
        "one proximal step, smoothness and Pinsker",
        "KL(π*‖π+) <= KL(π*‖π)/(1 + gβ) for g <= 4β",
        EXACT + ", η = g/(1 + gβ)",
        "the largest step of mirror prox, beyond the range",
    ),
    Lemma(
        best_response_span,
        "online_mirror_descent.best_response_span",
        "game.payoff_span",
        "span(log BR(π) - log π*) <= span(log π - log π*)/(2β)",
        EXACT + "; a contraction for β > 1/2",
        "1/(4β)",
    ),
)
CHECKS = checks(LEMMAS)
