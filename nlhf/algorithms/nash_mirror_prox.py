"""Nash Mirror Prox: two proximal steps from one centre, the second against the half-step policy."""

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
from nlhf.extragradient import extragradient_claims
from nlhf.method import Method
from nlhf.targets import implicit


class NashMirrorProxState(NamedTuple):
    """State of Nash Mirror Prox.

    Attributes:
      policy: the last iterate.
      half: the half-step policy that the last iterate answered.
    """

    policy: Policy
    half: Policy


def init(policy: Policy) -> NashMirrorProxState:
    """Start from a policy."""
    return NashMirrorProxState(policy, policy)


def step(
    key: Array, state: NashMirrorProxState, oracle: Oracle, space: PolicySpace, *, step_size: Any, beta: Any
) -> tuple[NashMirrorProxState, Info]:
    """``h = prox(π, P(· ≻ π))``, then ``π+ = prox(π, P(· ≻ h))``: the centre stays at π."""
    half_key, full_key = jax.random.split(key)
    prox = Partial(implicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, prox, oracle.payoff(half_key, state.policy))
    policy = space.project(state.policy, prox, oracle.payoff(full_key, half))
    return NashMirrorProxState(policy, half), Info(queries=2)


def _composite(step_size: Any, beta: Any) -> Any:
    del beta
    return step_size


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 2 * beta + 2 * (1 + beta**2) ** 0.5


def _paper_range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 2 + 0 * beta


def _average_bound(count: Array, constants: Constants) -> Array:
    return constants.log_start / (constants.step_size * jnp.maximum(count, 1))


def _average_rate(constants: Constants) -> Array:
    return jnp.ones_like(constants.beta)


CLAIMS = (
    *extragradient_claims(
        "nash_mirror_prox",
        source="method and order of the rate: arXiv:2505.19731v1; constants derived",
        composite=_composite,
        steps=("ρ = 1/(1 + gβ), g <= 2β + 2√(1 + β²)", "ρ = 1/(1 + gβ), g <= 2"),
        kl_range=_range,
        other_range=_paper_range,
    ),
    Claim(
        name="nash_mirror_prox.average",
        source="mirror prox on a matrix game, constant from the smoothness 1/2",
        status="derived",
        statement="β = 0, g <= 2: max_a (P h)_a - 1/2 <= log(1/min π_0) / (gt), h the mean half iterate",
        metric="exploitability_original",
        iterate="average",
        bound=_average_bound,
        rate_kind="power",
        rate=_average_rate,
        step_size_range=_paper_range,
        regularised=False,
    ),
)


def nash_mirror_prox(step_size: Any, beta: Any) -> Algorithm:
    """Mirror prox on the regularised game, in composite (proximal) form.

    ``log h = (log π + gβ log π_ref + g P(· ≻ π)) / (1 + gβ)``;
    ``log π+ = (log π + gβ log π_ref + g P(· ≻ h)) / (1 + gβ)``, both normalised. Our step size is
    ``g = η/β`` in the paper's η: its recommended η = 2β is g = 2 at every β. The same iterates as EGPO with
    step g/(1 + gβ).

    Args:
      step_size: composite step g >= 0.
      beta: KL coefficient, >= 0.

    Returns:
      An ``Algorithm`` that makes 2 queries a step.

    Raises:
      InputError: if a number is negative or not finite.

    Claims: ``KL(π*‖π_t) <= ρ^t KL(π*‖π_0)`` with ``ρ = 1/(1 + gβ)`` for ``g <= 2β + 2√(1 + β²)``, whatever
      the number of actions; at the end of the range ρ is exp(-2 asinh β). For g <= 2 also the half iterate,
      both exploitabilities and the span (``nlhf.extragradient``); for β = 0 and g <= 2 the averaged half
      iterate's exploitability is at most ``log(1/min π_0)/(gt)``.

    Reference: arXiv:2505.19731v1.
    """
    check_number("step_size", step_size)
    check_number("beta", beta)
    return algorithm(init, step, CLAIMS, step_size=step_size, beta=beta)


METHOD = Method(
    name="nash_mirror_prox",
    factory=nash_mirror_prox,
    label="Nash Mirror Prox",
    colour="#0072B2",
    source="arXiv:2505.19731v1",
    queries=2,
    step_size=lambda beta: _range(beta)[1],
    zero=True,
    claim="nash_mirror_prox.kl",
    promise="KL falls by 1/(1 + gβ), g <= 2β + 2√(1 + β²)",
)
