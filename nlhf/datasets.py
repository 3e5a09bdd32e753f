"""Labelled comparisons as a data set: an oracle that answers with minibatches, and a run over them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import (
    Algorithm,
    Comparisons,
    Count,
    Feedback,
    Oracle,
    Policy,
    PolicySpace,
    State,
    as_algorithm,
    check_whole,
)
from nlhf.comparisons import rows_at
from nlhf.errors import InputError

Array = jax.Array


def compare(first: Any, second: Any, prefer_first: Any) -> Comparisons:
    """Make a data set of comparisons from its columns, each observed once, and check it.

    Args:
      first: N first responses (a pytree such as ``Segments``).
      prefer_first: ``[N]`` labels in [0, 1].

    Raises:
      InputError: as ``check_labels``, or if the columns are not of one length.
    """
    labels = np.asarray(prefer_first)
    if labels.ndim != 1 or labels.dtype.kind not in "biuf":
        raise InputError(
            f"prefer_first is {str(prefer_first)[:40]!r}, but labels must be [N] numbers in [0, 1]"
        )
    if isinstance(first, list | tuple) and not hasattr(first, "_fields"):
        # a plain list is one column, not a pytree of rows
        first, second = np.asarray(first), np.asarray(second)
    kinds = [
        (jax.tree.structure(side), [np.shape(leaf)[1:] for leaf in jax.tree.leaves(side)])
        for side in (first, second)
    ]
    if kinds[0] != kinds[1]:
        raise InputError(f"first holds {kinds[0]}, but second {kinds[1]}; give segments of one length")
    for leaf in jax.tree.leaves((first, second)):
        if len(leaf) != len(labels):
            raise InputError(
                f"a column has {len(leaf)} rows, but there are {len(labels)} labels; drop the unpaired ones"
            )
    check_labels(labels)
    first, second = jax.tree.map(jnp.asarray, (first, second))
    floats = [leaf.dtype for leaf in jax.tree.leaves(first) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = floats[0] if floats else jnp.result_type(float)
    num = len(labels)
    return Comparisons(jnp.zeros(num, int), first, second, jnp.asarray(labels, dtype), jnp.ones(num, dtype))


def check_labels(labels: np.ndarray) -> None:
    """Refuse labels from which nothing can be learned.

    Args:
      labels: ``[N]``.

    Raises:
      InputError: if there are none, one is outside [0, 1], or all are 0, or all 1.

    >>> check_labels(np.array([1.0, 2.0]))
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: label 1 is 2, outside [0, 1]; give 1 where the first response won, else 0
    """
    if labels.size == 0:
        raise InputError("the data set has 0 comparisons, but at least 1 is needed; check what selects them")
    wrong = ~((labels >= 0) & (labels <= 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"label {row} is {labels[row]:g}, outside [0, 1]; give 1 where the first response won, else 0"
        )
    if labels[0] in (0, 1) and (labels == labels[0]).all():
        side = "first" if labels[0] else "second"
        raise InputError(
            f"all {labels.size} labels are {labels[0]:g}: the {side} response always wins, so a fit has no "
            "finite optimum; swap the sides of a random half with their labels"
        )


def check_weight(weight: np.ndarray) -> np.ndarray:
    """Return ``weight`` if it says how often rows were observed, else raise.

    Args:
      weight: ``[N]``.

    Raises:
      InputError: if an entry is negative or not finite, or all are 0.
    """
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        raise InputError(
            f"weight {int(wrong.argmax())} is {weight[wrong][0]:g}, but a row is observed a finite number of "
            "times >= 0; give 1, or 0 to leave it out"
        )
    if not (weight > 0).any():
        raise InputError("the data set has 0 comparisons, but at least 1 is needed; check its weight")
    return weight


def minibatches(comparisons: Comparisons, batch: int) -> Oracle:
    """Answer every duel with rows drawn with replacement from a data set, whatever the policies.

    Args:
      comparisons: the data set; rows are drawn in proportion to their weight.
      batch: rows a duel, >= 1.

    Raises:
      InputError: as ``check_labels`` over the rows of positive weight; if batch is not a positive whole
        number; from ``payoff``, since a data set has no table of preferences.
    """
    weight = check_weight(np.asarray(comparisons.weight))
    check_labels(np.asarray(comparisons.prefer_first)[weight > 0])
    # float64 on the host: with many rows the running sum would not resolve a single one in float32
    share = np.cumsum(weight, dtype=np.float64) / weight.sum(dtype=np.float64)
    upper = jnp.asarray(share, jnp.result_type(float))
    last = jnp.asarray(np.flatnonzero(weight > 0)[-1])
    return Oracle(
        Partial(no_payoff), Partial(_duel, Count(check_whole("batch", batch)), comparisons, upper, last)
    )


def fixed_batch(comparisons: Comparisons) -> Oracle:
    """Answer every duel with the same comparisons, in their order: a batch that the caller has chosen.

    Args:
      comparisons: what is answered; an argument of the step, so that the next batch compiles nothing.
    """
    return Oracle(Partial(no_payoff), Partial(_fixed, comparisons))


def _fixed(comparisons: Comparisons, key: Array, policy: Policy, opponent: Policy) -> Comparisons:
    del key, policy, opponent
    return comparisons


def no_payoff(key: Array, policy: Policy) -> Feedback:
    """The payoff of an oracle that only has labelled pairs.

    Raises:
      InputError: always.
    """
    del key, policy
    raise InputError("a data set has no table of preferences; use a method that learns from comparisons")


def _duel(
    batch: Count,
    comparisons: Comparisons,
    upper: Array,
    last: Array,
    key: Array,
    policy: Policy,
    opponent: Policy,
) -> Comparisons:
    """Invert the distribution function ``upper`` of the rows; no row beyond ``last`` has weight."""
    del policy, opponent
    draws = jax.random.uniform(key, (batch,), upper.dtype)
    drawn = rows_at(comparisons, upper, draws, last)
    return drawn._replace(weight=jnp.ones_like(drawn.weight))


def train(
    algorithm: Algorithm,
    space: PolicySpace,
    oracle: Oracle,
    *,
    key: Array,
    num_steps: int,
    start: Policy | None = None,
) -> State:
    """Run an algorithm for ``num_steps`` steps as one compiled scan.

    Args:
      algorithm: a learner.
      space: where its policy lives.
      oracle: where comparisons come from.
      num_steps: >= 1; another number compiles again.
      start: first policy; ``None`` is the reference of the space.

    Returns:
      The algorithm's last state.

    Raises:
      InputError: if num_steps is not a positive whole number.
    """
    policy = space.reference if start is None else start
    num_steps = check_whole("num_steps", num_steps)
    return _train(as_algorithm(algorithm), space, oracle, key, policy, num_steps)


@functools.partial(jax.jit, static_argnums=5)
def _train(
    algorithm: Algorithm, space: PolicySpace, oracle: Oracle, key: Array, policy: Policy, num_steps: int
) -> State:
    def step(state: State, step_key: Array) -> tuple[State, None]:
        state, _ = algorithm.step(step_key, state, oracle, space)
        return state, None

    return jax.lax.scan(step, algorithm.init(policy), jax.random.split(key, num_steps))[0]
