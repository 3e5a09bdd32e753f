"""IPO-MD: mirror steps from the policy, against the geometric mixture of policy and reference."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.algorithms.online_mirror_descent import longest_step
from nlhf.base import (
    Algorithm,
    Array,
    Info,
    Oracle,
    PolicySpace,
    PolicyState,
    algorithm,
    check_number,
    warn_above,
)
from nlhf.method import Method
from nlhf.targets import explicit


def step(
    key: Array,
    state: PolicyState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    step_size: Any,
    beta: Any,
    mixture: Any,
) -> tuple[PolicyState, Info]:
    """``m = π^(1 - mixture) π_ref^mixture``; move π by P(· ≻ m)."""
    opponent = space.mix(state.policy, space.reference, mixture)
    feedback = oracle.payoff(key, opponent)
    policy = space.project(state.policy, Partial(explicit, step_size=step_size, beta=beta), feedback)
    return PolicyState(policy), Info(queries=1)


def ipo_md(step_size: Any, beta: Any, mixture: Any) -> Algorithm:
    """Identity preference optimisation with mirror-descent data: the opponent is a geometric mixture.

    ``m = π^(1 - mixture) π_ref^mixture``; ``log π+ = (1 - ηβ) log π + ηβ log π_ref + η P(· ≻ m)``,
    normalised. It is the mirror form of Nash-MD-PG as well: both methods share this fixed point, while
    their parametric gradients agree (up to the factor 4/β) at mixture 0 alone.

    For mixture > 0 the fixed point is *not* the Nash policy at β: it is the best response (at β) to the Nash
    policy at temperature β/(1 - mixture). With mixture = 0 it is online mirror descent, that is online IPO.

    Args:
      step_size: η >= 0, ηβ <= 1.
      beta: KL coefficient (τ in the paper), > 0.
      mixture: exponent of the reference in the opponent (β in the paper), in [0, 1].

    Returns:
      An ``Algorithm`` that makes 1 query a step.

    Raises:
      InputError: if a number is out of range.

    Warns:
      RangeWarning: if ηβ > 1.

    Claims: none; the source proves the fixed point, not a rate.

    Reference: arXiv:2403.08635, section 5 and proposition 5.2.
    """
    check_number("step_size", step_size)
    check_number("beta", beta, open_low=True)
    check_number("mixture", mixture, high=1)
    warn_above("step_size", step_size, 1 / beta, "the weight 1 - ηβ of the policy is negative")
    return algorithm(PolicyState, step, (), step_size=step_size, beta=beta, mixture=mixture)


MIXTURE = 0.125  # by default: the best player of the published table of Nash-MD mixed with this exponent


METHOD = Method(
    name="ipo_md",
    factory=ipo_md,
    label="IPO-MD",
    colour="#CC79A7",
    source="arXiv:2403.08635",
    queries=1,
    step_size=longest_step,
    settings=lambda beta, step_size: {"mixture": MIXTURE},
    solves="neither",
    caution=lambda beta: "ipo_md stalls at a biased limit; newton gives the Nash policy",
    promise="none; its fixed point is known, and biased",
)
