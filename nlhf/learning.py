"""What the methods that learn from labelled comparisons share: a state that remembers, and the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Calibration, Comparisons, Info, Oracle, Policy, PolicySpace, algorithm
from nlhf.errors import InputError
from nlhf.replay import Memory, Replay


class LearnerState(NamedTuple):
    """State of a method that fits its policy to all comparisons so far.

    Attributes:
      policy: the last iterate.
      memory: the comparisons.
    """

    policy: Policy
    memory: Memory


def init(policy: Policy, *, replay: Replay) -> LearnerState:
    """Start from a policy and an empty memory."""
    return LearnerState(policy, replay.empty())


def learner(init: Callable, step: Callable, replay: Replay, **hyper: Any) -> Algorithm:
    """Bind a replay and hyper-parameters to ``step(key, state, oracle, space, *, replay, **hyper)``.

    Args:
      init: module-level function ``init(policy, *, replay)``.
      step: module-level function; its keyword-only arguments are the replay and the hyper-parameters.
      replay: what the method remembers of the comparisons.
      **hyper: as in ``nlhf.base.algorithm``.

    Returns:
      An ``Algorithm`` without claims: theorems about learners speak of runs over seeds, and are rows of
      the ledger.

    Raises:
      InputError: if the replay is none.
    """
    if not isinstance(replay, Replay):
        raise InputError(
            f"replay is {str(replay)[:40]!r}, but it must be a Replay; give nlhf.replay.buffer(1000), say"
        )
    return algorithm(Partial(init, replay=replay), step, replay=replay, **hyper)


def learn(
    key: Array,
    state: Any,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    loss: Callable[..., Array],
    opponent: Policy,
    calibrate: Callable[[Comparisons], Calibration] | None = None,
    start: Policy | None = None,
) -> tuple[LearnerState, Info]:
    """The step that learners share: ``y ~ π``, ``y' ~ opponent``; append; ``argmin Σ loss`` over all so far.

    Args:
      key: split into one for the draws and one for the fit.
      state: with ``policy`` and ``memory``.
      oracle: asked for one duel.
      space: fits.
      replay: how the answer is remembered.
      loss: ``loss(log_ratio_first, log_ratio_second, prefer_first)``, its numbers bound.
      opponent: policy of the second draw.
      calibrate: makes the term beside the losses from the remembered rows; ``None`` is no term.
      start: first policy of the fit; ``None`` is π.
    """
    duel_key, fit_key = jax.random.split(key)
    answer = oracle.duel(duel_key, state.policy, opponent)
    memory = replay.append(state.memory, answer)
    term = None if calibrate is None else calibrate(memory.comparisons)
    first = state.policy if start is None else start
    policy = space.fit(fit_key, first, loss, memory.comparisons, term)
    return LearnerState(policy, memory), count_queries(answer)


def count_queries(comparisons: Comparisons) -> Info:
    """Count the labelled comparisons of one answer."""
    return Info(queries=jnp.sum(comparisons.weight > 0))


def total(comparisons: Comparisons) -> Array:
    """Number of remembered comparisons, with multiplicity."""
    return comparisons.weight.sum()
