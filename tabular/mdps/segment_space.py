"""Policies of an MDP as tables, fitted to comparisons of segments; oracles that hand out such comparisons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import (
    Calibration,
    Comparisons,
    Feedback,
    Oracle,
    Policy,
    PolicySpace,
    Static,
    check_number,
    check_whole,
)
from nlhf.datasets import check_weight
from nlhf.errors import InputError
from nlhf.segments import Segments, discounted_sum
from tabular.mdps.mdp import MDP
from tabular.mdps.segments import Rule, check_comparisons, labelled_segments, soft_regret
from tabular.mdps.values import log_ratio, occupancy
from tabular.spaces.simplex import FIT_STEPS, FIT_TOLERANCE, fit_logits, mean_over, minimise, project

Array = jax.Array
MakeOracle = Callable[[MDP, Callable[[Policy], Array]], Oracle]


def segment_space(mdp: MDP) -> PolicySpace:
    """All stationary policies, as ``[S, A]`` log-probabilities; responses are ``Segments``.

    The log-ratio of a segment is ``Σ_t discount^t (log π - log_ref)(a_t|s_t)``, with ``log_ref = 0`` (maximum
    entropy) the discounted log-likelihood of its actions; steps in terminal states count 0.

    Args:
      mdp: only its reference, discount and terminal states are used, and its transitions where a calibration
        term asks for an expectation.

    Returns:
      A ``PolicySpace``; ``fit`` is L-BFGS to tolerance on the logits. It is ``segment_space_to(1e-10, 500)``.
    """
    return segment_space_to(FIT_TOLERANCE, FIT_STEPS)(mdp)


@functools.cache
def segment_space_to(tolerance: float, max_steps: int) -> Callable[[MDP], PolicySpace]:
    """The same with another end of ``fit``; equal arguments give the same factory.

    Args:
      tolerance: norm of the gradient below which a fit stops, > 0.
      max_steps: >= 1; data that leave directions flat, or separate the segments, stop here.

    Raises:
      InputError: on a number out of its range.
    """
    check_number("tolerance", tolerance, open_low=True)
    stop = Static((float(tolerance), check_whole("max_steps", max_steps)))

    def make_space(mdp: MDP) -> PolicySpace:
        return PolicySpace(
            reference=mdp.reference,
            log_prob=Partial(_log_prob, mdp),
            mix=Partial(logspace.geometric_mixture),
            project=Partial(project, mdp.log_ref),
            fit=Partial(fit_logits, mdp.log_ref, Partial(_minimise, stop), Partial(segment_loss, mdp)),
        )

    return make_space


def segment_log_ratio(mdp: MDP, log_policy: Array, segments: Segments) -> Array:
    """``Σ_t discount^t (log π - log_ref)(a_t|s_t)``, 0 for steps in terminal states.

    Args:
      mdp: reference, discount and terminal states.
      log_policy: ``[S, A]``.
      segments: ``[..., T]``.
    """
    return discounted_sum(log_ratio(mdp, log_policy)[segments.states, segments.actions], mdp.discount)


def segment_features(mdp: MDP, segments: Segments) -> Array:
    """``[N, S A]`` discounted visits of every pair (s, a): log-ratios of segments are linear in them.

    The null space of the differences of two sides is what comparisons of them cannot tell; 0 in terminal
    states.

    Args:
      mdp: discount and terminal states.
      segments: ``[N, T]``.
    """
    steps = jnp.arange(segments.actions.shape[-1], dtype=mdp.discount.dtype)
    weight = jnp.where(mdp.terminal[segments.states], 0.0, (mdp.discount**steps)[None])
    index = segments.states * mdp.num_actions + segments.actions
    size = mdp.num_states * mdp.num_actions
    return jax.vmap(lambda i, w: jnp.zeros(size, w.dtype).at[i].add(w))(index, weight)


def _log_prob(mdp: MDP, policy: Array, responses: Segments | None = None) -> Array:
    if responses is None:
        return policy
    return segment_log_ratio(mdp._replace(log_ref=jnp.zeros_like(mdp.log_ref)), policy, responses)


def segment_loss(
    mdp: MDP,
    log_policy: Array,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Array:
    """``(Σ weight loss(log_ratio_first, log_ratio_second, prefer_first) + c E_cal[log_ratio]) / Σ weight``.

    Args:
      mdp: as in ``segment_space``; the expectation is over its runs from ``initial``, discounted.
      log_policy: ``[S, A]``.
      loss: per-example loss, as in ``nlhf.losses`` with its hyper-parameters bound.
      calibration: its policy as a table, and its weight c.
    """
    first, second = (
        segment_log_ratio(mdp, log_policy, side) for side in (comparisons.first, comparisons.second)
    )
    term = None
    if calibration is not None:
        visits = jax.lax.stop_gradient(occupancy(mdp, calibration.policy))
        term = calibration.weight * (visits * log_ratio(mdp, log_policy)).sum()
    return mean_over(comparisons, loss, first, second, term)


def _minimise(stop: tuple[float, int], objective: Callable[[Array], Array], start: Array) -> Array:
    return minimise(objective, start, *stop)


def offline_segments(comparisons: Comparisons, *, batch: int | None = None) -> MakeOracle:
    """Answer every duel with a fixed data set, or with a batch drawn from it; keep the factory for a run.

    Args:
      batch: rows a duel, drawn with replacement in proportion to their weight; ``None`` is the whole set.

    Raises:
      InputError: if the data set is empty, its segments differ in length, a label is outside [0, 1] or all
        labels agree; if batch is not a positive integer; from the factory, if a row names a state or an
        action that the MDP does not have.
    """
    check_comparisons(comparisons)
    check_weight(np.asarray(comparisons.weight))
    batch = None if batch is None else check_whole("batch", batch)
    present = np.asarray(comparisons.weight) > 0
    shown = jax.tree.map(lambda column: np.asarray(column)[present], (comparisons.first, comparisons.second))

    def make_oracle(mdp: MDP, log_prob: Callable) -> Oracle:
        del log_prob
        for side in shown:
            _check_index("state", side.states, mdp.num_states)
            _check_index("action", side.actions, mdp.num_actions)
        return Oracle(Partial(_no_payoff), Partial(_offline_duel, comparisons, Static((batch,))))

    return make_oracle


@functools.cache
def fresh_segments(
    num_duels: int, length: int, rule: Rule = soft_regret, *, noiseless: bool = False, same_start: bool = True
) -> MakeOracle:
    """Answer a duel with new segments of its two policies, labelled by a rule; equal arguments, same factory.

    Args:
      num_duels: comparisons a duel, >= 1.
      length: T >= 1.
      rule: as in ``labelled_segments``.
      same_start: whether both segments begin in one state drawn from ``initial``, or each anywhere.

    Raises:
      InputError: if a count is not a positive integer.
    """
    settings = Static(
        (check_whole("num_duels", num_duels), check_whole("length", length), noiseless, same_start)
    )

    def make_oracle(mdp: MDP, log_prob: Callable) -> Oracle:
        return Oracle(Partial(_no_payoff), Partial(_fresh_duel, mdp, log_prob, Partial(rule), settings))

    return make_oracle


def _no_payoff(key: Array, policy: Policy) -> Feedback:
    del key, policy
    raise InputError("segments have no table of preferences to ask for; use a method that learns from duels")


def _offline_duel(
    comparisons: Comparisons, settings: tuple[int | None], key: Array, policy: Policy, opponent: Policy
) -> Comparisons:
    del policy, opponent
    (batch,) = settings
    if batch is None:
        return comparisons
    rows = jax.random.categorical(key, jnp.log(comparisons.weight), shape=(batch,))
    drawn = jax.tree.map(lambda column: column[rows], comparisons)
    return drawn._replace(weight=jnp.ones_like(drawn.weight))


def _fresh_duel(
    mdp: MDP,
    log_prob: Callable,
    rule: Rule,
    settings: tuple[int, int, bool, bool],
    key: Array,
    policy: Policy,
    opponent: Policy,
) -> Comparisons:
    num_duels, length, noiseless, same_start = settings
    start_key, pair_key = jax.random.split(key)
    start = None
    if same_start:
        start = jax.random.categorical(start_key, jnp.log(mdp.initial), shape=(num_duels,))
    return labelled_segments(
        pair_key,
        mdp,
        num_duels,
        length,
        rule,
        noiseless=noiseless,
        log_policy=log_prob(policy),
        log_opponent=log_prob(opponent),
        start=start,
    )


def _check_index(name: str, index: Any, size: int) -> None:
    outside = (np.asarray(index) < 0) | (np.asarray(index) >= size)
    if outside.any():
        raise InputError(
            f"a segment names {name} {np.asarray(index)[outside][0]}, but the MDP has {size} {name}s, "
            "counted from 0; check which MDP the data come from"
        )
