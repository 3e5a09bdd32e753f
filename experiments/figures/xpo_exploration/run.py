"""Figure ``xpo-exploration``: what XPO finds and online DPO does not, on the two-armed separation instances.

Arm a has π_ref(a) = exp(-1/(8β)); the other one has reward 1/2. Arm a is *good* (reward 1) or *bad* (reward
0). Policies are π_ref exp(r/β) with r(a) - r(b) in {-1, -3/4, ..., 1}; fits are exact, ties go to the
reference.

Expected:

* rounds: those that online DPO spends at gap >= 1/8 on the good arm grow as exp(1/(8β)), a line of slope 1/8
  on the log axis; XPO's do not grow. Some runs of DPO never get there (an unlucky label freezes it), so the
  25 % quantile over seeds is shown; points at the cap are censored.
* regret: XPO's mean regret falls as T^-1/2, at the same level for every β. Online DPO's stays at 3/16, half
  of the good arm's gap 3/8 (the mean over both instances), while T << exp(1/(8β)).
* ablation: only the reference draw with the bonus solves both instances. On-policy pairs with a bonus get
  stuck on the bad arm, and no bonus means that the good arm is not found, whatever the second draw.
* optimism: U-shaped regret in α/β. The flipped sign never finds the good arm, in no seed.

The paper has no experiments; instances, constants and α = 0.6 β/√T are ours, after its Proposition 2.1 and
Theorem 3.1 (arXiv:2405.21046).
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
from experiments.figures.shared.curves import Announce, Brief, Curve, announced, bootstrap, check_seeds
from experiments.figures.shared.exploration import BAD, GOOD
from nlhf import dpo, vpo, xpo
from nlhf.base import Algorithm
from nlhf.errors import InputError
from tabular.bandits import Bandit
from tabular.replay import counts

SCALE = 0.6  # α = SCALE β/√T
FOUND = 1 / 8  # gap below which the instance counts as solved
QUARTILE = 0.25


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 100  # runs of each setting, 1 to 1000
    # (1/β, ..., cap in rounds) of the hitting times, one group a cap
    walls: tuple[tuple[tuple[int, ...], int], ...] = (((24, 32, 40, 48), 4000), ((56, 64, 72, 80), 100_000))
    inverse_betas: tuple[int, ...] = (60, 200, 800)  # 1/β of the regret panel
    horizons: tuple[int, ...] = (100, 400, 1600, 6400)  # T of the regret panel, increasing
    ablation_inverse_beta: int = 60  # 1/β of the ablation
    ablation_rounds: int = 400  # T of the ablation, at most the last horizon
    optimism: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # α/β of the sweep
    sweep_inverse_beta: int = 100  # 1/β of the sweep
    sweep_rounds: int = 1600  # T of the sweep, at most the last horizon
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 16 seeds, shorter horizons, β not as small."""
    return dataclasses.replace(
        config,
        seeds=min(config.seeds, 16),
        walls=(((24, 32, 40, 48), 4000),),
        horizons=(100, 400, 1600),
        sweep_rounds=400,
    )


