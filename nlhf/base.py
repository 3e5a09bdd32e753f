"""The central types: an algorithm asks an oracle for preferences and moves a policy in a space.

All of them are records of pure functions. The functions are ``jax.tree_util.Partial`` objects over
module-level code, so that a whole ``Algorithm``, ``Oracle`` or ``PolicySpace`` is itself a pytree: its
hyper-parameters and arrays are leaves, its code is structure. Hence an algorithm can be an argument of a
jitted function (a new step size does not recompile), and ``jax.vmap(egpo)(step_sizes, betas)`` is a batch
of algorithms.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial

from nlhf.errors import InputError, RangeWarning
from nlhf.functions import as_partial, bound_values
from nlhf.schedules import scheduled

Array = jax.Array
Policy = Any  # whatever the PolicySpace says: a table of log-probabilities, parameters, a lazy mixture
State = Any
Target = Callable[[Array, Array, Array], Array]


@jax.tree_util.register_static
class Static(tuple):
    """A tuple of settings that jit treats as structure, bound into a ``Partial`` beside traced values."""


@jax.tree_util.register_static
class Count(int):
    """A whole number that jit treats as structure, for ``range(n)`` in a step: ``num_inner=Count(3)``."""


class Feedback(NamedTuple):
    """What a payoff query returns.

    Attributes:
      responses: ``None`` for "every response, in order" (tables), else sampled responses ``[B, K, ...]``.
      preference: ``[X, A]`` or ``[B, K]``, the probability that each response is preferred to one drawn from
        the opponent, or that minus 1/2 (as the tabular oracles give it): a constant added to a row changes
        no update.
    """

    responses: Any
    preference: Array


class Comparisons(NamedTuple):
    """Labelled pairs of responses, in fixed capacity so that they live in the carry of a scan.

    Attributes:
      context: ``[N]`` integer contexts (or prompts) that the pairs belong to.
      first: ``[N, ...]`` first responses, in the order in which they were drawn; a pytree of such arrays
        where a response is more than one array (the states and actions of a segment).
      second: likewise, the second responses.
      prefer_first: ``[N]`` labels in [0, 1], 1 where the first response was preferred.
      weight: ``[N]`` >= 0, how often the row was observed; 0 where there is no comparison. A row of
        weight 0 may hold anything.
    """

    context: Array
    first: Any
    second: Any
    prefer_first: Array
    weight: Array


class Calibration(NamedTuple):
    """A term beside the losses of a fit: ``weight E_{x~ρ, y~policy}[log π(y|x) - log π_ref(y|x)]``.

    At ``policy = π_ref`` it is minus the forward divergence, ``-weight KL(π_ref‖π)``: a positive weight
    pushes the fit away from the reference (optimism), a negative one towards it (pessimism).

    Attributes:
      policy: whose responses are averaged over; held fixed, no gradient flows into it.
      weight: any sign.
    """

    policy: Policy
    weight: Any


class Info(NamedTuple):
    """What every step reports beside its state.

    Attributes:
      queries: the cost axis of every plot. How many payoff vectors P π the step asked for (EGPO: 2), or how
        many labelled comparisons (XPO: 1).
    """

    queries: int | Array


class Oracle(NamedTuple):
    """Where preferences come from: a matrix, samples of it, a data set, a judge.

    Attributes:
      payoff: ``payoff(key, policy) -> Feedback``, P(y ≻ policy) for responses y.
      duel: ``duel(key, policy, opponent) -> Comparisons``, labelled pairs, first drawn from ``policy``.
    """

    payoff: Callable[..., Feedback]
    duel: Callable[..., Comparisons]


class PolicySpace(NamedTuple):
    """How policies are represented and moved.

    Attributes:
      reference: the reference policy in this space's representation.
      log_prob: ``log_prob(policy, responses=None) -> Array``; ``None`` means every response in order.
      mix: ``mix(policy, other, weight) -> policy``, the normalised geometric mixture
        policy^(1 - weight) other^weight.
      project: ``project(policy, target, feedback) -> policy``, the policy nearest to the unnormalised
        log-policy ``target(log_prob, log_ref, preference)``, started from ``policy``.
      fit: ``fit(key, policy, loss, comparisons, calibration=None) -> policy``, started from ``policy``,
        minimises ``Σ weight loss(log_ratio_first, log_ratio_second, prefer_first)`` over the comparisons,
        with ``log_ratio = log π - log π_ref`` of each response, plus the term of a ``Calibration``.
    """

    reference: Policy
    log_prob: Callable[..., Array]
    mix: Callable[[Policy, Policy, Any], Policy]
    project: Callable[[Policy, Target, Feedback], Policy]
    fit: Callable[..., Policy]


class Constants(NamedTuple):
    """What a bound may depend on; every entry broadcasts (a scalar, or one value per run).

    Attributes:
      step_size: the algorithm's step size (explicit or composite, as its factory names it); NaN for a
        schedule.
      beta: KL coefficient.
      kl_start: KL(Nash ‖ first policy), in nats; NaN where β = 0.
      log_start: max over actions of log(1 / first policy), in nats; log A from the uniform policy.
      span_start: span of log(first policy) - log(Nash), in nats; NaN where β = 0.
      num_actions: A, actions with a reference probability above 0 (in the context that has most).
      log_min_ref: log of the smallest such probability, in nats, <= -log A; min π_ref is its ``exp``.
      largest_advantage: max over pairs of |P(a ≻ b) - 1/2|, in [0, 1/2]: how far a payoff vector P π moves,
        in the largest entry, when π moves by 1 in ℓ1.
    """

    step_size: Any
    beta: Any
    kl_start: Any
    log_start: Any
    span_start: Any = math.nan
    num_actions: Any = math.nan
    log_min_ref: Any = math.nan
    largest_advantage: Any = math.nan


def _any_step_size(beta: Any) -> tuple[Any, Any]:
    return 0 * beta, math.inf + 0 * beta


@jax.tree_util.register_static
@dataclass(frozen=True)
class Claim:
    """What a theorem promises about an algorithm's run; data only, judged elsewhere.

    A claim of one's own needs a name, a metric and a bound.

    Attributes:
      name: short identifier, unique within the algorithm.
      metric: a name in ``tabular.metrics.METRICS``.
      bound: ``bound(step, constants)``, the promised ceiling of the metric after ``step`` steps.
      iterate: ``"last"``, ``"half"`` or ``"average"``.
      statement: the inequality in one line.
      source: arXiv id of the method and, where its text was read, the statement's number.
      status: ``"theorem"`` (as its source states it), ``"derived"`` (proved here, or the constant is ours) or
        ``"empirical"`` (no proof known to us at this range; never seen to fail).
      rate_kind: ``"linear"`` (metric ~ exp(-rate step)), ``"power"`` (metric ~ step^-rate) or ``"none"`` (a
        bound that does not go to zero).
      rate: ``rate(constants)``, the promised rate in the sense of ``rate_kind``; ``None`` without one.
      step_size_range: ``step_size_range(beta) -> (low, high)``, the closed range the proof covers.
      regularised: True for a claim about β > 0, False for one about the unregularised game (β = 0).
    """

    name: str
    metric: str
    bound: Callable[[Array, Constants], Array]
    iterate: str = "last"
    statement: str = "not said"
    source: str = "not said"
    status: str = "empirical"
    rate_kind: str = "none"
    rate: Callable[[Constants], Array] | None = None
    step_size_range: Callable[[Any], tuple[Any, Any]] = _any_step_size
    regularised: bool = True


class PolicyState(NamedTuple):
    """State of a method that remembers nothing else.

    Attributes:
      policy: the last iterate.
    """

    policy: Policy


class _Algorithm(NamedTuple):
    init: Callable[[Policy], State]
    step: Callable[..., tuple[State, Info]]
    claims: tuple[Claim, ...] = ()


class Algorithm(_Algorithm):
    """A method, as data.

    Functions of every kind are welcome. Those of ``algorithm`` below have their hyper-parameters by name;
    of nested functions, floats and arrays that they close over are made leaves (``nlhf.functions``), so that
    such a float cannot decide an ``if``. Numbers hidden in an object or behind a decorator are structure:
    nothing of theirs can be batched by ``vmap``, and another number compiles again.

    Attributes:
      init: ``init(policy) -> State``. Every state has a field ``policy``, the last iterate.
      step: ``step(key, state, oracle, space) -> (State, Info)``.
      claims: what theory promises, a tuple of ``Claim``.
    """

    __slots__ = ()

    def __new__(cls, init: Callable, step: Callable, claims: tuple[Claim, ...] = ()) -> Algorithm:
        """Make both functions pytrees; what JAX puts there while it rebuilds one is left alone."""
        init, step = (as_partial(each) if callable(each) else each for each in (init, step))
        return super().__new__(cls, init, step, claims)

    def _replace(self, **changes: Any) -> Algorithm:
        return Algorithm(**{**self._asdict(), **changes})

    def __repr__(self) -> str:
        if not isinstance(self.step, Partial):
            return super().__repr__()
        name = f"{self.step.func.__module__}.{self.step.func.__qualname__}"
        settings = [f"{key}={' '.join(str(value)[:40].split())}" for key, value in hyper(self).items()]
        claims = [claim.name for claim in self.claims]
        return f"Algorithm({', '.join([name, *settings])}{'; claims ' * bool(claims)}{', '.join(claims)})"


def as_algorithm(value: Any) -> Algorithm:
    """Return any record of two functions ``init`` and ``step`` as an ``Algorithm``.

    Args:
      value: an ``Algorithm``, or a record of anybody else; its ``claims`` are kept where it has some.

    Raises:
      InputError: if it has no such functions.
    """
    if isinstance(value, Algorithm):
        return value
    init, step = getattr(value, "init", None), getattr(value, "step", None)
    if not (callable(init) and callable(step)):
        raise InputError(
            f"an algorithm has the functions init and step, but a {type(value).__name__} has not; give "
            "nlhf.Algorithm(init, step)"
        )
    return Algorithm(init, step, tuple(getattr(value, "claims", ())))


def algorithm(init: Callable, step: Callable, claims: tuple[Claim, ...] = (), **hyper: Any) -> Algorithm:
    """Bind hyper-parameters to a step: ``step(key, state, oracle, space, *, **hyper)``.

    Args:
      init: module-level function ``init(policy) -> State``.
      step: module-level function; its keyword-only arguments are the hyper-parameters.
      claims: the theorems about this step.
      **hyper: numbers or arrays (then a batch of algorithms). A ``step_size`` may be a schedule
        ``count -> number``, of optax, say: the state is then a ``ScheduledState``, and nothing is claimed.

    Returns:
      An ``Algorithm`` that is a pytree with the hyper-parameters as leaves.
    """
    if callable(hyper.get("step_size")):
        return Algorithm(*scheduled(init, step, **hyper))
    return Algorithm(init, Partial(step, **hyper), claims)


def hyper(method: Algorithm) -> dict[str, Any]:
    """Return the hyper-parameters of an algorithm by name; of nested functions, what they close over.

    >>> from nlhf import egpo
    >>> hyper(egpo(step_size=0.5, beta=0.1))
    {'step_size': 0.5, 'beta': 0.1}
    """
    return bound_values(method.step)


def check_number(
    name: str, value: Any, *, low: float = 0.0, high: float = math.inf, open_low: bool = False
) -> Any:
    """Return ``value`` if it is a finite number (or array of them) in the range, else raise.

    Traced values and schedules pass unchecked: they have no value yet.

    Args:
      name: how the message calls the value.
      value: number, array, tracer or callable.
      low: smallest value allowed.
      high: largest value allowed.
      open_low: whether ``low`` itself is refused.

    Raises:
      InputError: if a concrete value is not finite or out of range.

    >>> check_number("beta", -0.1)
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: beta is -0.1, but it must be a finite number in [0, inf]; give another beta
    """
    if callable(value) or isinstance(value, jax.core.Tracer):
        return value
    array = np.asarray(value)
    if array.dtype == object and all(entry is None for entry in array.flat):
        return value  # not a value but an axis, where an algorithm says which of its numbers a vmap batches
    try:
        finite = np.isfinite(array)
    except TypeError:
        raise InputError(f"{name} is {value!r}, but it must be a number; give another {name}") from None
    wrong = ~finite | (array < low) | (array > high) | (open_low & (array == low))
    if wrong.any():
        left = "(" if open_low else "["
        raise InputError(
            f"{name} is {float(array[wrong].flat[0]):g}, but it must be a finite number in "
            f"{left}{low:g}, {high:g}]; give another {name}"
        )
    return value


def check_whole(name: str, value: Any, *, low: int = 1) -> int:
    """Return ``value`` as an ``int`` if it is a whole number of at least ``low``, else raise.

    Args:
      name: how the message calls the value.
      value: a concrete number; counts are structure, so a traced value is refused by Python itself.
      low: smallest value allowed.

    Raises:
      InputError: if the value is not finite, not whole or too small.

    >>> check_whole("num_inner", 2.5)
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: num_inner is 2.5, but it must be a whole number; give num_inner >= 1
    """
    if np.ndim(value) or isinstance(value, str | type(None)):
        raise InputError(f"{name} is {value!r}, but it must be a whole number; give {name} >= {low}")
    check_number(name, value, low=low)
    if int(value) != value:
        raise InputError(f"{name} is {value}, but it must be a whole number; give {name} >= {low}")
    return int(value)


def warn_above(name: str, value: Any, high: Any, reason: str) -> None:
    """Warn where a concrete number (or an entry of an array) is above the end of a range.

    Args:
      name: how the message calls the value.
      value: number, array, tracer or callable; the last two pass.
      high: end of the range, likewise.
      reason: what does not hold above it.

    Warns:
      RangeWarning: names the value, the range and the reason.
    """
    if callable(value) or any(isinstance(entry, jax.core.Tracer) for entry in (value, high)):
        return
    try:
        above = np.asarray(value, float) > np.asarray(high, float) * (1 + 1e-6)
    except (TypeError, ValueError):
        return  # a placeholder leaf that JAX makes while it rebuilds a pytree
    if above.any():
        first = float(np.broadcast_to(value, above.shape)[above].flat[0])
        end = float(np.broadcast_to(high, above.shape)[above].flat[0])
        warnings.warn(
            f"{name} is {first:g}, outside [0, {end:g}]: {reason}; the run continues",
            RangeWarning,
            stacklevel=3,
        )
