"""Training of a judge on labelled pairs of responses: minibatches and one compiled step, for any loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlhf.base import Comparisons, Oracle, check_whole
from nlhf.datasets import minibatches
from nlhf.policies import Trained
from nlhf.transformer.descent import move
from nlhf.transformer.judges.protocol import Judge, duel_preference
from nlhf.transformer.runs.guard import NonFiniteError

Array = jax.Array
Loss = Callable[[Any, Comparisons], Array]


def start(params: Any, optimiser: optax.GradientTransformation) -> Trained:
    """Return a judge that is about to be trained.

    Args:
      optimiser: an optax transformation; make it once: a new one compiles again.
    """
    return Trained(params, optimiser.init(params))


@functools.partial(jax.jit, static_argnames="optimiser")
def step(
    key: Array, judge: Trained, data: Oracle, loss: Loss, optimiser: optax.GradientTransformation
) -> tuple[Trained, Array]:
    """One step on ``Σ weight loss / Σ weight`` over a minibatch; returns the judge and that mean.

    Args:
      key: random key of the minibatch.
      judge: as ``start`` makes it.
      data: ``nlhf.datasets.minibatches(comparisons, batch)``.
      loss: ``reward_model.loss(config)`` or ``pairwise_model.loss(config)``.
      optimiser: the one of ``start``.
    """
    batch = data.duel(key, None, None)
    total = jnp.sum(batch.weight)
    value, gradient = jax.value_and_grad(lambda params: loss(params, batch) / total.astype(_wide(params)))(
        judge.parameters
    )
    return move(judge, gradient, optimiser), value


def _wide(params: Any) -> Any:
    return params["read_out"].dtype


def train_judge(
    key: Array,
    params: Any,
    loss: Loss,
    comparisons: Comparisons,
    optimiser: optax.GradientTransformation,
    *,
    num_steps: int,
    batch: int,
) -> tuple[Any, np.ndarray]:
    """Train a judge on labelled pairs.

    Args:
      loss: of the same kind.
      comparisons: pairs of ``Responses``, labels in [0, 1]; rows are drawn in proportion to their weight.
      num_steps: >= 1.
      batch: pairs a step, >= 1.

    Returns:
      The parameters, and the mean loss of each step's minibatch before it, ``[num_steps]`` in nats.

    Raises:
      InputError: as ``nlhf.datasets.minibatches``.
      NonFiniteError: naming the step whose loss is not finite.
    """
    data, judge = minibatches(comparisons, batch), start(params, optimiser)
    values = np.zeros(check_whole("num_steps", num_steps))
    for index, step_key in enumerate(jax.random.split(key, num_steps)):
        judge, value = step(step_key, judge, data, loss, optimiser)
        values[index] = float(value)  # waits: with several forced devices a loop that never does deadlocks
        if not np.isfinite(values[index]):
            raise NonFiniteError(
                f"the judge's loss is {values[index]:g} at step {index}; lower the learning rate"
            )
    return judge.parameters, values


def agreement(judge: Judge, comparisons: Comparisons, batch: int = 512) -> float:
    """Return the weighted share of pairs whose label the judge agrees with; ties of either count one half.

    Args:
      batch: pairs asked at a time, >= 1.
    """
    weight, label = np.asarray(comparisons.weight), np.asarray(comparisons.prefer_first)
    size, parts = min(check_whole("batch", batch), len(label)), []
    for begin in range(0, len(label), size):
        rows = np.arange(begin, begin + size) % len(label)  # the last batch is as long, so one compilation
        sides = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (comparisons.first, comparisons.second))
        parts.append(np.asarray(duel_preference(judge, *sides)))
    answers = np.concatenate(parts)[: len(label)]
    sides_agree = 0.5 + 0.5 * np.sign(answers - 0.5) * np.sign(label - 0.5)
    return float((weight * sides_agree).sum() / weight.sum())
