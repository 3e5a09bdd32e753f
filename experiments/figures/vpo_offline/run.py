"""Figure ``vpo-offline``: suboptimality of what is learnt from a data set, over its size and its coverage.

Bandits with 10 arms, β = 0.1, policies of rewards in [0, 1]; labels by Bradley-Terry on pairs drawn twice
from a behaviour policy. Methods: VPO offline (pessimism α = -√N, calibrated on the behaviour policy), DPO
(maximum likelihood), IPO, SLiC. A new bandit and a new data set a seed.

* size: rewards uniform on [0, 1], π_ref = π_b = softmax(6 U), whose rare arms are hardly in the data.
* coverage of the best policy: π_ref uniform; arm 0 has reward 1, the others at most 0.3, and π_b plays arm 0
  with a probability that falls to the left, the other arms alike. x is C* = max π*/π_b, the coefficient that
  pessimism pays for.
* coverage of every policy: arm 0 the same, played half of the time, and half of the other arms with a
  probability that falls; C* stays near 2, x is max over all policies and arms of π/π_b = 1/min π_b.

Expected: VPO's suboptimality falls as N^-1/2, and is below DPO's at every N. Where C* grows every method but
IPO gets worse, and pessimism first, to less than the reference: it stays away from the best arm because it
is rare in the data, and DPO, which is lucky at times, is better there. Where only other policies lose their
coverage, DPO follows arms that won a few lucky comparisons, and pessimism does not. IPO and SLiC aim at a
win rate and a margin, not at the KL-regularised value: more data help them less. The settings are ours,
after arXiv:2405.19320 (its own are not known to us).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared import exploration
from experiments.figures.shared.calls import in_turn
from experiments.figures.shared.curves import Announce, Brief, Curve, announced, check_seeds
from experiments.figures.shared.segment_fits import fit_whole
from nlhf import dpo, ipo, logspace, slic, vpo
from nlhf.base import Algorithm, Array, Comparisons
from nlhf.errors import InputError
from tabular import bandits as bandit_tools
from tabular import coverage
from tabular.bandits import Bandit
from tabular.replay import counts
from tabular.spaces.bounded import bounded_rewards

ARMS = 10
SKEW = 6.0
METHODS = ("vpo", "dpo", "ipo", "slic")
PANELS = ("size", "coverage of the best policy", "coverage of every policy")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 60  # bandits and data sets a point, 1 to 1000
    sizes: tuple[int, ...] = (50, 200, 800, 3200)  # N, increasing
    covered: int = 800  # N of the two panels on coverage
    # least probabilities under π_b of those panels, decreasing
    rare: tuple[float, ...] = (5e-2, 2e-2, 1e-2, 3e-3, 1e-3)
    beta: float = 0.1
    pessimism: float = 1.0  # VPO has α = -pessimism √N
    regularisation: float = 0.3  # SLiC has λ = regularisation β
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 16 seeds, three sizes, three coverages."""
    return dataclasses.replace(
        config, seeds=min(config.seeds, 16), sizes=config.sizes[:3], rare=config.rare[::2]
    )


@dataclasses.dataclass(frozen=True)
class Panel:
    """Curves of all methods."""

    name: str  # one of ``PANELS``
    best_coverage: list[float]  # C* = max π*/π_b, mean over seeds, one a point
    curves: list[Curve]  # mean suboptimality over N or a coverage coefficient, one a method
    start: list[float]  # suboptimality of π_ref, mean over seeds, one a point
    better: list[float]  # share of seeds in which VPO is better than DPO, one a point


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    panels: list[Panel]  # one for each of ``PANELS``
    exponents: list[float]  # slope of log suboptimality in log N, method by method


@dataclasses.dataclass(frozen=True)
class _Lanes:
    """All data sets of all panels, point by point and seed by seed within."""

    bandits: Bandit
    log_behaviour: Array  # [L, 1, A]
    size: np.ndarray  # [L]
    points: list[tuple[str, float]]  # panel and abscissa


@announced
def run(config: Config, progress: Announce) -> Result:
    """Draw the data sets and fit every method to each.

    Raises:
      InputError: if seeds is not in 1..1000, or a probability of ``rare`` is not in (0, 1/20].
    """
    check_seeds(config.seeds)
    if not all(0 < each <= 0.5 / ARMS for each in config.rare):
        raise InputError(
            f"rare is {config.rare}, but probabilities of rare arms must be in (0, {0.5 / ARMS}]"
        )
    lanes = _lanes(config)
    keys = exploration.keys(config.seed, np.tile(np.arange(config.seeds), len(lanes.points)))
    largest = int(lanes.size.max())
    data = _draw(keys, lanes.bandits, lanes.log_behaviour, jnp.asarray(lanes.size), largest)

    def fit(method: str) -> np.ndarray:
        algorithms = _stack(config, method, lanes)
        return np.asarray(_fit(algorithms, lanes.bandits, data)).reshape(len(lanes.points), -1)

    calls = {method: functools.partial(fit, method) for method in METHODS}
    gaps = in_turn(calls, progress)

    def over_seeds(values: Array) -> np.ndarray:
        return np.asarray(values).reshape(len(lanes.points), -1).mean(-1)

    start = over_seeds(jax.vmap(bandit_tools.suboptimality)(lanes.bandits, lanes.bandits.log_ref))
    best = jax.vmap(lambda bandit, cover: coverage.concentrability(bandit_tools.optimum(bandit), cover))
    best_coverage = over_seeds(best(lanes.bandits, lanes.log_behaviour))
    panels = []
    for name in PANELS:
        rows = [index for index, (panel, _) in enumerate(lanes.points) if panel == name]
        x = [best_coverage[row] if name == PANELS[1] else lanes.points[row][1] for row in rows]
        panels.append(
            Panel(
                name,
                best_coverage[rows].tolist(),
                [exploration.series(method, x, gaps[method][rows].T) for method in METHODS],
                start[rows].tolist(),
                (gaps["vpo"] < gaps["dpo"])[rows].mean(-1).tolist(),
            )
        )
    sizes = np.log(config.sizes)
    exponents = [exploration.slope(sizes, np.log(curve.middle)) for curve in panels[0].curves]
    return Result(config, panels, exponents)


