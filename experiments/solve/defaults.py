"""The hyper-parameters that the command line takes when none are given: one rule for every algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from experiments.output.text import unknown
from nlhf import algorithms
from nlhf.algorithms import ALGORITHMS
from nlhf.base import Algorithm
from nlhf.errors import InputError

MIXTURE = 0.125  # the best player of the published table of Nash-MD mixed with this exponent
MAGNET_WEIGHT = 0.1  # of mpo where beta is 0; slowly moved weak magnets solved the hardest of our games best
UNREGULARISED_STEP = 0.1  # of multiplicative weights, whose average obeys a bound at every step size
INNER_DIGITS = 7  # nash_prox solves an inner game until its distance has shrunk by this power of ten
MAGNET_SHRINK = 20.0  # mpo moves its magnet once a period has shrunk the distance this much
SMALLEST, LARGEST = 1e-15, 1e15  # of beta and step size: beyond, sums and squares lose or overflow float64
MAXIMUM_STEPS = 1_000_000  # of an inner game or a period: beyond, a run ends before anything has moved


class Rule(NamedTuple):
    """How to choose hyper-parameters.

    Attributes:
      step_size: ``step_size(beta)``, the end of the range that the algorithm's claim covers, where the
        proved rate is fastest; ``None`` for a schedule of the algorithm's own.
      make: ``make(beta, step_size) -> Algorithm``.
      zero: whether the rule holds at beta = 0.
    """

    step_size: Callable[[float], float | None]
    make: Callable[[float, float | None], Algorithm]
    zero: bool


def self_play_step(beta: float) -> float:
    """Largest proved step of one-query self-play in explicit form, ``4β / (1 + 4β²)``."""
    return 4 * beta / (1 + 4 * beta**2)


def num_inner(beta: float, step_size: float) -> int:
    """Inner steps of ``nash_prox`` after which its inner game is solved to seven digits; 10 at η = β -> 0."""
    weight = beta * (1 + step_size) / step_size
    steps = math.ceil(INNER_DIGITS * math.log(10) / math.log1p(4 * weight**2) - 0.1)
    if steps > MAXIMUM_STEPS:
        raise InputError(
            f"beta is {beta:g} and the step size {step_size:g}, but then nash_prox needs {steps:.1e} inner "
            f"steps, more than {MAXIMUM_STEPS}; raise beta, or lower the step size"
        )
    return steps


def period(weight: float) -> int:
    """Steps of ``mpo`` that shrink the distance to a period's own equilibrium twentyfold, at g = 4 weight."""
    steps = math.ceil(math.log(MAGNET_SHRINK) / math.log1p(4 * weight**2))
    if steps > MAXIMUM_STEPS:
        raise InputError(
            f"beta is {weight:g}, but then mpo moves its magnet once in {steps:.1e} steps, more than "
            f"{MAXIMUM_STEPS}; raise beta, or give 0 for a magnet of {MAGNET_WEIGHT:g}"
        )
    return steps


RULES: dict[str, Rule] = {
    "online_mirror_descent": Rule(
        lambda beta: self_play_step(beta) or UNREGULARISED_STEP,
        lambda beta, step: algorithms.online_mirror_descent(step, beta),
        True,
    ),
    "nash_md": Rule(lambda beta: None, lambda beta, step: algorithms.nash_md(step, beta), False),
    "nash_mirror_prox": Rule(
        lambda beta: 2 * beta + 2 * math.sqrt(1 + beta**2),
        lambda beta, step: algorithms.nash_mirror_prox(step, beta),
        True,
    ),
    "nash_prox": Rule(
        lambda beta: beta,
        lambda beta, step: algorithms.nash_prox(step, beta, num_inner(beta, step or beta)),
        False,
    ),
    "egpo": Rule(lambda beta: 1 / (beta + 0.5), lambda beta, step: algorithms.egpo(step, beta), True),
    "omwu": Rule(
        lambda beta: min(1 / (2 * beta + 1), 0.5), lambda beta, step: algorithms.omwu(step, beta), True
    ),
    "mpo": Rule(
        lambda beta: 4 * (beta or MAGNET_WEIGHT),
        lambda beta, step: algorithms.mpo(step, beta or MAGNET_WEIGHT, period(beta or MAGNET_WEIGHT)),
        True,
    ),
    "ipo_md": Rule(self_play_step, lambda beta, step: algorithms.ipo_md(step, beta, MIXTURE), False),
}


def default(name: str, beta: float, step_size: float | None = None) -> Algorithm:
    """Make an algorithm with step size and other hyper-parameters inside the range its claims cover.

    What a user would get wrong: ``mpo`` solves the unregularised game, and its ``beta`` is the weight of
    its magnet (0 takes 0.1). ``nash_md`` without a step size takes its theorem's decreasing schedule.

    Args:
      name: a key of ``nlhf.algorithms.ALGORITHMS``.
      beta: KL coefficient, 0 or in [1e-15, 1e15].
      step_size: replaces the default; in [1e-15, 1e15], in the algorithm's own form (explicit,
        composite or proximal).

    Returns:
      The algorithm.

    Raises:
      InputError: on an unknown name, a beta the algorithm has no rule for, a number out of range, more than a
        million inner steps or steps a period.

    >>> from nlhf.base import hyper
    >>> hyper(default("egpo", 0.5))
    {'step_size': 1.0, 'beta': 0.5}
    """
    if name not in RULES:
        raise InputError(unknown(name, tuple(ALGORITHMS), "algorithm"))
    if not 0 <= beta < math.inf:
        raise InputError(f"beta is {beta:g}, but a KL coefficient is finite and >= 0; give another beta")
    if beta != 0 and not SMALLEST <= beta <= LARGEST:
        raise InputError(
            f"beta is {beta:g}, but it is 0 or in [{SMALLEST:g}, {LARGEST:g}]; give another beta"
        )
    if step_size is not None and not SMALLEST <= step_size <= LARGEST:
        raise InputError(
            f"the step size is {step_size:g}, but it is in [{SMALLEST:g}, {LARGEST:g}]; give another, "
            "or leave it out"
        )
    rule = RULES[name]
    if beta == 0 and not rule.zero:
        able = ", ".join(other for other in RULES if RULES[other].zero)
        raise InputError(
            f"beta is 0, but {name} needs a game with beta > 0; raise beta, or take one of {able}"
        )
    return rule.make(beta, rule.step_size(beta) if step_size is None else step_size)
