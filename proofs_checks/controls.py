"""Wrong versions of right algorithms: the negative controls of the ledger.

Each takes a method (or a batch of them) and returns one that makes a mistake a person could make. It works on
what every method shares, the records it asks and moves, so a new algorithm has its controls for free.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf import ALGORITHMS, logspace
from nlhf.base import Algorithm, hyper

ALL = tuple(ALGORITHMS)


class Control(NamedTuple):
    """A mistake."""

    what: str  # in words
    apply: Callable[[Algorithm], Algorithm]  # ``apply(method) -> method``
    algorithms: tuple[str, ...]  # those in which it can be made


def signed(method: Algorithm, sign: Any) -> Algorithm:
    """Multiply every (centred) payoff by a sign: 1 is the method, -1 mistakes P for its transpose.

    As a leaf, so that the method and its control are rows of one batch.

    Args:
      method: the algorithm, or a batch.
      sign: ``[]`` or ``[N]`` numbers.
    """
    return method._replace(step=Partial(_signed_step, method.step, sign))


def _signed_step(step: Callable, sign: Any, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    return step(key, state, oracle._replace(payoff=Partial(_signed_payoff, oracle.payoff, sign)), space)


def _signed_payoff(payoff: Callable, sign: Any, key: Any, policy: Any) -> Any:
    feedback = payoff(key, policy)
    return feedback._replace(preference=sign * feedback.preference)


def _transposed(method: Algorithm) -> Algorithm:
    # the sign as code, not as a leaf, which a batch would have to carry
    return method._replace(step=Partial(_transposed_step, method.step))


def _transposed_step(step: Callable, *arguments: Any) -> Any:
    return _signed_step(step, -1.0, *arguments)


def _half_pull(method: Algorithm) -> Algorithm:
    step: Any = method.step  # what its closures hold stays as they have it
    inner = Partial(step.func, *step.args, **{**step.keywords, "beta": hyper(method)["beta"] / 2})
    return method._replace(step=Partial(_hidden_step, inner))


def _hidden_step(step: Callable, *arguments: Any) -> Any:
    """Keep the changed hyper-parameters from a run, which would warn of two betas that differ."""
    return step(*arguments)


def _opposed_pull(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_opposed_step, method.step))


def _opposed_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    def project(policy: Any, target: Callable, feedback: Any) -> Any:
        return space.project(policy, lambda log_prob, log_ref, p: target(log_prob, -log_ref, p), feedback)

    away = jnp.where(jnp.isneginf(space.reference), -jnp.inf, -space.reference)
    return step(key, state, oracle, space._replace(project=project, reference=logspace.normalise(away)))


def _stale_half(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_stale_step, method.step))


def _stale_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    first: list = []

    def payoff(key: Any, policy: Any) -> Any:
        if not first:
            first.append(oracle.payoff(key, policy))
        return first[0]

    return step(key, state, oracle._replace(payoff=payoff), space)


def _no_extrapolation(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_unextrapolated_step, method.step))


def _unextrapolated_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    return step(key, state._replace(half=state.policy), oracle, space)


def _no_mixture(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_unmixed_step, method.step))


def _unmixed_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    return step(key, state, oracle, space._replace(mix=lambda policy, other, weight: policy))


def _off_by_one(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_early_step, method.step))


def _early_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    after, info = step(key, state._replace(steps=state.steps + 1), oracle, space)
    return after._replace(steps=state.steps + 1), info


def _drifting_centre(method: Algorithm) -> Algorithm:
    return method._replace(step=Partial(_drifting_step, method.step))


def _drifting_step(step: Callable, key: Any, state: Any, oracle: Any, space: Any) -> Any:
    """Read the prox centre from the reference instead of the last outer iterate."""
    return step(key, state, oracle, space._replace(log_prob=lambda policy, responses=None: space.reference))


CONTROLS: dict[str, Control] = {
    "transposed": Control("P mistaken for its transpose (the sign of the payoff)", _transposed, ALL),
    "half_pull": Control("half the pull towards the reference (or magnet)", _half_pull, ALL),
    "opposed_pull": Control(
        "the sign of the pull towards the reference", _opposed_pull, tuple(set(ALL) - {"mpo"})
    ),
    "stale_half": Control(
        "no half step: the second query is the first", _stale_half, ("egpo", "nash_mirror_prox")
    ),
    "no_extrapolation": Control("no half step: the policy is queried", _no_extrapolation, ("omwu",)),
    "no_mixture": Control("no mixture with the reference", _no_mixture, ("nash_md", "ipo_md")),
    "off_by_one": Control("the schedule one step ahead", _off_by_one, ("nash_md", "omwu", "mpo")),
    "drifting_centre": Control("the proximal centre is lost", _drifting_centre, ("nash_prox", "mpo")),
}
