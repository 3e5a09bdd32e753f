"""One step of each kind of training run, as ``loop.run_steps`` takes it, and what is measured on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.commands import Train
from experiments.language_models import settings as lm_settings
from experiments.language_models.source import Base
from experiments.language_models.train_data import Data
from experiments.language_models.train_state import TrainState
from nlhf.base import Comparisons, PolicySpace
from nlhf.datasets import given
from nlhf.transformer import space as spaces
from nlhf.transformer.data.order import indices
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.model.lora import lora
from nlhf.transformer.model.sampler import sample
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import LanguageModel, components
from nlhf.transformer.responses import Responses, flat, length, pair

START = 2**31 - 1  # the index of no step, for the draws of the evaluation before the first
Values = dict[str, Any]
Step = Callable[[int, TrainState], tuple[TrainState, Values]]


class Run(NamedTuple):
    """A run that is ready to go.

    Attributes:
      state: at step 0.
      step: makes the next one.
      start: measures the one at step 0.
      best: the value by which the best checkpoint is chosen, and whether large is good.
    """

    state: TrainState
    step: Step
    start: Callable[[TrainState], Values]
    best: tuple[str, bool]


class Placing(NamedTuple):
    """Where arrays go.

    Attributes:
      state: places parameters, policies and states.
      rows: places the rows of a batch.
      share: which part of a batch this process feeds, and of how many.
    """

    state: Callable[[Any], Any]
    rows: Callable[[Any], Any]
    share: tuple[int, int]


def optimiser(command: Train, projections: int = 1) -> optax.GradientTransformation:
    """Adam behind a clipped gradient, with the schedule that a command asks for.

    Args:
      command: of the run.
      projections: of a step, each going on from the one before; each makes ``--updates`` optimiser steps.
    """
    made = command.steps * command.updates * projections
    total = max(made, command.warmup + 1) if command.decay else None
    return _optimiser(command.learning_rate, command.warmup, total, command.clip)


@functools.cache  # jit knows an optimiser by its identity: equal settings are to compile once
def _optimiser(peak: float, warmup: int, total: int | None, clip: float) -> optax.GradientTransformation:
    if total is not None:
        schedule: Any = optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, total)
    else:
        schedule = optax.linear_schedule(0.0, peak, warmup) if warmup else peak
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule))


def _rows(command: Train, data: Any, index: int, placing: Placing) -> tuple[Any, np.ndarray]:
    num = len(jax.tree.leaves(data)[0])
    part, parts = placing.share
    chosen = indices(
        command.seed, index * command.batch, num, command.batch, process=part, num_processes=parts
    )
    return jax.tree.map(lambda leaf: leaf[chosen], data), chosen


def _own(tree: Any, placing: Placing) -> Any:
    """Place all rows of a tree that every process has, each feeding its part."""
    part, parts = placing.share

    def slice_of(leaf: Any) -> Any:
        size = len(leaf) // parts
        return leaf[part * size : (part + 1) * size]

    return placing.rows(jax.tree.map(slice_of, tree))


def preference_run(
    command: Train,
    name: str,
    chosen: dict[str, Any],
    base: Base,
    data: Data,
    judge: Judge | None,
    traceable: bool,
    placing: Placing,
) -> Run:
    """Make the run of an algorithm on a language model.

    Args:
      command: of the run.
      name: of the algorithm.
      chosen: its numbers.
      base: the reference.
      data: prompts, or labelled pairs where there is no judge.
      judge: whom to ask; ``None`` learns from the labels of the pairs.
      traceable: whether the judge is JAX code.
      placing: where arrays go.
    """
    rank = command.lora
    moved = optimiser(command, chosen.get("num_inner", 1))
    model = LanguageModel(placing.state(base.params), base.config, None if rank is None else lora(rank))
    end = base.tokenizer.end
    space = spaces.transformer_space(
        model, moved, num_updates=command.updates, rows=command.rows, fit_rows=command.batch, end=end
    )
    one = Responses(
        jnp.zeros(command.prompt_length, jnp.int32),
        jnp.zeros(command.response_length, jnp.int32),
        jnp.zeros(()),
    )
    algorithm = lm_settings.build_algorithm(name, chosen, one)
    key = jax.random.key(command.seed)
    start_key, run_key = jax.random.split(key)
    state = TrainState(algorithm.init(spaces.start(model, moved, key=start_key)), run_key)
    step = algorithm.step
    if judge is None or traceable:
        step = jax.jit(step, donate_argnums=1)  # the old state's memory becomes the new one's

    def measure(index: int, state: Any) -> Values:
        held_out = _own(data.held_out, placing)
        if judge is None:
            return judge_pairs(model, space, state.policy, held_out)
        draw_key = jax.random.fold_in(jax.random.key(command.seed + 1), index)
        return compare_with_reference(
            draw_key, model, space, state.policy, judge, held_out, command.response_length, end
        )

    def advance(index: int, state: TrainState) -> tuple[TrainState, Values]:
        rows, numbers = _rows(command, data.train, index, placing)
        if judge is None:
            oracle = given(placing.rows(rows))
        else:
            prompts = Prompts(placing.rows(rows), placing.rows(numbers.astype(np.int32)))
            oracle = sampled_oracle(
                model,
                judge,
                prompts,
                num_responses=command.responses,
                length=command.response_length,
                end=end,
                soft_labels=command.soft_labels,
            )
        new, info = step(jax.random.fold_in(state.key, index), state.algorithm, oracle, space)
        values: Values = {"queries": info.queries}
        if (index + 1) % command.evaluate_every == 0 or index + 1 == command.steps:
            values |= measure(index, new)
        return TrainState(new, state.key), values

    if judge is not None:
        best = ("win_rate", True)
    else:
        best = ("nll", False) if command.mode == "sft" else ("accuracy", True)
    return Run(placing.state(state), advance, lambda state: measure(START, state.algorithm), best)


def compare_with_reference(
    key: Any,
    model: LanguageModel,
    space: PolicySpace,
    policy: Any,
    judge: Judge,
    prompts: Any,
    size: int,
    end: int | None,
) -> Values:
    """Win rate against the reference, KL to it and length, from one response of each to every prompt.

    Args:
      key: of the draws.
      space: of the policy.
      policy: to be judged.
      judge: whom to ask.
      prompts: ``[B, P]``.
      size: tokens of a response at most.
      end: id that ends one.
    """
    own_key, reference_key = jax.random.split(key)
    own, other = (
        sample(draw_key, components(model, each), model.config, prompts, length=size, end=end)
        for draw_key, each in ((own_key, policy), (reference_key, space.reference))
    )
    wins = judge.compare(judge.describe(flat(own)), judge.describe(flat(other)))
    ratio = own.log_prob - space.log_prob(space.reference, own).astype(own.log_prob.dtype)
    return {"win_rate": wins.mean(), "kl": ratio.mean(), "length": length(own).astype(ratio.dtype).mean()}


@jax.jit
def _margins(model: LanguageModel, space: PolicySpace, policy: Any, pairs: Comparisons) -> tuple[Any, Any]:
    both = pair(pairs.first, pairs.second)
    own = space.log_prob(policy, both)
    ratio = own - space.log_prob(space.reference, both)
    won = jnp.where(pairs.prefer_first >= 0.5, own[:, 0], own[:, 1])
    size = jnp.where(pairs.prefer_first >= 0.5, length(both)[:, 0], length(both)[:, 1])
    return ratio[:, 0] - ratio[:, 1], won.sum() / size.sum().astype(won.dtype)


def judge_pairs(model: LanguageModel, space: PolicySpace, policy: Any, pairs: Comparisons) -> Values:
    """Accuracy of the implicit reward ``log π/π_ref`` on labelled pairs, and nats a token of the chosen.

    Args:
      space: of the policy.
      policy: to be judged.
      pairs: held out.
    """
    margin, log_prob = _margins(model, space, policy, pairs)
    label = pairs.prefer_first.astype(margin.dtype)
    right = jnp.where(margin > 0, label, 1 - label)
    right = jnp.where(margin == 0, 0.5, right)
    return {"accuracy": right.mean(), "margin": (jnp.sign(label - 0.5) * margin).mean(), "nll": -log_prob}


def judge_run(command: Train, base: Base, data: Data, placing: Placing) -> Run:
    """Make the run that trains a reward model or a pairwise model on labelled pairs.

    Args:
      command: of the run.
      base: whose weights it starts from.
      data: labelled pairs.
      placing: where arrays go.
    """
    from nlhf.transformer.judges import pairwise_model, reward_model, training

    maker = reward_model if command.mode == "reward" else pairwise_model
    moved = optimiser(command)
    loss = maker.loss(base.config)
    start_key, run_key = jax.random.split(jax.random.key(command.seed))
    state = TrainState(training.start(maker.init(start_key, base.config, base.params), moved), run_key)

    def advance(index: int, state: TrainState) -> tuple[TrainState, Values]:
        rows, _ = _rows(command, data.train, index, placing)
        key = jax.random.fold_in(state.key, index)
        new, value = training.step(key, state.algorithm, given(placing.rows(rows)), loss, moved)
        values: Values = {"loss": value}
        if (index + 1) % command.evaluate_every == 0 or index + 1 == command.steps:
            values |= measure(new)
        return TrainState(new, state.key), values

    def measure(trained: Any) -> Values:
        return {"accuracy": training.agreement(maker.judge(trained.parameters, base.config), data.held_out)}

    return Run(placing.state(state), advance, lambda state: measure(state.algorithm), ("accuracy", True))
