"""Figure ``regret-vs-return``: segments labelled by regret or partial return, learners that assume either.

Expected: learning by regret from regret labels becomes optimal in every family, with and without noise, from
about 100 comparisons on (300 noisy ones). A learner that assumes partial returns does well on regret labels
where runs do not end, for there a constant does no harm. Where they end it needs ten to thirty times the
comparisons, and most of its failures are policies that never end; on the delivery gridworld 3000 noisy labels
are too few. On boards it is no better on its own labels: segments show the constant seldom. Learning by
regret from partial-return labels does not become optimal where runs end. CPL, which knows no features, needs
thirty times the comparisons of learning by regret, and on the delivery gridworld more than 3000. Below, three
processes in which partial returns do not move with what the optimum depends on; exact.

Both reward learners know the features that the reward is linear in, and fit them by the loss of their own
model (``reward_learners`` beside this file: V* of the candidate reward exactly, not by the published
surrogate); then the optimal policy of the learned reward is played. CPL, a regret model without a reward,
learns a table from the same comparisons, its greedy policy is played, and it knows no features. Segments have
3 steps by a uniform behaviour from uniform starts, their scores no discount; labels are those of the true
reward.

Scaled return: (J - J_uniform)/(J_optimal - J_uniform), clipped to [-1, 1] before it is averaged.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from experiments.figures.regret_vs_return.examples import Example, examples
from experiments.figures.regret_vs_return.reward_learners import greedy, learn_rewards
from experiments.figures.regret_vs_return.worlds import Worlds, delivery_worlds, random_boards, random_worlds
from experiments.figures.shared.curves import (
    Announce,
    Brief,
    Curve,
    announced,
    bootstrap_ratio,
    check_known,
    check_seeds,
    curve,
)
from experiments.figures.shared.segment_fits import fit_many, in_chunks
from nlhf.algorithms.cpl import cpl
from nlhf.base import Comparisons, check_number, check_whole
from nlhf.errors import InputError
from tabular.mdps.mdp import MDP
from tabular.mdps.segments import draw_segments, hard_regret, label, partial_return
from tabular.mdps.values import hard_values, policy_values

Array = jax.Array
FAMILIES = ("random", "boards", "delivery")
LABELS = (("regret", True), ("regret", False), ("return", True), ("return", False))  # rule, without noise
LENGTH = 3
GOOD = 0.9
WIDTH = 20  # fits of a chunk
SMALL = 300  # rows of the program for few comparisons


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 10  # data sets on the delivery gridworld, 2 to 1000
    mdps: int = 100  # random processes, and random boards, with one data set each, 2 to 1000
    families: tuple[str, ...] = FAMILIES  # ``random``, ``boards``, ``delivery``
    # numbers of comparisons, rising; the data sets are nested
    levels: tuple[int, ...] = (3, 10, 30, 100, 300, 1000, 3000)
    temperature: float = 0.5  # α of CPL, in the units of the rewards, > 0
    resamples: int = 2000  # of the bootstrap, >= 100
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 10 processes, at most 300 comparisons, no delivery gridworld."""
    few = tuple(n for n in config.levels if n <= SMALL)
    return dataclasses.replace(config, mdps=10, families=FAMILIES[:2], levels=few or config.levels[:1])


@dataclasses.dataclass(frozen=True)
class Learning:
    """One learner on one kind of labels in one family, over the number of comparisons."""

    family: str  # one of ``FAMILIES``
    labels: str  # ``regret`` or ``return``
    noiseless: bool  # whether the labels are
    learner: str  # ``regret``, ``return`` or ``cpl``
    scaled: Curve  # mean of the scaled return clipped to [-1, 1]; bands are 95 % over processes or data sets
    share: Curve  # share above 0.9


