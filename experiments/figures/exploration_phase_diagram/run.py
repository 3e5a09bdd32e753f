"""Figure ``exploration-phase-diagram``: cumulative regret over the plane (T, 1/β), method by method.

Instances: the two-armed separation instances (``figures.shared.exploration``) with the rare arm good and bad,
and random 4-armed bandits (rewards drawn from {0, 1/2, 1}^4, the class; π_ref = softmax(3 U)). Methods:
online DPO (greedy, both draws on-policy), DPO with a draw from the reference, XPO with α = 0.6 β/√T for the
horizon T of each cell, the same with the previous policy as second draw, and KL-UCB. Its width is the least
mean of regret/√T in a sweep on bandits and seeds of its own: one width for both arms, one for the random
bandits.

Expected: two regimes. At large β every method's regret is nearly flat in T. As β falls greedy methods meet
the wall T = exp(1/(8β)) on the good arm (dashed), behind which their regret is linear in T, while XPO's
grows as √T at any β. On the bad arm optimism costs, and greed is free at small β, where the arm is never
drawn; between, online DPO draws the arm, is misled by a few labels, and never compares again. On random
bandits the draw of the reference does most of the work, and XPO's bonus the rest at small β. KL-UCB is like
XPO at large β, but some of its runs freeze behind the wall: its width shrinks with every comparison, XPO's
bonus adds up.

The curve min(c K log²T / β, c' √(KT)) is the shape of the rates of arXiv:2603.02155 for KL-regularised
bandits with rewards as feedback; its constants are free, and matched to KL-UCB at both ends of β. The
instances, XPO's constant and the sweep of widths are ours.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared import exploration
from experiments.figures.shared.calls import in_threads
from experiments.figures.shared.curves import Announce, Brief, announced, bootstrap, check_seeds
from experiments.figures.shared.exploration import BAD, GOOD
from nlhf import dpo, kl_ucb, logspace, xpo, xpo_previous
from nlhf.base import Algorithm
from nlhf.errors import InputError
from tabular.bandits import Bandit
from tabular.replay import counts
from tabular.spaces.finite_class import finite_class
from tabular.uncertainty import elliptic

SCALE = 0.6  # XPO: α = SCALE β/√T
ARMS, LEVELS, SKEW = 4, 3, 3.0  # of the random bandits
METHODS = ("dpo", "dpo_reference", "xpo", "xpo_previous", "kl_ucb")
INSTANCES = ("good rare arm", "bad rare arm", "random bandits")
TUNING = 1_000_000  # seeds from here on choose the width and are not shown


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 16  # runs of each cell, 1 to 1000; random bandits are one a seed
    inverse_betas: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256)  # 1/β, increasing
    # T in rounds of one labelled pair, increasing; at least two
    horizons: tuple[int, ...] = (32, 128, 512, 2048, 8192)
    longest_random: int = 2048  # the longest horizon on random bandits
    widths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)  # KL-UCB's candidates
    tuning_seeds: int = 4  # runs a cell that choose among them
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 6 seeds, every other β, short horizons, two widths."""
    return dataclasses.replace(
        config,
        seeds=min(config.seeds, 6),
        inverse_betas=config.inverse_betas[1::2],
        horizons=config.horizons[:3],
        longest_random=config.horizons[2],
        widths=config.widths[::3],
        tuning_seeds=2,
    )


@dataclasses.dataclass(frozen=True)
class Map:
    """Cumulative regret of a method on an instance."""

    instance: str  # one of ``INSTANCES``
    method: str  # one of ``METHODS``
    horizons: list[int]  # T, the columns
    mean: list[list[float]]  # ``[B][T]`` mean over seeds, rows by 1/β
    low: list[list[float]]  # lower end of the 95 % bootstrap interval
    high: list[list[float]]  # upper end
    exponent: list[float]  # slope of log regret in log T over the last two horizons, one a β
    width: float | None  # of KL-UCB; ``None`` for the others


@dataclasses.dataclass(frozen=True)
class Best:
    """Which method has the least regret in each cell."""

    instance: str  # one of ``INSTANCES``
    method: list[list[str]]  # ``[B][T]``
    # ``[B][T]``, whether the interval of the difference to the next one (same seeds) is above zero
    certain: list[list[bool]]


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from; maps instance by instance, method by method."""

    config: Config
    maps: list[Map]
    best: list[Best]


@dataclasses.dataclass(frozen=True)
class _Family:
    """Instances that share a compilation: arms of reward 0 and 1, or random bandits."""

    names: tuple[str, ...]
    make: Callable[[np.ndarray, np.ndarray, np.ndarray], Bandit]  # of 1/β, index in names, seed, one a lane
    space: Callable
    arms: int
    horizons: tuple[int, ...]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Run every method on every family of instances.

    Raises:
      InputError: if seeds is not in 1..1000 or an instance has less than two horizons.
    """
    check_seeds(config.seeds)
    if len(config.horizons) < 2 or config.longest_random < config.horizons[1]:
        raise InputError(
            f"horizons is {config.horizons}, the longest on random bandits {config.longest_random}, but "
            "exponents need two horizons on every instance; give more or longer ones"
        )
    families = _families(config)
    calls = {
        f"{name} on {', '.join(family.names)}": functools.partial(_regret, config, family, name)
        for family, name in itertools.product(reversed(families), ("kl_ucb", "xpo", "xpo_previous", "dpo"))
    }
    done = in_threads(calls, progress)
    maps, best = [], []
    for family in families:
        parts: dict[str, tuple[np.ndarray, list[float | None]]] = {}
        for name in ("dpo", "xpo", "xpo_previous", "kl_ucb"):
            parts |= done[f"{name} on {', '.join(family.names)}"]
        for index, instance in enumerate(family.names):
            regrets = {method: parts[method][0][:, index] for method in METHODS}
            maps += [
                _map(instance, method, family.horizons, regrets[method], parts[method][1][index])
                for method in METHODS
            ]
            best.append(_best(instance, regrets))
    return Result(config, maps, best)


