"""Lemmas behind the rates, on small games in ball arithmetic: every ratio is certain, without rounding.

Nothing of the algorithms' code is used: a proximal step is written from its closed form. ``worst`` is the
upper end of the worst ball, the control's figure a lower end, so that both verdicts are certain for the
instances drawn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flint import arb, ctx

from proofs_checks.certificates.balls import PRECISION, Balls, balls
from proofs_checks.certificates.certify import above, below
from proofs_checks.certificates.enclosure import kl, normalise, probabilities
from proofs_checks.certificates.planted import Instance, Played, draw, play
from proofs_checks.rows import Check, Effort, Outcome, check_of

BITS = 512
IDENTITY_BITS = 256  # an identity is held to 2^-256 of its terms


class Drawn(NamedTuple):
    """One instance in balls, with a second policy that has nothing to do with the game."""

    game: Played  # advantage, reference, equilibrium, start and β
    log_other: Balls  # ``[A]``


Ratio = Callable[[Drawn], arb]


def prox(game: Played, log_centre: Balls, log_opponent: Balls, step_size: arb) -> Balls:
    """Return the composite step ``(log π + gβ log π_ref + g A q)/(1 + gβ)``, normalised."""
    pull = step_size * game.beta
    payoff = game.advantage @ probabilities(log_opponent)
    return normalise((log_centre + pull * game.log_ref + step_size * payoff) / (1 + pull))


def _distance(log_policy: Balls, log_other: Balls) -> arb:
    terms = (abs(entry) for entry in probabilities(log_policy) - probabilities(log_other))
    return sum(terms, arb(0))


def _pinsker(drawn: Drawn, factor: int = 2) -> arb:
    log_start = drawn.game.log_start
    return _distance(log_start, drawn.log_other) ** 2 / (factor * kl(log_start, drawn.log_other))


def _smoothness(drawn: Drawn, constant: float = 0.5) -> arb:
    game = drawn.game
    first = probabilities(game.log_start) - probabilities(drawn.log_other)
    second = probabilities(game.log_nash) - probabilities(game.log_ref)
    product = abs(second @ (game.advantage @ first))
    lengths = _distance(game.log_start, drawn.log_other) * _distance(game.log_nash, game.log_ref)
    return product / (constant * lengths)


def _reference(drawn: Drawn, factor: int = 2) -> arb:
    return factor * drawn.game.beta * kl(drawn.game.log_nash, drawn.game.log_ref)


def _shrinks(game: Played, log_after: Balls, step_size: arb) -> arb:
    before, after = kl(game.log_nash, game.log_start), kl(game.log_nash, log_after)
    return (1 + step_size * game.beta) * after / before


def _extragradient(drawn: Drawn, *, centre: str = "start") -> arb:
    game = drawn.game
    step_size = 2 * game.beta + 2 * (1 + game.beta**2).sqrt()
    half = prox(game, game.log_start, game.log_start, step_size)
    after = prox(game, game.log_start if centre == "start" else half, half, step_size)
    return _shrinks(game, after, step_size)


def _mirror_descent(drawn: Drawn, multiple: int = 4) -> arb:
    game = drawn.game
    step_size = multiple * game.beta
    return _shrinks(game, prox(game, game.log_start, game.log_start, step_size), step_size)


def _three_point(drawn: Drawn, *, weighted: bool = True) -> arb:
    game, log_other = drawn.game, drawn.log_other
    step_size = 1 / game.beta
    payoff = game.advantage @ probabilities(log_other)
    after = prox(game, game.log_start, log_other, step_size)
    pull = step_size * game.beta

    def terms(log_policy: Balls) -> list[arb]:
        gain = step_size * (probabilities(log_policy) @ payoff)
        return [gain, -pull * kl(log_policy, game.log_ref), -kl(log_policy, game.log_start)]

    lost = ((1 + pull) if weighted else 1) * kl(game.log_nash, after)
    best, other = terms(after), terms(game.log_nash)
    size = sum((abs(term) for term in (*best, *other, lost)), arb(0))
    return abs(sum(best, arb(0)) - sum(other, arb(0)) - lost) / size * arb(2) ** IDENTITY_BITS


def _best_response(drawn: Drawn, constant: int = 2) -> arb:
    game = drawn.game

    def span(difference: Balls) -> arb:
        return functools.reduce(arb.max, difference) - functools.reduce(arb.min, difference)

    replies = [
        normalise(game.log_ref + game.advantage @ probabilities(log_policy) / game.beta)
        for log_policy in (game.log_start, drawn.log_other)
    ]
    return constant * game.beta * span(replies[0] - replies[1]) / span(game.log_start - drawn.log_other)


def _judge(name: str, right: Ratio, wrong: Ratio, control: str, effort: Effort) -> Outcome:
    rng = effort.rng(name)
    worst = control_worst = -np.inf
    witness: dict[str, Any] = {}
    count = effort.pick(200, 3000)
    with PRECISION, ctx.workprec(BITS):
        for index in range(count):
            instance = draw(rng, index)
            # near the start the distances are ratios of small numbers, far from it they saturate: both
            scale = 10.0 ** -(index % 5)
            other = rng.normal(size=len(instance.matrix))
            drawn = _near(instance, other * scale)
            ratio = above(right(drawn))
            if ratio > worst:
                worst, witness = ratio, {**instance._asdict(), "scale": scale}
            control_worst = max(control_worst, below(wrong(drawn)))
    return Outcome(count, float(worst), control, float(control_worst), 1.0, witness, {"bits": float(BITS)})


def _near(instance: Instance, move: np.ndarray) -> Drawn:
    """Put the start near the equilibrium and the other policy near the start, by the size of the move."""
    game = play(instance._replace(step_size=0.0, share=None), lambda beta: beta)
    log_start = normalise(game.log_nash + balls(move))
    return Drawn(game._replace(log_start=log_start), normalise(log_start + balls(move[::-1].copy())))


def _check(
    name: str,
    statement: str,
    assumptions: str,
    source: str,
    right: Ratio,
    wrong: Ratio,
    control: str,
    kind: str = "lemma",
    subject: str = "game",
) -> Check:
    limits = f"{assumptions}; A <= 5, in ball arithmetic, limit 1 without allowance"
    judge = functools.partial(_judge, name, right, wrong, control)
    return check_of(name, statement, limits, judge, source=source, kind=kind, subject=subject)


CHECKS: tuple[Check, ...] = (
    _check(
        "certificate.pinsker",
        "|p - q|_1² <= 2 KL(p‖q)",
        "p, q with full support",
        "Pinsker's inequality",
        _pinsker,
        functools.partial(_pinsker, factor=1),
        "without the factor 2",
    ),
    _check(
        "certificate.smoothness",
        "|<u - v, A (p - q)>| <= |u - v|_1 |p - q|_1 / 2",
        "entries of A in [-1/2, 1/2]",
        "Hölder's inequality",
        _smoothness,
        functools.partial(_smoothness, constant=0.25),
        "with 1/4 in place of 1/2",
    ),
    _check(
        "certificate.kl_to_reference",
        "KL(π*‖π_ref) <= 1/(2β)",
        "π* the regularised Nash policy, β > 0",
        "derived: π* is a best response to itself, and its payoff is at most 1/2",
        _reference,
        functools.partial(_reference, factor=4),
        "with 1/(4β)",
    ),
    _check(
        "certificate.three_point",
        "F(π+) - F(u) = (1 + gβ) KL(u‖π+), F(u) = g <u, A q> - gβ KL(u‖π_ref) - KL(u‖π)",
        "π+ the composite step from π against q; within 2^-256 of the sum of the terms",
        "derived: the objective of a step is relatively strongly concave, with equality",
        _three_point,
        functools.partial(_three_point, weighted=False),
        "without the weight 1 + gβ",
        kind="identity",
        subject="proximal_point",
    ),
    _check(
        "certificate.mirror_descent_contraction",
        "KL(π*‖π+) <= KL(π*‖π) / (1 + gβ)",
        "one composite step against π itself, at the end g = 4β of its range",
        "derived: three-point identity, smoothness 1/2 and Pinsker",
        _mirror_descent,
        functools.partial(_mirror_descent, multiple=64),
        "at sixteen times the step",
        subject="online_mirror_descent",
    ),
    _check(
        "certificate.extragradient_contraction",
        "KL(π*‖π+) <= KL(π*‖π) / (1 + gβ)",
        "half step from π against π, full step from π against the half, at g = 2β + 2√(1 + β²)",
        "derived: two three-point identities, smoothness 1/2 and Pinsker",
        _extragradient,
        functools.partial(_extragradient, centre="half"),
        "the full step made from the half step's policy",
        subject="nash_mirror_prox",
    ),
    _check(
        "certificate.best_response_contraction",
        "span(log BR(p) - log BR(q)) <= span(log p - log q) / (2β)",
        "BR(q) = π_ref exp(A q/β), normalised",
        "derived: |p - q|_1 <= span/2",
        _best_response,
        functools.partial(_best_response, constant=4),
        "with 1/(4β)",
    ),
)
