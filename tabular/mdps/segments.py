"""Segments of an MDP: drawn, scored by regret or by partial return, and compared by a noisy or a sure judge.

A rule ``rule(mdp, segments) -> [...]`` scores segments, higher is better; the judge prefers the first of two
with probability ``σ(score_first - score_second)``, without a temperature, or for sure with ties as 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Comparisons, check_whole
from nlhf.errors import InputError
from nlhf.segments import Segments, check_pair, discounted_sum
from tabular.mdps.mdp import MDP
from tabular.mdps.values import hard_values, soft_values

Array = jax.Array
Rule = Callable[[MDP, Segments], Array]
TIE = 1e-9


def draw_segments(
    key: Array,
    mdp: MDP,
    num: int,
    length: int,
    *,
    log_policy: Array | None = None,
    start: Array | None = None,
) -> Segments:
    """Draw segments; one that reaches a terminal state stays there.

    Args:
      num: N >= 1 segments.
      length: T >= 1 steps each.
      log_policy: ``[S, A]`` behaviour; ``None`` is uniform over the actions of the reference.
      start: ``[N]`` first states; ``None`` is uniform over all states, terminal ones included, for only
        segments from there pin the constant of a reward.

    Raises:
      InputError: if a count is not a positive integer.
    """
    num, length = check_whole("num", num), check_whole("length", length)
    start_key, walk_key = jax.random.split(key)
    if log_policy is None:
        log_policy = _uniform(mdp)
    if start is None:
        start = jax.random.randint(start_key, (num,), 0, mdp.num_states)
    log_next = jnp.log(mdp.transition)

    def walk(state: Array, step_key: Array) -> tuple[Array, tuple[Array, Array]]:
        action_key, next_key = jax.random.split(step_key)
        action = jax.random.categorical(action_key, log_policy[state], axis=-1)
        following = jax.random.categorical(next_key, log_next[state, action], axis=-1)
        return following, (state, action)

    first = start.astype(jnp.result_type(int))  # as a draw returns it: the carry of a scan keeps its type
    states, actions = jax.lax.scan(walk, first, jax.random.split(walk_key, length))[1]
    return Segments(states.T, actions.T)


def partial_return(mdp: MDP, segments: Segments, *, discount: Any = None) -> Array:
    """``Σ_t discount^t r(s_t, a_t)``, which is blind to where a segment begins and ends.

    Args:
      segments: ``[..., T]``.
      discount: ``None`` is the MDP's, 1 the plain sum.
    """
    return _score(mdp, segments, mdp.reward, discount)


def soft_regret(mdp: MDP, segments: Segments, *, discount: Any = None) -> Array:
    """Negated regret ``Σ_t discount^t A*(s_t, a_t)`` under the soft optimum: ``β Σ_t discount^t log π*/ref``.

    Args:
      mdp: with beta > 0.
      segments: ``[..., T]``.
      discount: ``None`` is the MDP's, 1 the plain sum.

    Reference: arXiv:2310.13639.
    """
    return _score(mdp, segments, soft_values(mdp).advantage, discount)


def hard_regret(mdp: MDP, segments: Segments, *, discount: Any = None) -> Array:
    """Negated regret ``Σ_t discount^t [Q*(s_t, a_t) - V*(s_t)]`` under the plain optimum, beta left aside.

    The regret preference model was published with undiscounted sums: that is ``discount=1``.

    Args:
      segments: ``[..., T]``.
      discount: ``None`` is the MDP's, 1 the plain sum.

    Reference: arXiv:2206.02231.
    """
    return _score(mdp, segments, hard_values(mdp).advantage, discount)


def label(key: Array, difference: Array, noiseless: bool = False) -> Array:
    """Labels of the first segments: Bernoulli of ``σ(difference)``, or its sign with ties as 1/2.

    Args:
      difference: score of the first less that of the second.
    """
    if noiseless:
        tied = jnp.abs(difference) <= TIE * (1 + jnp.abs(difference).max())
        return jnp.where(tied, 0.5, (difference > 0).astype(difference.dtype))
    drawn = jax.random.bernoulli(key, jax.nn.sigmoid(difference)).astype(difference.dtype)
    return jnp.where(jnp.isnan(difference), jnp.nan, drawn)  # a score that is no number is no loss


def labelled_segments(
    key: Array,
    mdp: MDP,
    num: int,
    length: int,
    rule: Rule = soft_regret,
    *,
    noiseless: bool = False,
    log_policy: Array | None = None,
    log_opponent: Array | None = None,
    start: Array | None = None,
) -> Comparisons:
    """Draw pairs of segments and label them; jit- and ``vmap``-able.

    Args:
      num: N >= 1 comparisons.
      length: T >= 1 steps of every segment.
      rule: ``rule(mdp, segments)``, whose differences are the log-odds of the label.
      log_policy: ``[S, A]`` behaviour in the first segments; ``None`` is uniform.
      log_opponent: likewise in the second ones; ``None`` is ``log_policy``.
      start: ``[N]`` first states of both segments; ``None`` draws them apart.

    Returns:
      ``Comparisons`` whose sides are ``Segments``; the context is where the first segment begins.
    """
    first_key, second_key, label_key = jax.random.split(key, 3)
    log_policy = _uniform(mdp) if log_policy is None else log_policy
    behaviour = jnp.stack([log_policy, log_policy if log_opponent is None else log_opponent])
    # both sides in one program: half the compilation
    both = jax.vmap(
        lambda side_key, log_side: draw_segments(side_key, mdp, num, length, log_policy=log_side, start=start)
    )(jnp.stack([first_key, second_key]), behaviour)
    first, second = (jax.tree.map(lambda leaf, side=side: leaf[side], both) for side in range(2))
    score = rule(mdp, both)
    return compare(first, second, label(label_key, score[0] - score[1], noiseless))


def compare(
    first: Segments, second: Segments, prefer_first: Array, weight: Array | None = None
) -> Comparisons:
    """Put segments and labels together.

    Args:
      first: N segments.
      second: N segments of the same length.
      prefer_first: ``[N]`` labels.
      weight: ``[N]`` how often each was observed; ``None`` is once.

    Raises:
      InputError: if the segments differ in length or number.
    """
    check_pair(first, second)
    weight = jnp.ones_like(prefer_first) if weight is None else weight
    return Comparisons(first.states[:, 0], first, second, prefer_first, weight)


def check_comparisons(comparisons: Comparisons, *, soft: bool = True) -> Comparisons:
    """Return a concrete data set of segments if something can be learned from it, else raise.

    Args:
      comparisons: with ``Segments`` on both sides.
      soft: whether labels between 0 and 1 (ties, a judge's probability) are allowed.

    Raises:
      InputError: if no row is present, the segments differ in length, a label is outside [0, 1] (or {0, 1}),
        or all labels are 0, or all 1: then the likelihood has no maximum, and a fit runs off to infinity.
    """
    check_pair(comparisons.first, comparisons.second)
    present = np.asarray(comparisons.weight) > 0
    labels = np.asarray(comparisons.prefer_first)[present]
    if labels.size == 0:
        raise InputError("the data set has 0 comparisons, but at least 1 is needed; check its weight")
    wrong = ~((labels >= 0) & (labels <= 1)) if soft else ~np.isin(labels, (0.0, 1.0))
    if wrong.any():
        row = int(np.flatnonzero(present)[wrong.argmax()])
        allowed = "[0, 1]" if soft else "{0, 1}"
        raise InputError(
            f"label {row} is {labels[wrong][0]:g}, outside {allowed}; give 1 where the first segment won and "
            "0 where it lost"
        )
    if np.isin(labels[0], (0.0, 1.0)) and (labels == labels[0]).all():
        side = "first" if labels[0] else "second"
        raise InputError(
            f"all {labels.size} labels are {labels[0]:g}: the {side} segment always wins, so a fit has no "
            "finite optimum; if winners were sorted to one side, swap the sides of a random half, and their "
            "labels"
        )
    return comparisons


def _uniform(mdp: MDP) -> Array:
    return jnp.where(jnp.isneginf(mdp.log_ref), -jnp.inf, 0.0)


def _score(mdp: MDP, segments: Segments, table: Array, discount: Any) -> Array:
    discount = mdp.discount if discount is None else discount
    return discounted_sum(table[segments.states, segments.actions], discount)
