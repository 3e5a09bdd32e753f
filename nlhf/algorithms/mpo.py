"""MPO, magnetic preference optimisation: mirror descent with a magnet that is moved now and then."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, Policy, PolicySpace, algorithm, check_number, warn_above
from nlhf.errors import InputError
from nlhf.method import Method
from nlhf.targets import implicit


class MPOState(NamedTuple):
    """State of MPO.

    Attributes:
      policy: the last iterate.
      magnet: the policy that the KL term pulls towards, at first the start.
      steps: steps made since the magnet moved.
    """

    policy: Policy
    magnet: Policy
    steps: Array


def init(policy: Policy) -> MPOState:
    """Start from a policy, which is the first magnet too."""
    return MPOState(policy, policy, jnp.zeros((), int))


def magnetic(
    log_prob: Array, log_ref: Array, preference: Array, *, log_magnet: Array, step_size: Any, beta: Any
) -> Array:
    """``(log π + gβ log magnet + g P) / (1 + gβ)``: the proximal target with the magnet for a reference."""
    del log_ref
    return implicit(log_prob, log_magnet, preference, step_size=step_size, beta=beta)


def step(
    key: Array, state: MPOState, oracle: Oracle, space: PolicySpace, *, step_size: Any, beta: Any, period: Any
) -> tuple[MPOState, Info]:
    """Move towards payoff and magnet; every ``period`` steps the magnet becomes the policy."""
    feedback = oracle.payoff(key, state.policy)
    log_magnet = space.log_prob(state.magnet, feedback.responses)
    target = Partial(magnetic, log_magnet=log_magnet, step_size=step_size, beta=beta)
    policy = space.project(state.policy, target, feedback)
    # in floating point, where a period may be infinite
    refresh = (state.steps + 1).astype(jnp.result_type(float)) >= jnp.asarray(period, jnp.result_type(float))
    magnet = jax.tree.map(lambda new, old: jnp.where(refresh, new, old), policy, state.magnet)
    steps = jnp.where(refresh, 0, state.steps + 1)
    return MPOState(policy, magnet, steps), Info(queries=1)


def mpo(step_size: Any, beta: Any, period: Any) -> Algorithm:
    """Magnetic preference optimisation: the unregularised Nash policy through regularised games.

    ``log π+ = (log π + gβ log magnet + g P(· ≻ π)) / (1 + gβ)``, normalised; every ``period`` steps
    ``magnet = π``. Each period approximates one proximal-point step, after which the KL divergence of
    *every* unregularised Nash policy to the iterate has not grown (for an exactly solved period). The
    reference enters only as the start: the fixed points are those of the game with β = 0.

    Args:
      step_size: composite step g >= 0; a period converges for g <= 4β.
      beta: weight of the magnet (α in the paper), > 0.
      period: steps between two moves of the magnet, >= 1; ``inf`` never moves it.

    Returns:
      An ``Algorithm`` that makes 1 query a step.

    Raises:
      InputError: if a number is out of range.

    Warns:
      RangeWarning: if g > 4β.

    Claims: none; the source's linear rate is that of one period, no rate to the unregularised Nash policy
      is proved.

    Reference: arXiv:2410.16714.
    """
    check_number("step_size", step_size)
    check_number("beta", beta, open_low=True)
    if not (isinstance(period, float) and period == float("inf")):
        check_number("period", period, low=1)
    warn_above("step_size", step_size, 4 * beta, "a period is proved to converge only up to 4β")
    return algorithm(init, step, (), step_size=step_size, beta=beta, period=period)


WEIGHT = 0.1  # of the magnet where beta is 0; slowly moved weak magnets solved the hardest of our games best
SHRINK = 20.0  # by default the magnet moves once a period has shrunk the distance this much
MAXIMUM_PERIOD = 1_000_000  # beyond, a run ends before the magnet has moved


def default_period(weight: float) -> int:
    """Steps that shrink the distance to a period's own equilibrium twentyfold, at g = 4 weight.

    Args:
      weight: of the magnet, > 0.

    Raises:
      InputError: if they are more than a million.
    """
    steps = math.ceil(math.log(SHRINK) / math.log1p(4 * weight**2))
    if steps > MAXIMUM_PERIOD:
        raise InputError(
            f"beta is {weight:g}, but then mpo moves its magnet once in {steps:.1e} steps, more than "
            f"{MAXIMUM_PERIOD}; raise beta, or give 0 for a magnet of {WEIGHT:g}"
        )
    return steps


def _settings(beta: float, step_size: float | None) -> dict[str, Any]:
    return {"beta": beta or WEIGHT, "period": default_period(beta or WEIGHT)}


def _caution(beta: float) -> str:
    if beta == 0:
        return ""
    return (
        f"mpo solves the unregularised game: beta = {beta:g} is the weight of its magnet, and the result is "
        "that of beta 0"
    )


METHOD = Method(
    name="mpo",
    factory=mpo,
    label="MPO",
    colour="#000000",
    source="arXiv:2410.16714",
    queries=1,
    step_size=lambda beta: 4 * (beta or WEIGHT),
    settings=_settings,
    zero=True,
    solves="unregularised",
    caution=_caution,
    promise="none; solves the game with β = 0",
)
