"""Nash Prox: a proximal-point loop whose inner games are solved by self-play mirror descent."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.algorithms.online_mirror_descent import longest_step
from nlhf.base import (
    Algorithm,
    Array,
    Claim,
    Constants,
    Count,
    Info,
    Oracle,
    Policy,
    PolicySpace,
    PolicyState,
    algorithm,
    check_number,
    check_whole,
)
from nlhf.errors import InputError
from nlhf.method import Method
from nlhf.targets import explicit


def anchored(
    log_prob: Array,
    log_ref: Array,
    preference: Array,
    *,
    log_centre: Array,
    proximal: Any,
    step_size: Any,
    beta: Any,
) -> Array:
    """Explicit target of the game with weights β on the reference and β/η on the centre of the outer step."""
    reference = (proximal * log_ref + log_centre) / (1 + proximal)
    return explicit(
        log_prob, reference, preference, step_size=step_size, beta=beta * (1 + proximal) / proximal
    )


def step(
    key: Array,
    state: PolicyState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    step_size: Any,
    beta: Any,
    num_inner: Count,
) -> tuple[PolicyState, Info]:
    """Solve ``max_u P(u ≻ ·) - β KL(u‖π_ref) - (β/η) KL(u‖π)`` by self-play from π."""
    # at the inner game's larger KL weight
    inner_step_size = longest_step(beta * (1 + step_size) / step_size)

    def improve(policy: Policy, inner_key: Array) -> tuple[Policy, None]:
        feedback = oracle.payoff(inner_key, policy)
        log_centre = space.log_prob(state.policy, feedback.responses)
        target = Partial(
            anchored, log_centre=log_centre, proximal=step_size, step_size=inner_step_size, beta=beta
        )
        return space.project(policy, target, feedback), None

    policy, _ = jax.lax.scan(improve, state.policy, jax.random.split(key, num_inner))
    return PolicyState(policy), Info(queries=num_inner)


def _bound(count: Array, constants: Constants) -> Array:
    return jnp.exp(-_rate(constants) * count) * constants.kl_start


def _rate(constants: Constants) -> Array:
    return jnp.log1p(constants.step_size)


def _range(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, jnp.inf + 0 * beta


CLAIMS = (
    Claim(
        name="nash_prox.kl",
        source="proximal-point contraction; outer loop of arXiv:2505.19731v2",
        status="derived",
        statement="KL(π*‖π_k) <= (1 + η)^-k KL(π*‖π_0) for every η > 0, the inner games solved exactly",
        metric="kl_to_nash",
        iterate="last",
        bound=_bound,
        rate_kind="linear",
        rate=_rate,
        step_size_range=_range,
    ),
)


SOLVED = 1e-6  # an inner game counts as solved once its distance has shrunk by this


def inner_steps(step_size: Any, beta: Any, shrink: float = SOLVED) -> np.ndarray:
    """Inner steps after which the proved contraction ``1/(1 + 4β'²)`` has reached ``shrink``; not rounded.

    Args:
      step_size: proximal step η > 0.
      beta: KL coefficient, > 0.
      shrink: in (0, 1).
    """
    return -np.log(shrink) / np.log1p(4 * (beta * (1 + step_size) / step_size) ** 2)


def nash_prox(step_size: Any, beta: Any, num_inner: int) -> Algorithm:
    """Proximal point on the regularised game, each outer step approximated by self-play.

    Outer: ``π+ = Nash of P with weights β to π_ref and β/η to π``. Inner, ``num_inner`` times from π:
    ``log z = (1 - eβ') log z + e (β log π_ref + (β/η) log π) + e P(· ≻ z)`` with ``β' = β (1 + 1/η)`` and
    the largest proved self-play step ``e = 4β'/(1 + 4β'²)``, so that an inner step contracts by
    ``1/(1 + 4β'²)``. Small η makes inner games easy (β' of order 1 at η = β) and outer steps short.

    Args:
      step_size: proximal step η > 0.
      beta: KL coefficient, > 0.
      num_inner: inner steps an outer step, >= 1.

    Returns:
      An ``Algorithm`` that makes ``num_inner`` queries a step.

    Raises:
      InputError: if a number is out of range.

    Claims: ``KL(π*‖π_k) <= (1 + η)^-k KL(π*‖π_0)`` for inner games solved exactly; carried only where
      ``num_inner`` steps provably shrink an inner game's distance a millionfold (``inner_steps``).

    Reference: arXiv:2505.19731v2 (which uses self-play policy gradients inside).
    """
    check_number("step_size", step_size, open_low=True)
    check_number("beta", beta, open_low=True)
    count = Count(check_whole("num_inner", num_inner))
    # traced settings have no value yet: their claim rests on the caller
    traced = any(callable(value) or isinstance(value, jax.core.Tracer) for value in (step_size, beta))
    claims = CLAIMS if traced or np.all(inner_steps(step_size, beta) <= num_inner) else ()
    return algorithm(PolicyState, step, claims, step_size=step_size, beta=beta, num_inner=count)


DIGITS = 7  # by default an inner game is solved until its distance has shrunk by this power of ten
MAXIMUM_INNER = 1_000_000  # beyond, a run ends before anything has moved


def num_inner(beta: float, step_size: float) -> int:
    """Inner steps after which an inner game is solved to seven digits; 10 at η = β -> 0.

    Args:
      beta: KL coefficient, > 0.
      step_size: proximal step η > 0.

    Raises:
      InputError: if they are more than a million.
    """
    steps = math.ceil(float(inner_steps(step_size, beta, 10.0**-DIGITS)) - 0.1)
    if steps > MAXIMUM_INNER:
        raise InputError(
            f"beta is {beta:g} and the step size {step_size:g}, but then nash_prox needs {steps:.1e} inner "
            f"steps, more than {MAXIMUM_INNER}; raise beta, or lower the step size"
        )
    return steps


METHOD = Method(
    name="nash_prox",
    factory=nash_prox,
    label="Nash Prox",
    colour="#56B4E9",
    source="arXiv:2505.19731v2",
    queries="inner steps",
    step_size=lambda beta: beta,
    settings=lambda beta, step_size: {"num_inner": num_inner(beta, step_size)},
    exact=lambda beta, step_size: {"num_inner": 3 * num_inner(beta, step_size)},
    claim="nash_prox.kl",
    promise="KL falls by 1/(1 + η), inner games solved",
)
