"""OMWU: optimistic multiplicative weights, an extragradient step for the price of one query."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import (
    Algorithm,
    Array,
    Claim,
    Constants,
    Info,
    Oracle,
    Policy,
    PolicySpace,
    algorithm,
    check_number,
)
from nlhf.method import Method
from nlhf.targets import explicit

MEMORY = 3 + 2 * 2**0.5  # κ = (1 + √2)², what remembering one answer costs


class OMWUState(NamedTuple):
    """State of OMWU.

    Attributes:
      policy: the last iterate.
      half: the extrapolated policy that the next query is made against.
      steps: queries made.
    """

    policy: Policy
    half: Policy
    steps: Array


def init(policy: Policy) -> OMWUState:
    """Start both sequences from one policy."""
    return OMWUState(policy, policy, jnp.zeros((), int))


def step(
    key: Array, state: OMWUState, oracle: Oracle, space: PolicySpace, *, step_size: Any, beta: Any
) -> tuple[OMWUState, Info]:
    """Query the extrapolated policy; move the policy by the answer, then extrapolate by it once more."""
    feedback = oracle.payoff(key, state.half)
    # the first answer only extrapolates: that is the paper's initial query, without a special case elsewhere
    lead = jnp.where(state.steps > 0, step_size, 0 * step_size)
    policy = space.project(state.policy, Partial(explicit, step_size=lead, beta=beta), feedback)
    half = space.project(policy, Partial(explicit, step_size=step_size, beta=beta), feedback)
    return OMWUState(policy, half, state.steps + 1), Info(queries=1)


def _bound(count: Array, constants: Constants) -> Array:
    return jnp.exp(-_rate(constants) * jnp.maximum(count - 1, 0)) * constants.kl_start


def _half_bound(count: Array, constants: Constants) -> Array:
    return 2 * _bound(count, constants)


def _rate(constants: Constants) -> Array:
    return -jnp.log1p(-constants.step_size * constants.beta)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, jnp.minimum(1 / (2 * beta + 1), 0.5)


def _proved_range(beta: Any) -> tuple[Any, Any]:
    composite = 2 * (beta + (beta**2 + MEMORY) ** 0.5) / MEMORY
    return 0 * beta, composite / (1 + composite * beta)


def _long_range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 1 / (1 + beta)


def _average_bound(count: Array, constants: Constants) -> Array:
    eta = constants.step_size
    return (constants.log_start / eta + eta / 4) / jnp.maximum(count, 1)


def _average_rate(constants: Constants) -> Array:
    return jnp.ones_like(constants.beta)


def _average_range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 0.5**0.5 + 0 * beta


CLAIMS = (
    Claim(
        name="omwu.kl",
        source="method: arXiv:2105.15186, for preferences arXiv:2512.24818; constants derived",
        status="derived",
        statement="KL(π*‖π_t) <= (1 - ηβ)^(t-1) KL(π*‖π_0) for g = η/(1 - ηβ) <= 2(β + √(β² + κ))/κ, "
        "κ = (1 + √2)²",
        metric="kl_to_nash",
        iterate="last",
        bound=_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_proved_range,
    ),
    Claim(
        name="omwu.half_kl",
        source="as omwu.kl",
        status="derived",
        statement="KL(π*‖h_t) <= 2 (1 - ηβ)^(t-1) KL(π*‖π_0) for η <= min(1/(2β + 1), 1/2)",
        metric="kl_to_nash",
        iterate="half",
        bound=_half_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_range,
    ),
    Claim(
        name="omwu.long_step",
        source="omwu.kl beyond the range of its proof (for β < 0.457), at composite steps g <= 1",
        status="empirical",
        statement="KL(π*‖π_t) <= (1 - ηβ)^(t-1) KL(π*‖π_0) for η <= 1/(1 + β)",
        metric="kl_to_nash",
        iterate="last",
        bound=_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_long_range,
    ),
    Claim(
        name="omwu.average",
        source="regret of optimistic mirror descent",
        status="derived",
        statement="β = 0, η <= 1/√2: max_a (P h)_a - 1/2 <= (log(1/min π_0)/η + η/4) / t, h the mean of "
        "h_0 to h_{t-1}",
        metric="exploitability_original",
        iterate="average",
        bound=_average_bound,
        rate_kind="power",
        rate=_average_rate,
        step_size_range=_average_range,
        regularised=False,
    ),
)


def omwu(step_size: Any, beta: Any) -> Algorithm:
    """Optimistic multiplicative weights update, regularised (β > 0) or not (β = 0).

    ``log h_t = (1 - ηβ) log π_t + ηβ log π_ref + η P(· ≻ h_{t-1})``;
    ``log π_{t+1} = (1 - ηβ) log π_t + ηβ log π_ref + η P(· ≻ h_t)``, both normalised, with h_{-1} = π_0.
    One step here asks for P(· ≻ h_t), finishes π_{t+1} and makes h_{t+1} from the same answer, so no answer
    is stored; the first step asks for P(· ≻ π_0) and makes h_0 only. Hence π lags one query.

    Args:
      step_size: η >= 0, ηβ <= 1.
      beta: KL coefficient, >= 0.

    Returns:
      An ``Algorithm`` that makes 1 query a step.

    Raises:
      InputError: if a number is negative or not finite.

    Claims: ``KL(π*‖π_t) <= (1 - ηβ)^(t-1) KL(π*‖π_0)`` after t queries for
      ``g = η/(1 - ηβ) <= 2 (β + √(β² + κ))/κ``, κ = (1 + √2)², because the sum of KL(π*‖π_t) and
      (√2 - 1) KL(π_t‖h_{t-1}) falls by 1 - ηβ a step; that covers ``η <= min(1/(2β + 1), 1/2)``, where the
      extrapolated policy obeys twice the bound. At g <= 1 it was never seen to fail. For β = 0 and η <= 1/√2
      the averaged extrapolated policy's exploitability is at most ``(log(1/min π_0)/η + η/4)/t``.

    Reference: arXiv:2105.15186; for preferences, arXiv:2512.24818.
    """
    check_number("step_size", step_size)
    check_number("beta", beta)
    return algorithm(init, step, CLAIMS, step_size=step_size, beta=beta)


METHOD = Method(
    name="omwu",
    factory=omwu,
    label="OMWU",
    colour="#009E73",
    source="arXiv:2105.15186, arXiv:2512.24818",
    queries=1,
    step_size=lambda beta: float(_range(beta)[1]),
    zero=True,
    claim="omwu.kl",
    promise="KL falls by 1 - ηβ, g <= 2(β + √(β² + κ))/κ, κ = (1 + √2)²",
)
