"""Online mirror descent in self-play: one query, one projection.

Under other names: magnetic mirror descent with a fixed magnet, online IPO with exact payoffs (its
uniform-pair loss), the inner update of iterative Nash policy optimisation (with its η = 1 / ours), and for
β = 0 multiplicative weights in self-play.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import (
    Algorithm,
    Array,
    Claim,
    Constants,
    Info,
    Oracle,
    PolicySpace,
    PolicyState,
    algorithm,
    check_number,
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
) -> tuple[PolicyState, Info]:
    """``log π+ = (1 - ηβ) log π + ηβ log π_ref + η P(· ≻ π)``, normalised."""
    feedback = oracle.payoff(key, state.policy)
    policy = space.project(state.policy, Partial(explicit, step_size=step_size, beta=beta), feedback)
    return PolicyState(policy), Info(queries=1)


def _bound(count: Array, constants: Constants) -> Array:
    return jnp.exp(-_rate(constants) * count) * constants.kl_start


def _rate(constants: Constants) -> Array:
    return -jnp.log1p(-constants.step_size * constants.beta)


def longest_step(beta: Any) -> Any:
    """The longest proved step of self-play, ``4β / (1 + 4β²)``, where the rate is fastest."""
    return 4 * beta / (1 + 4 * beta**2)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, longest_step(beta)


def _average_bound(count: Array, constants: Constants) -> Array:
    eta = constants.step_size
    return constants.log_start / (eta * jnp.maximum(count, 1)) + eta / 8


def _average_range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, jnp.inf + 0 * beta


CLAIMS = (
    Claim(
        name="online_mirror_descent.kl",
        source="one proximal step; for preferences, online IPO of arXiv:2403.08635",
        status="derived",
        statement="KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0) for η <= 4β/(1 + 4β²)",
        metric="kl_to_nash",
        iterate="last",
        bound=_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_range,
    ),
    Claim(
        name="online_mirror_descent.average",
        source="regret of multiplicative weights with payoffs of range 1",
        status="derived",
        statement="β = 0: max_a (P p)_a - 1/2 <= log(1/min π_0) / (ηt) + η/8, p the mean iterate",
        metric="exploitability_original",
        iterate="average",
        bound=_average_bound,
        rate_kind="none",
        rate=None,
        step_size_range=_average_range,
        regularised=False,
    ),
)


def online_mirror_descent(step_size: Any, beta: Any) -> Algorithm:
    """Self-play mirror descent on the regularised game.

    ``log π+ = (1 - ηβ) log π + ηβ log π_ref + η P(· ≻ π)`` up to normalisation. Beyond the proved range it
    still converges locally while ``η < 2β / (β² + s²)``, s the spectral radius of the game at equilibrium
    (at most 1/π), and cycles outwards above that: small β needs steps of order β.

    Args:
      step_size: η >= 0 (explicit form), ηβ <= 1.
      beta: KL coefficient, >= 0.

    Returns:
      An ``Algorithm`` that makes 1 query a step.

    Raises:
      InputError: if a number is negative or not finite.

    Claims: ``KL(π*‖π_t) <= (1 - ηβ)^t KL(π*‖π_0)`` for ``η <= 4β/(1 + 4β²)``; for β = 0 the
      average iterate's exploitability is at most ``log(1/min π_0)/(ηt) + η/8``.

    Reference: as online IPO, arXiv:2403.08635, proposition 4.1.
    """
    check_number("step_size", step_size)
    check_number("beta", beta)
    return algorithm(PolicyState, step, CLAIMS, step_size=step_size, beta=beta)


UNREGULARISED_STEP = 0.1  # at β = 0, where the average obeys a bound at every step size


def _caution(beta: float) -> str:
    if beta > 0:
        return ""
    return (
        "at beta 0 only the average of online_mirror_descent converges, and the result is its last policy; "
        "take lp, egpo or omwu"
    )


METHOD = Method(
    name="online_mirror_descent",
    factory=online_mirror_descent,
    label="Online mirror descent",
    colour="#999999",
    source="online IPO, arXiv:2403.08635",
    queries=1,
    step_size=lambda beta: longest_step(beta) or UNREGULARISED_STEP,
    zero=True,
    caution=_caution,
    claim="online_mirror_descent.kl",
    promise="KL falls by 1 - ηβ, η <= 4β/(1 + 4β²)",
)