@dataclasses.dataclass(frozen=True)
class Regret:
    """Mean regret over T at one β."""

    inverse_beta: int
    curve: Curve  # over horizons; a point of XPO has the α of its horizon
    exponent: float  # slope of log regret in log T


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of the ablation."""

    arm: str  # ``good`` or ``bad``, the rare one
    draw: str  # ``on-policy`` or ``reference``, the second response
    bonus: bool  # on or off
    gap: float  # median over seeds of the mean gap of the last eighth of the run
    solved: float  # share of seeds in which that is below 1/8
    low: float  # lower end of the share's 95 % bootstrap interval
    high: float  # upper end


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Regret over α/β on one instance."""

    arm: str  # ``good`` or ``bad``
    curve: Curve  # mean regret of ``xpo`` or ``xpo_flipped``
    failed: list[float]  # share of seeds that end at a gap of 1/8 or more, one a point


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    rounds: list[Curve]  # 25 % quantile of the rounds at gap >= 1/8, over 1/β, one a method
    caps: list[int]  # where those of online DPO were stopped, one a point
    wall: float  # slope of the logarithm of online DPO's in 1/β over the points below the cap
    regret: list[Regret]
    ablation: list[Cell]
    sweep: list[Sweep]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Run everything.

    Raises:
      InputError: if seeds is not in 1..1000, or a panel is longer than the last horizon.
    """
    check_seeds(config.seeds)
    if max(config.ablation_rounds, config.sweep_rounds) > config.horizons[-1]:
        raise InputError(
            f"the last horizon is {config.horizons[-1]}, but it must be at least the rounds of the ablation "
            f"({config.ablation_rounds}) and of the sweep ({config.sweep_rounds}); give a longer one"
        )
    calls: dict[str, Callable[[], Any]] = {}
    for inverse_betas, cap in reversed(config.walls):
        calls[f"online DPO for {cap} rounds"] = functools.partial(_wall, config, inverse_betas, cap)
    calls["XPO"] = functools.partial(_lanes, config, "xpo")
    calls["DPO"] = functools.partial(_lanes, config, "dpo")
    calls["VPO"] = functools.partial(_lanes, config, "vpo")
    done = in_threads(calls, progress)
    walls = np.concatenate([done[f"online DPO for {cap} rounds"] for _, cap in config.walls], 1)
    caps = [cap for betas, cap in config.walls for _ in betas]
    xs = np.asarray(_wall_betas(config), float)
    lanes = {method: done[name] for method, name in (("xpo", "XPO"), ("dpo", "DPO"), ("vpo", "VPO"))}
    return Result(
        config,
        [
            exploration.series("dpo", xs, walls, _quartile),
            exploration.series("xpo", xs, _xpo_rounds(config, lanes["xpo"]), _quartile),
        ],
        caps,
        exploration.wall_slope(_wall_betas(config), _quartile(walls, 0), caps),
        _regret(config, lanes),
        _ablation(config, lanes),
        _sweep(config, lanes["xpo"]),
    )


def _quartile(values: np.ndarray, axis: int) -> Any:
    return np.quantile(values, QUARTILE, axis=axis)


def _wall_betas(config: Config) -> list[int]:
    return [beta for betas, _ in config.walls for beta in betas]


def _wall(config: Config, inverse_betas: tuple[int, ...], cap: int) -> np.ndarray:
    """Rounds of online DPO at gap >= 1/8 on the good arm, ``[S, B]``."""

    def make(bandits: Bandit) -> Algorithm:
        return jax.vmap(lambda beta: dpo(beta, 0.0, counts(1, 2)))(bandits.beta)

    settings = (inverse_betas, GOOD, config.seeds, cap, FOUND, config.seed)
    return exploration.rounds_at_gap(make, *settings)


@dataclasses.dataclass(frozen=True)
class _Setting:
    """A setting of the lanes: the panel it belongs to, its instance, and its optimism α/β.

    ``optimism`` is the mixture of the second draw for DPO, and α for VPO, whose bonus enters once.
    """

    panel: str
    inverse_beta: int
    reward: float
    optimism: float
    horizon: int


def _settings(config: Config, method: str) -> list[_Setting]:
    arms, last = (GOOD, BAD), config.horizons[-1]
    one, length = config.ablation_inverse_beta, config.ablation_rounds
    scale = SCALE / np.sqrt(length)
    if method == "xpo":
        horizons = [(horizon, SCALE / float(np.sqrt(horizon))) for horizon in config.horizons]
        rounds = [_Setting("rounds", b, GOOD, scale, last) for b in _wall_betas(config)]
        regret = [
            _Setting("regret", b, arm, alpha, horizon)
            for b, arm, (horizon, alpha) in itertools.product(config.inverse_betas, arms, horizons)
        ]
        ablation = [_Setting("ablation", one, arm, scale, length) for arm in arms]
        signs = (1.0, -1.0)
        sweep = [
            _Setting("sweep", config.sweep_inverse_beta, arm, sign * alpha, config.sweep_rounds)
            for arm, sign, alpha in itertools.product(arms, signs, config.optimism)
        ]
        return rounds + regret + ablation + sweep
    if method == "dpo":
        regret = [
            _Setting("regret", b, arm, 0.0, last) for b, arm in itertools.product(config.inverse_betas, arms)
        ]
        return regret + [
            _Setting("ablation", one, arm, mixture, length)
            for arm, mixture in itertools.product(arms, (0.0, 1.0))
        ]
    # XPO's α times its comparisons is VPO's α times β: the same weight at the end of the run
    return [_Setting("ablation", one, arm, scale * length, length) for arm in arms]


def _lanes(config: Config, method: str) -> dict[_Setting, np.ndarray]:
    """Gaps ``[S, T + 1]`` of every setting of a method."""
    settings = _settings(config, method)
    repeat = config.seeds
    bandits = exploration.rare_arm(
        np.repeat([setting.inverse_beta for setting in settings], repeat),
        np.repeat([setting.reward for setting in settings], repeat),
    )
    replay = counts(1, 2)
    make = {
        # traced numbers are not checked: so the flipped sign, which xpo refuses, can be run as a control
        "xpo": lambda optimism, beta: xpo(optimism * beta, beta, replay),
        "dpo": lambda mixture, beta: dpo(beta, mixture, replay),
        "vpo": lambda optimism, beta: vpo(optimism, beta, replay),
    }[method]
    optimism = jnp.asarray(np.repeat([setting.optimism for setting in settings], repeat))
    lane_keys = exploration.keys(config.seed, np.tile(np.arange(repeat), len(settings)))
    last = max(setting.horizon for setting in settings)
    algorithms = jax.vmap(make)(optimism, bandits.beta)
    gap = exploration.gaps(algorithms, bandits, lane_keys, last, exploration.nine_differences())
    return dict(zip(settings, gap.reshape(len(settings), repeat, -1), strict=True))


def _xpo_rounds(config: Config, lanes: dict[_Setting, np.ndarray]) -> np.ndarray:
    columns = [exploration.wasted(gap, FOUND, 1) for one, gap in lanes.items() if one.panel == "rounds"]
    return np.stack(columns, 1)


def _regret(config: Config, lanes: dict[str, dict[_Setting, np.ndarray]]) -> list[Regret]:
    panels = []
    for inverse_beta, method in itertools.product(config.inverse_betas, ("xpo", "dpo")):
        found = [
            (one, gap)
            for one, gap in lanes[method].items()
            if one.panel == "regret" and one.inverse_beta == inverse_beta
        ]
        columns = []
        for horizon in config.horizons:
            means = [
                gap[:, :horizon].mean(-1) for one, gap in found if method == "dpo" or one.horizon == horizon
            ]
            columns.append(np.mean(means, axis=0))
        curve = exploration.series(method, config.horizons, np.stack(columns, 1))
        exponent = exploration.slope(np.log(config.horizons), np.log(curve.middle))
        panels.append(Regret(inverse_beta, curve, exponent))
    return panels


def _ablation(config: Config, lanes: dict[str, dict[_Setting, np.ndarray]]) -> list[Cell]:
    which = {
        ("on-policy", False): ("dpo", 0.0),
        ("on-policy", True): ("vpo", None),
        ("reference", False): ("dpo", 1.0),
        ("reference", True): ("xpo", None),
    }
    cells = []
    for (name, reward), ((draw, bonus), (method, mixture)) in itertools.product(
        (("good", GOOD), ("bad", BAD)), which.items()
    ):
        (gap,) = (
            gap
            for one, gap in lanes[method].items()
            if one.panel == "ablation" and one.reward == reward and mixture in (None, one.optimism)
        )
        length = config.ablation_rounds
        final = gap[:, length - length // 8 : length].mean(-1)
        solved, low, high = (float(value) for value in bootstrap(final < FOUND))
        cells.append(Cell(name, draw, bonus, float(np.median(final)), solved, low, high))
    return cells


def _sweep(config: Config, lanes: dict[_Setting, np.ndarray]) -> list[Sweep]:
    curves = []
    for (name, reward), (method, sign) in itertools.product(
        (("good", GOOD), ("bad", BAD)), (("xpo", 1), ("xpo_flipped", -1))
    ):
        found = [
            gap[:, : config.sweep_rounds]
            for one, gap in lanes.items()
            if one.panel == "sweep" and one.reward == reward and sign * one.optimism > 0
        ]
        curve = exploration.series(method, config.optimism, np.stack([gap.mean(-1) for gap in found], 1))
        failed = [float((gap[:, -1] >= FOUND).mean()) for gap in found]
        curves.append(Sweep(name, curve, failed))
    return curves