def _families(config: Config) -> tuple[_Family, _Family]:
    def separation(inverse_beta: np.ndarray, index: np.ndarray, seed: np.ndarray) -> Bandit:
        del seed
        return exploration.rare_arm(inverse_beta, np.asarray((GOOD, BAD))[index])

    def random(inverse_beta: np.ndarray, index: np.ndarray, seed: np.ndarray) -> Bandit:
        del index
        drawn = np.unique(seed)  # those that choose the width are other ones
        tables = [np.random.default_rng((config.seed, int(one))) for one in drawn]
        reward = np.stack([rng.integers(LEVELS, size=ARMS) / (LEVELS - 1) for rng in tables])
        log_ref = logspace.normalise(jnp.asarray([SKEW * rng.uniform(size=ARMS) for rng in tables]))
        place = np.searchsorted(drawn, seed)
        return exploration.lane_bandits(reward[place], np.asarray(log_ref)[place], 1 / inverse_beta)

    short = tuple(horizon for horizon in config.horizons if horizon <= config.longest_random)
    return (
        _Family(INSTANCES[:2], separation, exploration.nine_differences(), 2, config.horizons),
        _Family(INSTANCES[2:], random, _grid(), ARMS, short),
    )


@functools.cache
def _grid() -> Callable:
    levels = np.arange(LEVELS) / (LEVELS - 1)
    rewards = np.asarray(list(itertools.product(levels, repeat=ARMS)))
    # ties go to the reference, which is all rewards alike, and near it
    order = np.argsort(rewards.var(1), kind="stable")
    return finite_class(rewards[order][:, None, :])


def _regret(config: Config, family: _Family, name: str) -> dict[str, tuple[np.ndarray, list[float | None]]]:
    """Regret ``[S, I, B, T]`` of a method, or of the two kinds of DPO, and the width for each instance."""
    if name == "dpo":
        # one program for both: the mixture of the second draw is a lane
        both = _lanes(config, family, name, (0.0, 1.0), 0)
        nothing: list[float | None] = [None] * len(family.names)
        return {"dpo": (both[0], nothing), "dpo_reference": (both[1], nothing)}
    if name == "kl_ucb":
        each = _lanes(config, family, name, config.widths, config.tuning_seeds)
        shown, tuning = each[:, : config.seeds], each[:, config.seeds :]
        # one width for all instances of a family: no method knows whether the rare arm is good; √T puts the
        # horizons on one scale
        chosen = int((tuning / np.sqrt(family.horizons)).mean((1, 2, 3, 4)).argmin())
        return {name: (shown[chosen], [config.widths[chosen]] * len(family.names))}
    # one lane a horizon: α depends on it
    each = _lanes(config, family, name, tuple(SCALE / np.sqrt(horizon) for horizon in family.horizons), 0)
    regret = np.stack([each[index, ..., index] for index in range(len(family.horizons))], -1)
    return {name: (regret, [None] * len(family.names))}


def _lanes(
    config: Config, family: _Family, name: str, settings: tuple[float, ...], tuning_seeds: int
) -> np.ndarray:
    """Regret ``[settings, S, I, B, T]`` up to each horizon."""
    seeds = np.concatenate([np.arange(config.seeds), TUNING + np.arange(tuning_seeds)])
    shape = (len(settings), len(seeds), len(family.names), len(config.inverse_betas))
    which, seed, index, row = (axis.reshape(-1) for axis in np.indices(shape))
    bandits = family.make(np.asarray(config.inverse_betas, float)[row], index, seeds[seed])
    methods = _stack(name, jnp.asarray(settings)[which], bandits, family.arms)
    gap = exploration.gaps(
        methods,
        bandits,
        exploration.keys(config.seed, seeds[seed]),
        family.horizons[-1],
        family.space,
    )
    regret = gap[:, :-1].cumsum(-1)
    ends = [horizon - 1 for horizon in family.horizons]
    return regret[:, ends].reshape(*shape, len(ends))


def _stack(name: str, settings: Any, bandits: Bandit, arms: int) -> Algorithm:
    replay = counts(1, arms)
    make = {
        "dpo": lambda mixture, bandit: dpo(bandit.beta, mixture, replay),
        "xpo": lambda scale, bandit: xpo(scale * bandit.beta, bandit.beta, replay),
        "xpo_previous": lambda scale, bandit: xpo_previous(scale * bandit.beta, bandit.beta, replay),
        "kl_ucb": lambda width, bandit: kl_ucb(width, bandit.beta, replay, elliptic(bandit)),
    }[name]
    return jax.vmap(make)(settings, bandits)


def _map(
    instance: str, method: str, horizons: tuple[int, ...], regret: np.ndarray, width: float | None
) -> Map:
    mean, low, high = bootstrap(regret)
    exponent = np.diff(np.log(mean[:, -2:]), axis=-1)[:, 0] / np.log(horizons[-1] / horizons[-2])
    return Map(
        instance, method, list(horizons), mean.tolist(), low.tolist(), high.tolist(), exponent.tolist(), width
    )


def _best(instance: str, regrets: dict[str, np.ndarray]) -> Best:
    table = np.stack([regrets[method] for method in METHODS])  # [M, S, B, T]
    order = np.argsort(table.mean(1), axis=0)
    best, next_best = (np.take_along_axis(table, order[place][None, None], 0)[0] for place in (0, 1))
    _, low, _ = bootstrap(next_best - best)
    method = [[METHODS[index] for index in row] for row in order[0]]
    return Best(instance, method, (low > 0).tolist())
