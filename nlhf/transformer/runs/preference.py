"""One run of any algorithm on a language model: the loop of ``nlhf train``, of the figures and of programs.

The docstring of ``nlhf.transformer`` shows a program.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nlhf.base import Algorithm, Array, Comparisons, Oracle, Policy, PolicySpace, check_whole
from nlhf.datasets import fixed_batch
from nlhf.transformer.data.order import indices
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.model import sharding
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import LanguageModel, sample
from nlhf.transformer.responses import Responses, flat, length, pair
from nlhf.transformer.runs.loop import Ended, Values, run_steps

Oracles = Callable[[int], Oracle]


class TrainState(NamedTuple):
    """State of a run.

    Attributes:
      algorithm: state of the algorithm; of a judge in training, its ``Trained``.
      key: root of the draws of every step.
    """

    algorithm: Any
    key: Any


class Placement(NamedTuple):
    """Where arrays lie.

    Attributes:
      state: places parameters, policies and states.
      rows: places the rows of a batch.
      part: which part of a batch this process feeds, from 0.
      parts: of how many.
    """

    # a copy, since one array may stand twice in a state, but its memory can be given away once
    state: Callable[[Any], Any] = lambda tree: jax.tree.map(jnp.copy, tree)
    rows: Callable[[Any], Any] = lambda tree: jax.tree.map(jnp.asarray, tree)
    part: int = 0
    parts: int = 1

    def local(self, tree: Any) -> Any:
        """Place all rows of a tree that every process has, each feeding its part."""
        size = len(jax.tree.leaves(tree)[0]) // self.parts
        return self.rows(jax.tree.map(lambda leaf: leaf[self.part * size : (self.part + 1) * size], tree))

    def batch(self, data: Any, seed: int, index: int, size: int) -> tuple[Any, np.ndarray]:
        """Return the rows of batch ``index`` that this process feeds, on the host, and their numbers."""
        num = len(jax.tree.leaves(data)[0])
        chosen = indices(seed, index * size, num, size, process=self.part, num_processes=self.parts)
        return jax.tree.map(lambda leaf: leaf[chosen], data), chosen


def on_mesh(mesh: Mesh) -> Placement:
    """Spread a run over the devices of a mesh, each process feeding its share of a batch."""
    return Placement(
        lambda tree: sharding.place(tree, mesh),
        lambda rows: sharding.place_batch(rows, mesh),
        *sharding.share(mesh),
    )


HERE = Placement()


def prompt_oracles(
    model: LanguageModel,
    judge: Judge,
    prompts: Any,
    *,
    batch: int,
    num_responses: int = 4,
    length: int,
    end: int | None = None,
    soft_labels: bool = False,
    seed: int = 0,
    placement: Placement = HERE,
) -> Oracles:
    """Return the oracle of each step: a judge of responses to the prompts of that step's batch.

    Args:
      model: that draws the responses.
      prompts: ``[N, P]`` ids, left-padded with -1.
      batch: B, prompts a step.
      num_responses: K >= 2 of a payoff.
      length: R, tokens a response at most.
      end: id of the token that ends a response.
      soft_labels: whether a label is the judge's probability, or 0 or 1 drawn with it.
      seed: of the order of the prompts.
    """

    def oracle(index: int) -> Oracle:
        rows, numbers = placement.batch(np.asarray(prompts), seed, index, batch)
        return sampled_oracle(
            model,
            judge,
            Prompts(placement.rows(rows), placement.rows(numbers.astype(np.int32))),
            num_responses=num_responses,
            length=length,
            end=end,
            soft_labels=soft_labels,
        )

    return oracle


def pair_oracles(pairs: Comparisons, *, batch: int, seed: int = 0, placement: Placement = HERE) -> Oracles:
    """Return the oracle of each step: the labelled pairs of that step's batch.

    Args:
      pairs: ``[N]``.
      batch: B, pairs a step.
      seed: of the order of the pairs.
    """
    return lambda index: fixed_batch(placement.rows(placement.batch(pairs, seed, index, batch)[0]))


def train(
    algorithm: Algorithm,
    space: PolicySpace,
    policy: Policy,
    oracles: Oracles,
    *,
    key: Array,
    num_steps: int,
    evaluate: Callable[[int, Policy], Values] | None = None,
    evaluate_every: int = 10,
    compiled: bool = False,
    placement: Placement = HERE,
    folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Ended:
    """Run an algorithm on a language model: ``state, _ = step(fold_in(key, t), state, oracles(t), space)``.

    Args:
      algorithm: any whose state has a field ``policy``.
      space: of the model, as ``transformer_space`` makes it.
      policy: the first one, as ``start`` makes it.
      oracles: ``oracles(t)`` of step t, counted from 0; see ``prompt_oracles`` and ``pair_oracles``.
      key: root of the draws.
      num_steps: of the whole run, all sessions together.
      evaluate: ``evaluate(steps made, policy) -> numbers``, logged.
      evaluate_every: steps between evaluations; the start and the last step are always evaluated.
      compiled: whether a step is one compiled program, which a judge in Python slows down.
      folder: where checkpoints and the log are kept, so that the same call resumes; ``None`` keeps nothing.
        It is not locked: one run at a time.
      **options: as ``loop.run_steps`` takes them: ``config``, ``save_every``, ``best``, ``messages`` ...

    Returns:
      How it ended: ``ended.policy`` is the last one, ``ended.log`` what was measured.

    Raises:
      NonFiniteError: if a value or a leaf of the state is not finite.
      InputError: if the folder holds a run with another ``config`` or other shapes, or cannot be written.
    """
    evaluate_every = check_whole("evaluate_every", evaluate_every)
    step = algorithm.step
    if compiled:
        step = jax.jit(step, donate_argnums=1)  # the old state's memory becomes the new one's
    state = placement.state(TrainState(algorithm.init(policy), key))

    def advance(index: int, state: TrainState) -> tuple[TrainState, Values]:
        new, info = step(jax.random.fold_in(state.key, index), state.algorithm, oracles(index), space)
        values = {"queries": info.queries}
        if evaluate is not None and ((index + 1) % evaluate_every == 0 or index + 1 == num_steps):
            values |= evaluate(index + 1, new.policy)
        return TrainState(new, state.key), values

    first = None if evaluate is None else (lambda state: evaluate(0, state.algorithm.policy))
    return run_steps(folder, state, advance, num_steps=num_steps, start=first, **options)


def compare_with_reference(
    key: Array,
    model: LanguageModel,
    space: PolicySpace,
    judge: Judge,
    policy: Policy,
    prompts: Array,
    *,
    size: int,
    end: int | None = None,
    num_responses: int = 1,
    reference: Responses | None = None,
) -> dict[str, Any]:
    """Win rate against the reference, KL to it in nats a response and tokens a response, of fresh draws.

    Args:
      key: random key of the draws.
      prompts: ``[B, P]``.
      size: tokens of a response at most.
      end: id of the token that ends a response.
      num_responses: K to each prompt.
      reference: responses ``[B, K]`` of the reference; ``None`` draws them.
    """
    own_key, reference_key = jax.random.split(key) if reference is None else (key, key)

    def draw(draw_key: Array, policy: Policy) -> Responses:
        return sample(
            draw_key,
            model,
            policy,
            prompts,
            num_responses=num_responses,
            length=size,
            end=end,
        )

    own = draw(own_key, policy)
    other = draw(reference_key, space.reference) if reference is None else reference
    shape = (own.tokens.shape[0], num_responses)
    wins = mean_wins(judge, judge.describe(flat(own)), judge.describe(flat(other)), shape)
    ratio = own.log_prob - space.log_prob(space.reference, own).astype(own.log_prob.dtype)
    return {"win_rate": wins.mean(), "kl": ratio.mean(), "length": length(own).astype(ratio.dtype).mean()}


def mean_wins(judge: Judge, own: Any, other: Any, shape: tuple[int, int]) -> Any:
    """``mean_kl P(y_bk ≻ y'_bl)`` for each prompt b, from features of all responses, ``[B]``.

    Args:
      own: features ``[BK, ...]`` of the responses whose wins are counted.
      other: those of the responses that they meet.
      shape: ``(B, K)``.
    """
    rows, means = np.arange(shape[0] * shape[1]).reshape(shape), []
    for shift in range(shape[1]):  # one at a time: programs of one shape, and memory of one comparison
        index = np.roll(rows, shift, axis=1).reshape(-1)
        met = jax.tree.map(lambda leaf, index=index: leaf[index], other) if shift else other
        means.append(judge.compare(own, met).reshape(shape).mean(-1))
    return sum(means) / shape[1]


def score_pairs(space: PolicySpace, policy: Policy, pairs: Comparisons) -> dict[str, Any]:
    """Accuracy of the implicit reward ``log π/π_ref`` on labelled pairs, and nats a token of the chosen."""
    margin, log_prob = _margins(space, policy, pairs)
    label = pairs.prefer_first.astype(margin.dtype)
    right = jnp.where(margin > 0, label, 1 - label)
    right = jnp.where(margin == 0, 0.5, right)
    return {"accuracy": right.mean(), "margin": (jnp.sign(label - 0.5) * margin).mean(), "nll": -log_prob}


@jax.jit
def _margins(space: PolicySpace, policy: Policy, pairs: Comparisons) -> tuple[Array, Array]:
    both = pair(pairs.first, pairs.second)
    own = space.log_prob(policy, both)
    ratio = own - space.log_prob(space.reference, both)
    won = jnp.where(pairs.prefer_first >= 0.5, own[:, 0], own[:, 1])
    size = jnp.where(pairs.prefer_first >= 0.5, length(both)[:, 0], length(both)[:, 1])
    return ratio[:, 0] - ratio[:, 1], won.sum() / size.sum().astype(won.dtype)
