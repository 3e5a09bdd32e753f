"""The methods as the figure shows them: hyper-parameters as a function of β, label and colour each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.figures.shared import palette
from nlhf.base import Algorithm
from nlhf.method import default, find


class Method(NamedTuple):
    """An algorithm with its hyper-parameters as a function of β."""

    label: str  # name in legends and tables
    make: Callable[[float], Algorithm]  # ``make(beta) -> Algorithm``
    colour: str  # that of the method in every figure
    queries: int  # payoff queries a step, to give all methods the same budget
    wide: bool = False  # drawn as a wide line under the others, where another curve lies on it
    # ``temperature(beta, hyper-parameters)``: where its limit is the best response at β to the Nash policy of
    # that other temperature
    temperature: Callable[[Any, Mapping[str, Any]], Any] | None = None


def shown(
    name: str, label: str = "", make: Callable[[float], Algorithm] | None = None, **rest: Any
) -> Method:
    """Return a line of the figure, made from the record of an algorithm.

    Args:
      name: as in ``nlhf.find``.
      label: what stands behind the method's name; alone where it starts with a capital.
      make: ``None`` for the defaults of the method.
    """
    record, style = find(name), palette.style(name)
    label = label if label[:1].isupper() else style.label + label
    said = record.queries if isinstance(record.queries, int) else 1
    colour, queries = rest.pop("colour", style.colour), rest.pop("queries", said)
    return Method(label, make or partial(default, record), colour, queries, **rest)


PROX_INNER = 10  # enough for every β of the figure, so that they share one compilation

REGULARISED: dict[str, Method] = {
    "online_mirror_descent": shown("online_mirror_descent", " (online IPO)"),
    "nash_md": shown(
        "nash_md",
        ", ηβ = 0.05",
        lambda beta: default("nash_md", beta, 0.05 / beta),
        temperature=lambda betas, hyper: betas / (1 - hyper["step_size"] * betas),
    ),
    "nash_md_decreasing": shown("nash_md", ", decreasing step", colour=palette.colour("nash_md_decreasing")),
    "ipo_md": shown(
        "ipo_md", ", mixture 1/8", temperature=lambda betas, hyper: betas / (1 - hyper["mixture"])
    ),
    "nash_prox": shown(
        "nash_prox",
        f", η = β, {PROX_INNER} inner steps",
        lambda beta: default("nash_prox", beta, num_inner=PROX_INNER),
        queries=PROX_INNER,
    ),
    "omwu": shown("omwu"),
    "nash_mirror_prox": shown(
        "nash_mirror_prox", ", g = 2", lambda beta: default("nash_mirror_prox", beta, 2.0)
    ),
    "egpo": shown("egpo", ", η = 1/(β + 1/2)", wide=True),
}

UNREGULARISED: dict[str, Method] = {
    "online_mirror_descent": shown("online_mirror_descent", "Multiplicative weights, average"),
    "omwu": shown("omwu", ", average"),
    "nash_mirror_prox": shown(
        "nash_mirror_prox", "Mirror prox, average", lambda beta: default("nash_mirror_prox", beta, 2.0)
    ),
    "omwu_last": shown("omwu", ", last iterate", colour=palette.colour("omwu_last")),
    "mpo_last": shown("mpo", ", last iterate"),
}


def regularised(added: Sequence[str] = ()) -> dict[str, Method]:
    """Return the methods of the regularised games, with those that are asked for by name or place."""
    return REGULARISED | {name: shown(name) for name in added}


def stack(method: Method, betas: Sequence[float]) -> Algorithm:
    """Return one batched algorithm for several β, as ``jax.vmap`` over its factory would."""
    each = [method.make(beta) for beta in betas]
    return jax.tree.map(lambda *values: jnp.stack([jnp.asarray(value) for value in values]), *each)
