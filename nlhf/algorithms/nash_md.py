"""Nash-MD: mirror descent against, and from, the geometric mixture of the policy and the reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
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
from nlhf.functions import as_partial
from nlhf.method import Method
from nlhf.schedules import size_at
from nlhf.targets import explicit


class NashMDState(NamedTuple):
    """State of Nash-MD.

    Attributes:
      policy: the last iterate.
      steps: steps made, for decreasing step sizes.
    """

    policy: Policy
    steps: Array


def init(policy: Policy) -> NashMDState:
    """Start from a policy."""
    return NashMDState(policy, jnp.zeros((), int))


def step(
    key: Array, state: NashMDState, oracle: Oracle, space: PolicySpace, *, step_size: Any, beta: Any
) -> tuple[NashMDState, Info]:
    """``m = π^(1 - ηβ) π_ref^(ηβ)``, then ``log π+ = log m + η P(· ≻ m)``, both normalised."""
    eta = size_at(step_size, state.steps)
    mixture = space.mix(state.policy, space.reference, eta * beta)
    feedback = oracle.payoff(key, mixture)
    policy = space.project(mixture, Partial(explicit, step_size=eta, beta=0.0), feedback)
    return NashMDState(policy, state.steps + 1), Info(queries=1)


def decreasing(count: Array, *, beta: Any) -> Array:
    """Step size ``η_t = 2 / (β (t + 2))``, t from 0: the first step forgets the start."""
    with jax.numpy_dtype_promotion("standard"):  # a count and a plain float leave the table its precision
        return 2 / (beta * (count + 2.0))


def _constant_bound(count: Array, constants: Constants) -> Array:
    kept = 1 - constants.step_size * constants.beta
    return kept**count * constants.kl_start + 2 * constants.step_size / constants.beta


def _decreasing_bound(count: Array, constants: Constants) -> Array:
    return jnp.where(count == 0, jnp.inf, 8 / (constants.beta**2 * (count + 1)))


def _sharp_constant_bound(count: Array, constants: Constants) -> Array:
    kept = 1 - constants.step_size * constants.beta
    return kept**count * constants.kl_start + constants.step_size / (8 * constants.beta)


def _sharp_decreasing_bound(count: Array, constants: Constants) -> Array:
    return _decreasing_bound(count, constants) / 16


def _decreasing_rate(constants: Constants) -> Array:
    return jnp.ones_like(constants.beta)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 1 / beta


CONSTANT_CLAIMS = (
    Claim(
        name="nash_md.constant.kl",
        source="arXiv:2312.00886, Theorem 1, inequality (6) unrolled",
        status="theorem",
        statement="KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0) + 2η/β for 0 < ηβ <= 1",
        metric="kl_to_nash",
        iterate="last",
        bound=_constant_bound,
        rate_kind="none",
        rate=None,
        step_size_range=_range,
    ),
    Claim(
        name="nash_md.constant.kl_sharp",
        source="as Theorem 1 of arXiv:2312.00886, with Hoeffding's lemma for 2η²: η²/8",
        status="derived",
        statement="KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0) + η/(8β) for 0 < ηβ <= 1",
        metric="kl_to_nash",
        iterate="last",
        bound=_sharp_constant_bound,
        rate_kind="none",
        rate=None,
        step_size_range=_range,
    ),
)
DECREASING_CLAIMS = (
    Claim(
        name="nash_md.decreasing.kl",
        source="arXiv:2312.00886, Theorem 1",
        status="theorem",
        statement="KL(π*‖π_t) <= 8 / (β² (t + 1)) for η_t = 2/(β (t + 2)), t from 0, any start",
        metric="kl_to_nash",
        iterate="last",
        bound=_decreasing_bound,
        rate_kind="power",
        rate=_decreasing_rate,
        step_size_range=_range,
    ),
    Claim(
        name="nash_md.decreasing.kl_sharp",
        source="as Theorem 1 of arXiv:2312.00886, with Hoeffding's lemma for 2η²: η²/8",
        status="derived",
        statement="KL(π*‖π_t) <= 1 / (2β² (t + 1)) for η_t = 2/(β (t + 2)), t from 0, any start",
        metric="kl_to_nash",
        iterate="last",
        bound=_sharp_decreasing_bound,
        rate_kind="power",
        rate=_decreasing_rate,
        step_size_range=_range,
    ),
)


def nash_md(step_size: Any, beta: Any) -> Algorithm:
    """Nash mirror descent.

    ``m_t = π_t^(1 - ηβ) π_ref^(ηβ)``; ``log π_{t+1} = log m_t + η P(· ≻ m_t)``, both normalised. With a
    constant step it does *not* converge to the regularised Nash policy: its limit is the best response to
    the Nash policy at temperature β/(1 - ηβ), whose KL bias falls as (ηβ)². ``step_size=None`` takes the
    theorem's decreasing step ``2/(β (t + 2))``.

    Args:
      step_size: η > 0 with ηβ <= 1, a schedule ``count -> η``, or ``None``.
      beta: KL coefficient (τ in the paper), > 0.

    Returns:
      An ``Algorithm`` that makes 1 query a step.

    Raises:
      InputError: if a number is out of range.

    Claims: constant step, ``KL_t <= (1 - ηβ)^t KL_0 + 2η/β``; decreasing step, ``KL_t <= 8/(β²(t + 1))``;
      both with a sixteenth of the last term as well, by Hoeffding's lemma (derived). A schedule of
      the caller's own carries no claim.

    Reference: arXiv:2312.00886, section 6 and Theorem 1.
    """
    check_number("beta", beta, open_low=True)
    check_number("step_size", 1.0 if step_size is None else step_size)
    if step_size is None or callable(step_size):
        schedule = Partial(decreasing, beta=beta) if step_size is None else as_partial(step_size)
        claims = DECREASING_CLAIMS if step_size is None else ()
        # not by ``algorithm``: the state counts the steps already
        return Algorithm(init, Partial(step, step_size=schedule, beta=beta), claims)
    return algorithm(init, step, CONSTANT_CLAIMS, step_size=step_size, beta=beta)


METHOD = Method(
    name="nash_md",
    factory=nash_md,
    label="Nash-MD",
    colour="#E69F00",
    source="arXiv:2312.00886",
    queries=1,
    step_size=lambda beta: None,
    claim="nash_md.decreasing.kl",
    promise="8/(β²(t + 1)) with the decreasing step; biased with a constant one",
)
