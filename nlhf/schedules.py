"""Step sizes that change from step to step, for every method alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.functions import as_partial


class ScheduledState(NamedTuple):
    """State of a method whose step size follows a schedule; other fields are those of its own state.

    Attributes:
      policy: the last iterate.
      state: of the method.
      steps: steps made.
    """

    policy: Any
    state: Any
    steps: jax.Array

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.state, name)


def size_at(step_size: Any, count: jax.Array) -> Any:
    """Return a number as it is, and a schedule's value after ``count`` steps."""
    if not callable(step_size):
        return step_size
    with jax.numpy_dtype_promotion("standard"):  # schedules mix counts with floats
        return step_size(count)


def scheduled(
    init: Callable, step: Callable, *, step_size: Callable, **hyper: Any
) -> tuple[Partial, Partial]:
    """Return ``init`` and ``step`` of a method whose step size is looked up in each step.

    Args:
      init: ``init(policy) -> state``.
      step: ``step(key, state, oracle, space, *, step_size, **hyper)``.
      step_size: ``count -> number``, count from 0.
      **hyper: the other hyper-parameters.
    """
    named = {"step_size": as_partial(step_size), **hyper}
    return Partial(_init, as_partial(init)), Partial(_step, as_partial(step), **named)


def _init(init: Callable, policy: Any) -> ScheduledState:
    return ScheduledState(policy, init(policy), jnp.zeros((), int))


def _step(
    step: Callable, key: Any, state: ScheduledState, oracle: Any, space: Any, *, step_size: Any, **hyper: Any
) -> tuple[ScheduledState, Any]:
    after, info = step(key, state.state, oracle, space, step_size=size_at(step_size, state.steps), **hyper)
    return ScheduledState(after.policy, after, state.steps + 1), info
