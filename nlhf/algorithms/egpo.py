"""EGPO, extragradient preference optimisation: an explicit half step, then a step against it."""

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


def _bound(count: Array, constants: Constants) -> Array:
    return jnp.exp(-_rate(constants) * count) * constants.kl_start


def _half_bound(count: Array, constants: Constants) -> Array:
    return 2 * jnp.exp(-_rate(constants) * jnp.maximum(count - 1, 0)) * constants.kl_start


def _rate(constants: Constants) -> Array:
    return -jnp.log1p(-constants.step_size * constants.beta)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, 1 / (beta + 0.5)


CLAIMS = (
    Claim(
        name="egpo.kl",
        source="method: arXiv:2503.08942; constant and range derived, as for mirror prox",
        status="derived",
        statement="KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0) for η <= 1/(β + 1/2)",
        metric="kl_to_nash",
        iterate="last",
        bound=_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_range,
    ),
    Claim(
        name="egpo.half_kl",
        source="method: arXiv:2503.08942",
        status="empirical",
        statement="KL(π*‖π_{t-1/2}) <= 2 (1 - ηβ)^(t-1) KL(π*‖π_0) for η <= 1/(β + 1/2)",
        metric="kl_to_nash",
        iterate="half",
        bound=_half_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_range,
    ),
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

    Claims: ``KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0)`` and twice that for the half iterate, for
      ``η <= 1/(β + 1/2)``.

    Reference: arXiv:2503.08942.
    """
    check_number("step_size", step_size)
    check_number("beta", beta)
    return algorithm(init, step, CLAIMS, step_size=step_size, beta=beta)