@dataclasses.dataclass(frozen=True)
class Test:
    """Wilcoxon's signed-rank test of scaled returns: regret against partial return, regret labels."""

    family: str  # one of ``FAMILIES``
    noiseless: bool  # whether the labels are
    n: int
    better: int  # in how many pairs learning by regret has the higher return
    worse: int  # the lower one
    p: float  # two-sided p-value; 1 where no pair differs


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from; curves and tests family by family."""

    config: Config
    curves: list[Learning]
    tests: list[Test]
    examples: list[Example]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Draw, label and learn.

    Raises:
      InputError: on a setting out of its range.
    """
    _check(config)
    curves: list[Learning] = []
    tests: list[Test] = []
    for family in config.families:
        progress(f"{family}: rewards", 2 * len(config.families))
        worlds, data = _data(config, family)
        returns = _rewards(config, worlds, data)
        progress(f"{family}: CPL", 2 * len(config.families))
        returns["cpl"] = _cpl(config, worlds, data)
        curves += _curves(config, family, returns)
        tests += _tests(config, family, returns)
    return Result(config, curves, tests, examples())


def _check(config: Config) -> None:
    check_seeds(config.seeds, least=2)
    check_number("mdps", check_whole("mdps", config.mdps, low=2), high=1000)
    levels = config.levels
    if not levels or any(b <= a for a, b in zip((0, *levels), levels, strict=False)):
        raise InputError(f"levels is {levels}, but it must be positive and rising; sort it")
    check_known(config.families, FAMILIES, "family")
    check_number("temperature", config.temperature, open_low=True)
    check_whole("resamples", config.resamples, low=100)


def _data(config: Config, family: str) -> tuple[Worlds, Comparisons]:
    """Return N worlds and, ``[N, 4, R, ...]``, their comparisons with the four kinds of labels."""
    root = jax.random.fold_in(jax.random.key(config.seed), FAMILIES.index(family))
    count = config.seeds if family == "delivery" else config.mdps
    keys = jax.vmap(lambda row: jax.random.split(jax.random.fold_in(root, row)))(jnp.arange(count))
    if family == "random":
        worlds = random_worlds(keys[:, 0])
    else:
        worlds = delivery_worlds(count) if family == "delivery" else random_boards(count, config.seed)
    return worlds, jax.tree.map(np.asarray, _compared(keys[:, 1], worlds.mdp, config.levels[-1]))


@functools.partial(jax.jit, static_argnums=2)
def _compared(keys: Array, mdps: MDP, num: int) -> Comparisons:
    def one(key: Array, mdp: MDP) -> Comparisons:
        start_key, walk_key, label_key = jax.random.split(key, 3)
        # as many as are drawn for the largest data set, both sides in one walk
        start = jax.random.categorical(start_key, jnp.log(mdp.initial), shape=(2 * num,))
        both = draw_segments(walk_key, mdp, 2 * num, LENGTH, start=start)
        first = jax.tree.map(lambda leaf: leaf[:num], both)
        second = jax.tree.map(lambda leaf: leaf[num:], both)
        score = {
            "regret": hard_regret(mdp, both, discount=1.0),
            "return": partial_return(mdp, both, discount=1.0),
        }
        labels = jnp.stack(
            [label(label_key, score[rule][:num] - score[rule][num:], noiseless) for rule, noiseless in LABELS]
        )

        def four(leaf: Array) -> Array:
            return jnp.broadcast_to(leaf[None], (len(LABELS), *leaf.shape))

        context, one_side, other_side = jax.tree.map(four, (first.states[:, 0], first, second))
        return Comparisons(context, one_side, other_side, labels, jnp.ones_like(labels))

    return jax.vmap(one)(keys, mdps)


def _groups(config: Config) -> list[list[int]]:
    """Levels that share a program: those of few comparisons do not pay for the rows of many."""
    few = [n for n in config.levels if n <= SMALL]
    many = [n for n in config.levels if n > SMALL]
    return [group for group in (few, many) if group]


def _flat(worlds: Worlds, data: Comparisons, group: list[int]) -> tuple[Worlds, Comparisons]:
    """Return all worlds x labels x levels of a group along one axis; rows beyond the level have weight 0."""
    rows, kinds = group[-1], data.weight.shape[1]

    def spread(leaf: np.ndarray) -> np.ndarray:
        cut = np.repeat(leaf[:, :, None, :rows], len(group), axis=2)
        return cut.reshape(-1, *cut.shape[3:])

    present = (np.arange(rows) < np.asarray(group)[:, None]).astype(float)
    flat = jax.tree.map(spread, data)
    weight = np.tile(present, (len(data.weight) * kinds, 1))
    return jax.tree.map(lambda leaf: np.repeat(leaf, kinds * len(group), axis=0), worlds), flat._replace(
        weight=weight
    )


