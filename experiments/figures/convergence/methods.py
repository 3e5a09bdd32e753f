"""The methods as figures show them: hyper-parameters as a function of β, label and colour each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.solve.defaults import default
from nlhf import algorithms
from nlhf.base import Algorithm


class Method(NamedTuple):
    """An algorithm with its hyper-parameters as a function of β.

    Attributes:
      label: name in legends and tables.
      make: ``make(beta) -> Algorithm``.
      colour: colour-blind readers can tell it from the others.
      queries: payoff queries a step, to give all methods the same budget.
      marked: drawn as marks instead of a line, where it lies on another curve.
    """

    label: str
    make: Callable[[float], Algorithm]
    colour: str
    queries: int
    marked: bool = False


PROX_INNER = 10  # enough for every β of the figure, so that they share one compilation

REGULARISED: dict[str, Method] = {
    "online_mirror_descent": Method(
        "Online mirror descent (online IPO)",
        lambda beta: default("online_mirror_descent", beta),
        "#999999",
        1,
    ),
    "nash_md": Method("Nash-MD, ηβ = 0.05", lambda beta: default("nash_md", beta, 0.05 / beta), "#E69F00", 1),
    "nash_md_decreasing": Method(
        "Nash-MD, decreasing step", lambda beta: default("nash_md", beta), "#8C564B", 1
    ),
    "ipo_md": Method("IPO-MD, mixture 1/8", lambda beta: default("ipo_md", beta), "#CC79A7", 1),
    "nash_prox": Method(
        f"Nash Prox, η = β, {PROX_INNER} inner steps",
        lambda beta: algorithms.nash_prox(beta, beta, PROX_INNER),
        "#56B4E9",
        PROX_INNER,
    ),
    "omwu": Method("OMWU", lambda beta: default("omwu", beta), "#009E73", 1),
    "nash_mirror_prox": Method(
        "Nash Mirror Prox, g = 2", lambda beta: default("nash_mirror_prox", beta, 2.0), "#0072B2", 2
    ),
    "egpo": Method("EGPO, η = 1/(β + 1/2)", lambda beta: default("egpo", beta), "#D55E00", 2, marked=True),
}

UNREGULARISED: dict[str, Method] = {
    "online_mirror_descent": Method(
        "Multiplicative weights, average", lambda beta: default("online_mirror_descent", beta), "#999999", 1
    ),
    "omwu": Method("OMWU, average", lambda beta: default("omwu", beta), "#009E73", 1),
    "nash_mirror_prox": Method(
        "Mirror prox, average", lambda beta: default("nash_mirror_prox", beta, 2.0), "#0072B2", 2
    ),
    "omwu_last": Method("OMWU, last iterate", lambda beta: default("omwu", beta), "#66C2A5", 1),
    "mpo_last": Method("MPO, last iterate", lambda beta: default("mpo", beta), "#000000", 1),
}


def stack(method: Method, betas: Sequence[float]) -> Algorithm:
    """Return one batched algorithm for several β, as ``jax.vmap`` over its factory would."""
    each = [method.make(beta) for beta in betas]
    return jax.tree.map(lambda *values: jnp.stack([jnp.asarray(value) for value in values]), *each)