def _lanes(config: Config) -> _Lanes:
    seeds, beta = config.seeds, config.beta
    reward, log_ref = exploration.random_bandits(seeds, ARMS, SKEW, config.seed)
    uniform = np.full((seeds, ARMS), -np.log(ARMS))
    # arm 0 is the best by a margin of at least 0.7, so that C* is that of arm 0
    planted = np.concatenate([np.ones((seeds, 1)), 0.3 * reward[:, 1:]], 1)
    points: list[tuple[str, float]] = []
    rewards, references, behaviours, sizes = [], [], [], []

    def add(
        panel: str, x: float, size: int, table: np.ndarray, reference: np.ndarray, behaviour: Any
    ) -> None:
        points.append((panel, x))
        rewards.append(table)
        references.append(reference)
        behaviours.append(np.broadcast_to(behaviour, table.shape))
        sizes.append(np.full(seeds, size))

    for size in config.sizes:
        add(PANELS[0], size, size, reward, log_ref, log_ref)
    others = (ARMS - 1) // 2  # how many of the other arms are rare in the last panel
    for rare in config.rare:
        few_best = np.append(rare, np.full(ARMS - 1, (1 - rare) / (ARMS - 1)))
        add(PANELS[1], 1 / rare, config.covered, planted, uniform, np.log(few_best))
    for rare in config.rare:
        kept = ARMS - 1 - others
        few_others = np.concatenate(
            [[0.5], np.full(kept, (0.5 - others * rare) / kept), np.full(others, rare)]
        )
        add(PANELS[2], 1 / rare, config.covered, planted, uniform, np.log(few_others))
    joined = np.concatenate(rewards)
    bandits = exploration.lane_bandits(joined, np.concatenate(references), np.full(len(joined), beta))
    return _Lanes(bandits, jnp.asarray(np.concatenate(behaviours))[:, None], np.concatenate(sizes), points)


@functools.partial(jax.jit, static_argnums=4)
def _draw(keys: Array, bandits: Bandit, log_behaviour: Array, sizes: Array, largest: int) -> Comparisons:
    """Draw a data set a lane and count it: ``x ~ ρ``, both responses from the behaviour policy."""

    def one(key: Array, bandit: Bandit, log_policy: Array, size: Array) -> Comparisons:
        first_key, second_key, label_key = jax.random.split(key, 3)
        first, second = (
            jax.random.categorical(each, log_policy[0], shape=(largest,)) for each in (first_key, second_key)
        )
        chance = jax.nn.sigmoid(bandit.reward[0, first] - bandit.reward[0, second])
        label = jax.random.bernoulli(label_key, chance).astype(chance.dtype)
        present = (jnp.arange(largest) < size).astype(chance.dtype)
        rows = Comparisons(jnp.zeros(largest, int), first, second, label, present)
        replay = counts(1, ARMS)
        return replay.append(replay.empty(), rows).comparisons

    return jax.vmap(one)(keys, bandits, log_behaviour, sizes)


def _stack(config: Config, method: str, lanes: _Lanes) -> Algorithm:
    replay = counts(1, ARMS)
    size = jnp.asarray(lanes.size, float)
    make: Callable[..., Algorithm] = {
        "vpo": lambda n, beta, cover: vpo(-config.pessimism * jnp.sqrt(n), beta, replay, cover),
        "dpo": lambda n, beta, cover: dpo(beta, 0.0, replay),
        "ipo": lambda n, beta, cover: ipo(beta, 0.0, replay),
        "slic": lambda n, beta, cover: slic(beta, 0.0, config.regularisation * beta, replay),
    }[method]
    return jax.vmap(make)(size, lanes.bandits.beta, lanes.log_behaviour)


@jax.jit
def _fit(algorithms: Algorithm, bandits: Bandit, data: Comparisons) -> Array:
    """Fit each algorithm to its data set; the gap of what it fits."""

    def one(algorithm: Algorithm, bandit: Bandit, rows: Comparisons) -> Array:
        space = bounded_rewards(1.0, 1, 30, 1e-7)(bandit)
        # from rewards of 0: an arm without data keeps the lowest reward, which is kind to DPO
        return bandit_tools.suboptimality(bandit, logspace.normalise(fit_whole(algorithm, space, rows)))

    return jax.vmap(one)(algorithms, bandits, data)
