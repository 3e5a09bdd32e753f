"""EGPO, extragradient preference optimisation: an explicit half step, then a step against it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial

from nlhf.base import (
    Algorithm,
    Array,
    Info,
    Oracle,
    Policy,
    PolicySpace,
    algorithm,
    check_number,
)
from nlhf.extragradient import extragradient_claims
from nlhf.method import Method
from nlhf.targets import explicit


class EGPOState(NamedTuple):
    """State of EGPO.

    Attributes:
      policy: the last iterate.
      half: the extrapolated policy that the last iterate answered.
    """

    policy: Policy
    half: Policy


def init(policy: Policy) -> EGPOState:
    """Start from a policy."""
    return EGPOState(policy, policy)


def step(
    key: Array, state: EGPOState, oracle: Oracle, space: PolicySpace, *, step_size: Any, beta: Any
) -> tuple[EGPOState, Info]:
    """Extrapolate against π, then update *from π* against the extrapolated policy."""
    half_key, full_key = jax.random.split(key)
    mirror = Partial(explicit, step_size=step_size, beta=beta)
    half = space.project(state.policy, mirror, oracle.payoff(half_key, state.policy))
    policy = space.project(state.policy, mirror, oracle.payoff(full_key, half))
    return EGPOState(policy, half), Info(queries=2)


def _composite(step_size: Any, beta: Any) -> Any:
    return step_size / (1 - step_size * beta)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 1 / (beta + 0.5)


CLAIMS = extragradient_claims(
    "egpo",
    source="method: arXiv:2503.08942; constants derived, as for mirror prox with g = η/(1 - ηβ)",
    composite=_composite,
    steps=("ρ = 1 - ηβ, η <= 1/(β + 1/2)", "ρ = 1 - ηβ, g = η/(1 - ηβ) <= 2"),
    kl_range=_range,
    other_range=_range,
)


def egpo(step_size: Any, beta: Any) -> Algorithm:
    """Extragradient on the regularised game, in log-probabilities.

    ``log h = (1 - ηβ) log π + ηβ log π_ref + η P(· ≻ π)``;
    ``log π+ = (1 - ηβ) log π + ηβ log π_ref + η P(· ≻ h)``, both normalised. The second step starts again
    from π, not from h. With the squared loss of the paper and SGD, η is ``4 lr / (β A)``.

    Args:
      step_size: η >= 0, ηβ <= 1.
      beta: KL coefficient, >= 0.

    Returns:
      An ``Algorithm`` that makes 2 queries a step.

    Raises:
      InputError: if a number is negative or not finite.

    Claims: ``KL(π*‖π_t) <= ρ^t KL(π*‖π_0)`` with ``ρ = 1 - ηβ`` for ``η <= 1/(β + 1/2)``; there also the half
      iterate, both exploitabilities and the span (``nlhf.extragradient``).

    Reference: arXiv:2503.08942.
    """
    check_number("step_size", step_size)
    check_number("beta", beta)
    return algorithm(init, step, CLAIMS, step_size=step_size, beta=beta)


METHOD = Method(
    name="egpo",
    factory=egpo,
    label="EGPO",
    colour="#D55E00",
    source="arXiv:2503.08942",
    queries=2,
    step_size=lambda beta: _range(beta)[1],
    zero=True,
    claim="egpo.kl",
    promise="KL falls by 1 - ηβ, η <= 1/(β + 1/2)",
)
