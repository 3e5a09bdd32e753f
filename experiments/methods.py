"""The methods as figures show them: one hyper-parameter rule, label and colour each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from experiments.defaults import self_play_step
from nlhf import algorithms
from nlhf.base import Algorithm


class Method(NamedTuple):
    """An algorithm with the step size that its theorem recommends, as a function of β.

    Attributes:
      label: name in legends and tables.
      make: ``make(beta) -> Algorithm``; ``beta`` may be a traced scalar.
      colour: one of the Okabe-Ito colours, which colour-blind readers can tell apart.
      queries: payoff queries a step.
    """

    label: str
    make: Callable[[Any], Algorithm]
    colour: str
    queries: int


PROX_INNER = 10


REGULARISED: dict[str, Method] = {
    "online_mirror_descent": Method(
        "Online mirror descent (online IPO)",
        lambda beta: algorithms.online_mirror_descent(self_play_step(beta), beta),
        "#999999",
        1,
    ),
    "nash_md": Method("Nash-MD, ηβ = 0.05", lambda beta: algorithms.nash_md(0.05 / beta, beta), "#E69F00", 1),
    "nash_md_decreasing": Method(
        "Nash-MD, decreasing", lambda beta: algorithms.nash_md(None, beta), "#8C564B", 1
    ),
    "ipo_md": Method(
        "IPO-MD, mixture 1/8",
        lambda beta: algorithms.ipo_md(self_play_step(beta), beta, 0.125),
        "#CC79A7",
        1,
    ),
    "nash_prox": Method(
        f"Nash Prox, η = β, {PROX_INNER} inner steps",
        lambda beta: algorithms.nash_prox(beta, beta, PROX_INNER),
        "#56B4E9",
        PROX_INNER,
    ),
    "omwu": Method(
        "OMWU", lambda beta: algorithms.omwu(jnp.minimum(1 / (2 * beta + 1), 0.5), beta), "#009E73", 1
    ),
    "egpo": Method(
        "EGPO, η = 1/(2β + 2)", lambda beta: algorithms.egpo(1 / (2 * beta + 2), beta), "#D55E00", 2
    ),
    "nash_mirror_prox": Method(
        "Nash Mirror Prox, g = 2",
        lambda beta: algorithms.nash_mirror_prox(2.0 + 0 * beta, beta),
        "#0072B2",
        2,
    ),
}


def _magnet_weight(beta: Any) -> float:
    del beta  # MPO solves the unregularised game; its magnet has a weight of its own
    return 0.1


UNREGULARISED: dict[str, Method] = {
    "online_mirror_descent": Method(
        "Multiplicative weights, average",
        lambda beta: algorithms.online_mirror_descent(0.1, beta),
        "#999999",
        1,
    ),
    "omwu": Method("OMWU, average", lambda beta: algorithms.omwu(0.5, beta), "#009E73", 1),
    "nash_mirror_prox": Method(
        "Mirror prox, average", lambda beta: algorithms.nash_mirror_prox(2.0, beta), "#0072B2", 2
    ),
    "omwu_last": Method("OMWU, last iterate", lambda beta: algorithms.omwu(0.5, beta), "#66C2A5", 1),
    "mpo_last": Method(
        "MPO, last iterate",
        lambda beta: algorithms.mpo(4 * _magnet_weight(beta), _magnet_weight(beta), 100),
        "#000000",
        1,
    ),
}
