"""Every algorithm's step against its variational definition, and a wrong step of each that must fail."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Algorithm, Info, Oracle, PolicySpace
from proofs_checks.controls import CONTROLS
from proofs_checks.identities.variational import (
    NUM_INNER,
    bank_of,
    method_of,
    settings_of,
    step_errors,
    witness_of,
)
from proofs_checks.rows import Check, Effort, Outcome, check_of, outcome_of

LIMIT = 1e-12  # relative to 1 + |value|


# Wrong steps that only one method can make, beside those of proofs_checks.controls.


def _answering(field: str, inner: Callable, key: Any, state: Any, oracle: Oracle, space: PolicySpace) -> Any:
    """Take the step with every query answered as if it asked about a policy in the state."""

    def payoff(key: Any, policy: Any) -> Any:
        del policy
        return oracle.payoff(key, getattr(state, field))

    return inner(key, state, oracle._replace(payoff=payoff), space)


def _own_answer(*arguments: Any) -> Any:
    """Asks for the answer to the last iterate in every query."""
    return _answering("policy", *arguments)


def _stale_half(inner: Callable, *arguments: Any) -> Any:
    """Answers the half iterate of the step before."""
    stale, _ = _answering("half", inner, *arguments)
    fresh, info = inner(*arguments)
    return fresh._replace(policy=stale.policy), info


def _moving_centre(
    inner: Callable, key: Any, state: Any, oracle: Oracle, space: PolicySpace
) -> tuple[Any, Info]:
    """Repeats an outer step of one inner step: the centre moves along."""

    def one(_: Any, state: Any) -> Any:
        return inner(key, state, oracle, space)[0]

    return jax.lax.fori_loop(0, NUM_INNER, one, state), Info(queries=NUM_INNER)


def _late_start(inner: Callable, policy: Any) -> Any:
    """Counts steps from one."""
    state = inner(policy)
    return state._replace(steps=state.steps + 1)


def _wrapped(change: Callable) -> Callable[[str, Effort], Algorithm]:
    def wrong(name: str, effort: Effort) -> Algorithm:
        method = method_of(name, effort)
        return method._replace(step=Partial(change, method.step))

    return wrong


def _known(control: str) -> Callable[[str, Effort], Algorithm]:
    def wrong(name: str, effort: Effort) -> Algorithm:
        return CONTROLS[control].apply(method_of(name, effort))

    return wrong


def counted_late(name: str, effort: Effort) -> Algorithm:
    """Return a method whose count of steps starts at one instead of zero."""
    method = method_of(name, effort)
    return method._replace(init=Partial(_late_start, method.init))


def _magnet_late(name: str, effort: Effort) -> Algorithm:
    return method_of(name, effort, period=settings_of(name, effort)["period"] + 1)


def _unmixed(name: str, effort: Effort) -> Algorithm:
    return method_of(name, effort, mixture=0 * settings_of(name, effort)["mixture"])


def _free_centre(name: str, effort: Effort) -> Algorithm:
    method = method_of(name, effort, num_inner=1)
    return method._replace(step=Partial(_moving_centre, method.step))


def _judge_step(name: str, control: str, wrong: Callable, effort: Effort) -> Outcome:
    errors = step_errors(name, None, effort)
    broken = step_errors(name, wrong(name, effort), effort)
    step_size = settings_of(name, effort)["step_size"]
    witness = functools.partial(witness_of, bank_of(effort), step_size=step_size)
    detail = {"control_share": float(np.mean(~(broken <= LIMIT)))}
    return outcome_of(errors, control, broken, witness, LIMIT, detail)


def _step_check(
    name: str,
    statement: str,
    source: str,
    control: str,
    wrong: Callable,
    status: str = "derived",
    row: str = "",
) -> Check:
    return check_of(
        row or f"{name}.step",
        statement,
        "full-support starts off the reference, β from 5e-3 to 10, exact payoffs; the first-order condition "
        "of the argmax by automatic differentiation",
        functools.partial(_judge_step, name, control, wrong),
        status,
        source,
        kind="identity",
    )


_MIRROR = "argmax_u η<P(· ≻ {}), u> - ηβ KL(u‖π_ref) - (1 - ηβ) KL(u‖π)"

CHECKS: tuple[Check, ...] = (
    _step_check(
        "online_mirror_descent",
        "π+ = " + _MIRROR.format("π"),
        "mirror descent on the regularised payoff; derived",
        "the transposed game",
        _known("transposed"),
    ),
    _step_check(
        "nash_md",
        "π+ = argmax_u η<P(· ≻ m), u> - KL(u‖m), m the geometric mixture of π and π_ref, ηβ <= 1",
        "arXiv:2312.00886, section 6",
        "the payoff against π instead of the mixture",
        _wrapped(_own_answer),
        status="theorem",
    ),
    _step_check(
        "nash_md.decreasing",
        "the same with η_t = 2/(β(t + 2)), t from 0",
        "arXiv:2312.00886, Theorem 1",
        "t counted from 1",
        counted_late,
        status="theorem",
        row="nash_md.decreasing_step",
    ),
    _step_check(
        "nash_mirror_prox",
        "h, π+ = argmax_u (1/β)<P(· ≻ π or h), u> - KL(u‖π_ref) - (1/η) KL(u‖π), η = gβ",
        "method: arXiv:2505.19731v1",
        "no half step: both answers are to π",
        _wrapped(_own_answer),
    ),
    _step_check(
        "nash_prox",
        "π+ = argmax_u <P(· ≻ π+), u> - β KL(u‖π_ref) - (β/η) KL(u‖π), the inner game solved",
        "outer loop of arXiv:2505.19731v2",
        "the centre follows the inner iterates",
        _free_centre,
    ),
    _step_check(
        "egpo",
        "h, π+ = " + _MIRROR.format("π or h"),
        "method: arXiv:2503.08942",
        "π+ answers the half iterate of the step before",
        _wrapped(_stale_half),
    ),
    _step_check(
        "omwu",
        "h_t against h_{t-1}, then π_{t+1} against h_t, both " + _MIRROR.format("·") + " from π_t",
        "method: arXiv:2105.15186",
        "half the pull of the reference",
        _known("half_pull"),
    ),
    _step_check(
        "mpo",
        "π+ = argmax_u <P(· ≻ π), u> - β KL(u‖magnet) - (1/g) KL(u‖π), the magnet a period's first policy",
        "method: arXiv:2410.16714",
        "the magnet moves one step late",
        _magnet_late,
    ),
    _step_check(
        "ipo_md",
        "π+ = " + _MIRROR.format("m") + ", m the geometric mixture of π and π_ref",
        "mirror form of the method of arXiv:2403.08635",
        "the opponent is π",
        _unmixed,
    ),
)