def _rewards(config: Config, worlds: Worlds, data: Comparisons) -> dict[str, np.ndarray]:
    """Return the scaled returns of both reward learners, ``[N, 4, L]`` each."""
    parts = []
    for group in _groups(config):
        flat, comparisons = _flat(worlds, data, group)
        scaled = in_chunks(_learned, (flat.mdp, flat.features, comparisons), WIDTH)
        parts.append(scaled.reshape(len(data.weight), len(LABELS), len(group), 2))
    regret, by_return = np.moveaxis(np.concatenate(parts, axis=2), -1, 0)
    return {"regret": regret, "return": by_return}


@jax.jit
@jax.vmap
def _learned(mdp: MDP, features: Array, comparisons: Comparisons) -> Array:
    rewards = jnp.stack(learn_rewards(mdp, features, comparisons))
    return jax.vmap(lambda theta: _scaled_return(mdp, greedy(mdp, features, theta)))(rewards)


def _cpl(config: Config, worlds: Worlds, data: Comparisons) -> np.ndarray:
    """Return the scaled returns of the greedy policy of CPL on regret labels, ``[N, 2, L]``."""
    parts = []
    data = jax.tree.map(lambda leaf: leaf[:, :2], data)
    for group in _groups(config):
        flat, comparisons = _flat(worlds, data, group)
        plain_sums = flat.mdp._replace(discount=np.ones_like(flat.mdp.discount))
        policies = fit_many(
            cpl,
            {"temperature": config.temperature, "bias": 1.0},
            plain_sums,
            comparisons,
            tolerance=1e-6,
            max_steps=60,
            width=WIDTH,
        )
        scaled = in_chunks(_played, (flat.mdp, policies), WIDTH)
        parts.append(scaled.reshape(len(data.weight), 2, len(group)))
    return np.concatenate(parts, axis=2)


@jax.jit
@jax.vmap
def _played(mdp: MDP, log_policy: Array) -> Array:
    best = log_policy >= log_policy.max(-1, keepdims=True) - 1e-6  # where nothing was learned all tie
    return _scaled_return(mdp, jax.nn.log_softmax(jnp.where(best, 0.0, -jnp.inf)))


def _scaled_return(mdp: MDP, log_policy: Array) -> Array:
    plain = mdp._replace(beta=jnp.zeros_like(mdp.beta))
    uniform = mdp.initial @ policy_values(plain, plain.reference).v
    optimal = mdp.initial @ hard_values(mdp).v
    return (mdp.initial @ policy_values(plain, log_policy).v - uniform) / (optimal - uniform)


def _curves(config: Config, family: str, returns: dict[str, np.ndarray]) -> list[Learning]:
    def over_rows(learner: str, values: np.ndarray) -> Curve:
        settings: Any = {"seed": [config.seed, len(values)], "resamples": config.resamples}
        return curve(learner, config.levels, bootstrap_ratio(values, np.ones_like(values), **settings))

    curves = []
    for learner, values in returns.items():
        for kind, (labels, noiseless) in enumerate(LABELS[: values.shape[1]]):
            clipped = np.clip(values[:, kind], -1, 1)
            scaled, share = (over_rows(learner, shown) for shown in (clipped, (clipped > GOOD) * 1.0))
            curves.append(Learning(family, labels, noiseless, learner, scaled, share))
    return curves


def _tests(config: Config, family: str, returns: dict[str, np.ndarray]) -> list[Test]:
    tests = []
    for kind, (labels, noiseless) in enumerate(LABELS):
        if labels != "regret":
            continue
        for level, n in enumerate(config.levels):
            difference = (returns["regret"] - returns["return"])[:, kind, level]
            difference = np.where(np.abs(difference) < 1e-9, 0.0, difference)
            p = float(scipy.stats.wilcoxon(difference).pvalue) if difference.any() else 1.0
            better, worse = int((difference > 0).sum()), int((difference < 0).sum())
            tests.append(Test(family, noiseless, n, better, worse, p))
    return tests
