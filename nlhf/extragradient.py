"""What is promised of the extragradient family, whose members are one method up to the name of the step.

In the composite step g, ρ = 1/(1 + gβ) and KL_t = KL(π*‖π_t). All constants rest on two facts: a payoff
matrix has smoothness 1/2 from l1 to l-infinity, and the regularised game is strongly monotone with respect to
KL.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from nlhf.base import Array, Claim, Constants

Composite = Callable[[Any, Any], Any]
Range = Callable[[Any], tuple[Any, Any]]


def rate(constants: Constants, *, composite: Composite) -> Array:
    """``log(1 + gβ)``, in nats a step."""
    return jnp.log1p(composite(constants.step_size, constants.beta) * constants.beta)


def kl(count: Array, constants: Constants, *, composite: Composite) -> Array:
    """``ρ^t KL_0``."""
    return jnp.exp(-rate(constants, composite=composite) * count) * constants.kl_start


def half_kl(count: Array, constants: Constants, *, composite: Composite) -> Array:
    """``2 ρ^t KL_0``; the start itself, before a half step is made, has KL_0."""
    return 2 * kl(count, constants, composite=composite)


def exploitability(count: Array, constants: Constants, *, composite: Composite, share: float) -> Array:
    """``(1/g + ρ/(share β)) ρ^(t-1) KL_0`` from the first step on; before it there is no limit."""
    per_step = rate(constants, composite=composite)
    second = jnp.exp(-per_step) / (share * constants.beta)
    factor = 1 / composite(constants.step_size, constants.beta) + second
    bound = factor * kl(jnp.maximum(count - 1, 0), constants, composite=composite)
    return jnp.where(count == 0, jnp.inf, bound)


def span(count: Array, constants: Constants, *, composite: Composite) -> Array:
    """``ρ^t span_0 + (4/β) ρ^((t-1)/2) √KL_0``."""
    per_step = rate(constants, composite=composite)
    forgotten = jnp.exp(-per_step * count) * constants.span_start
    driven = 4 / constants.beta * jnp.exp(-0.5 * per_step * (count - 1)) * jnp.sqrt(constants.kl_start)
    return forgotten + driven


def half_rate(constants: Constants, *, composite: Composite) -> Array:
    """Half of ``rate``: the span is of the order of the root of the divergence."""
    return 0.5 * rate(constants, composite=composite)


def extragradient_claims(
    method: str,
    source: str,
    composite: Composite,
    steps: tuple[str, str],
    kl_range: Range,
    other_range: Range,
) -> tuple[Claim, ...]:
    """The five claims of the family, for one member.

    ``KL_t <= ρ^t KL_0``: composite mirror prox and Pinsker. The half step is the geometric mixture of π*
    (weight 1 - ρ) and softmax(log π + g (P - 1/2)(π - π*)), so that, by Hoeffding's lemma, ``KL(π*‖h) <=
    ρ (1 + g²/4) KL(π*‖π)``: at most 2 KL for g <= 2. On it rest the exploitability of the half iterate
    (``KL(π*‖π)/g + KL(π*‖h)/(4β)`` in one step) and the span, which obeys ``span_{t+1} <= ρ span_t +
    ρ g ‖h - π*‖_1``. Every link is a row of its own in the ledger of ``proofs_checks``.

    Args:
      method: the algorithm's name.
      source: where the method and the order of its rate come from.
      composite: ``composite(step_size, beta) -> g``.
      steps: the two ranges that follow, in words and the algorithm's own symbols.
      kl_range: step sizes at which the contraction of KL is proved.
      other_range: step sizes with g <= 2.
    """

    def claim(name: str, status: str, statement: str, metric: str, iterate: str, **rest: Any) -> Claim:
        return Claim(
            name=f"{method}.{name}",
            source=source,
            status=status,
            statement=statement,
            metric=metric,
            iterate=iterate,
            bound=functools.partial(rest.pop("bound"), composite=composite),
            rate_kind="linear",
            rate=functools.partial(rest.pop("rate", rate), composite=composite),
            step_size_range=rest.pop("step_size_range", other_range),
        )

    return (
        claim(
            "kl",
            "derived",
            f"KL(π*‖π_t) <= ρ^t KL(π*‖π_0) for {steps[0]}",
            "kl_to_nash",
            "last",
            bound=kl,
            step_size_range=kl_range,
        ),
        claim(
            "half_kl",
            "derived",
            f"KL(π*‖h_t) <= 2 ρ^t KL(π*‖π_0) for {steps[1]}",
            "kl_to_nash",
            "half",
            bound=half_kl,
        ),
        claim(
            "half_exploitability",
            "derived",
            f"exploitability(h_t) <= (1/g + ρ/(2β)) ρ^(t-1) KL(π*‖π_0) for {steps[1]}",
            "exploitability",
            "half",
            bound=functools.partial(exploitability, share=2.0),
        ),
        claim(
            "exploitability",
            "derived",
            f"exploitability(π_t) <= (1/g + ρ/(4β)) ρ^(t-1) KL(π*‖π_0) for {steps[1]}, t >= 1",
            "exploitability",
            "last",
            bound=functools.partial(exploitability, share=4.0),
        ),
        claim(
            "span",
            "derived",
            f"span(log π_t - log π*) <= ρ^t span_0 + (4/β) ρ^((t-1)/2) √KL(π*‖π_0) for {steps[1]}",
            "span_to_nash",
            "last",
            bound=span,
            rate=half_rate,
        ),
    )
