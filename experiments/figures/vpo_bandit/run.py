"""Figure ``vpo-bandit``: cumulative regret of VPO and what it is compared with, on bandits with 10 arms.

Top: rewards uniform on [0, 1], π_ref = softmax(3 U), one context; policies of rewards in [0, 1]. Bottom: 10
contexts, 10 arms, rewards φ(x, a)·θ* with random features of dimension 5, uniform π_ref; policies of linear
rewards with θ in [0, 1]^5. Five or ten labelled pairs a round. The paper's own settings are not known to us,
so these are ours, after arXiv:2405.19320. RLHF here steps on the fitted reward (natural gradient, ηβ = 0.1);
VPO's α, XPO's α = 0.6 β/√n and SLiC's λ are constants of the configuration.

Expected: at β = 1 everything that maximises the Bradley-Terry likelihood has regret of √T or less, and the
order hardly matters. At β = 0.1 on the 10-armed bandits methods whose pairs are both on-policy (VPO, online
DPO, RLHF) are nearer to linear, and VPO is but a little better than online DPO. A draw of the reference does
the work: XPO without its bonus (DPO, ref. draw) is as good as with it. On the linear bandits, where π_ref is
uniform and arms share their features, nothing needs to be explored, and methods differ by little. IPO aims
at a win rate, and ends with the largest exponents; SLiC's margin of one costs it most at β = 1.

Right: on the bad rare arm (see ``xpo-exploration``) VPO starts at the arm and needs exp((1 - 1/8)/β) rounds
to leave it, a line of slope 7/8 on the log axis: the constant e^{C/β} of its bound is real. XPO's draw of
the reference leaves at once. Points at the cap are censored.
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
from experiments.figures.shared.calls import in_turn
from experiments.figures.shared.curves import Announce, Brief, Curve, announced, check_seeds
from experiments.figures.shared.exploration import BAD
from nlhf import ipo, rlhf, slic, vpo, xpo
from nlhf.base import Algorithm
from nlhf.errors import InputError
from nlhf.replay import Replay, buffer
from tabular.bandits import Bandit
from tabular.replay import counts
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.linear import linear_rewards_space

ARMS = CONTEXTS = 10
DIMENSION = 5
SKEW = 3.0
PROBLEMS = ("10-armed bandit", "linear contextual bandit")
# one program each: without its bonus VPO is online DPO, and XPO is DPO with a draw of the reference
PROGRAMS: dict[str, tuple[str, ...]] = {
    "vpo": ("dpo", "vpo"),
    "xpo": ("dpo_reference", "xpo"),
    "rlhf": ("rlhf",),
    "ipo": ("ipo",),
    "slic": ("slic",),
}
LEFT = 1 / 16  # gap below which the bad arm counts as left


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 12  # bandits, and runs of each method at each β, 1 to 1000
    problems: tuple[str, ...] = PROBLEMS  # some of ``PROBLEMS``
    programs: tuple[str, ...] = tuple(PROGRAMS)  # keys of ``PROGRAMS``
    betas: tuple[float, ...] = (0.1, 0.3, 1.0)  # β of the columns
    rounds: int = 300  # T on the 10-armed bandits
    linear_rounds: int = 80  # T on the linear ones
    pairs: int = 5  # labelled pairs a round on the 10-armed bandits
    linear_pairs: int = 10  # labelled pairs a round on the linear ones
    optimism: float = 1.0  # VPO's α
    scale: float = 0.6  # XPO has α = scale β/√n, n the comparisons of the run
    regularisation: float = 0.3  # SLiC has λ = regularisation β
    mirror: float = 0.1  # RLHF has η = mirror/β
    # (1/β, ..., cap in rounds), one group a cap
    walls: tuple[tuple[tuple[int, ...], int], ...] = (((5, 6, 7, 8), 20_000), ((9, 10, 11, 12), 160_000))
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: the 10-armed bandits, VPO, XPO and both kinds of DPO, 4 seeds."""
    return dataclasses.replace(
        config,
        seeds=min(config.seeds, 4),
        problems=config.problems[:1],
        programs=("vpo", "xpo"),
        betas=(config.betas[0], config.betas[-1]),
        rounds=100,
        walls=(((4, 5, 6, 7), 10_000),),
    )


@dataclasses.dataclass(frozen=True)
class Panel:
    """One problem at one β."""

    problem: str  # one of ``PROBLEMS``
    beta: float
    curves: list[Curve]  # cumulative regret over rounds, mean over seeds
    exponent: list[float]  # log(R_T / R_{T/4}) / log 4 of the mean, one a curve


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    panels: list[Panel]  # problem by problem, β by β
    wall: list[Curve]  # median rounds at gap >= 1/16 on the bad arm over 1/β, VPO and XPO
    caps: list[int]  # where VPO's runs were stopped, one a point
    slope: float  # of the logarithm of VPO's in 1/β, over points below the cap


@announced
def run(config: Config, progress: Announce) -> Result:
    """Run every method on both problems, and VPO into its wall.

    Raises:
      InputError: if seeds is not in 1..1000, or a number of rounds is less than 4.
    """
    check_seeds(config.seeds)
    if min(config.rounds, config.linear_rounds) < 4:
        raise InputError(
            f"rounds is {min(config.rounds, config.linear_rounds)}, but exponents need at least 4"
        )
    calls: dict[str, Callable[[], Any]] = {
        f"{method}, {problem}": functools.partial(_regret, config, problem, method)
        for problem, method in itertools.product(reversed(config.problems), config.programs)
    }
    for inverse_betas, cap in reversed(config.walls):
        calls[f"the wall, {cap} rounds"] = functools.partial(_wall, config, "vpo", inverse_betas, cap)
    everywhere = tuple(beta for betas, _ in config.walls for beta in betas)
    shortest = min(cap for _, cap in config.walls)
    calls["XPO at the wall"] = functools.partial(_wall, config, "xpo", everywhere, shortest)
    done = in_turn(calls, progress)
    panels = []
    for problem in config.problems:
        parts: dict[str, np.ndarray] = {}
        for method in config.programs:
            parts |= done[f"{method}, {problem}"]
        for index, beta in enumerate(config.betas):
            panels.append(_panel(problem, beta, {name: part[:, index] for name, part in parts.items()}))
    vpo_rounds = np.concatenate([done[f"the wall, {cap} rounds"] for _, cap in config.walls], 1)
    caps = [cap for betas, cap in config.walls for _ in betas]
    xs = np.asarray(everywhere, float)
    wall = [
        exploration.series("vpo", xs, vpo_rounds, np.median),
        exploration.series("xpo", xs, done["XPO at the wall"], np.median),
    ]
    return Result(
        config, panels, wall, caps, exploration.wall_slope(everywhere, np.median(vpo_rounds, axis=0), caps)
    )


def _panel(problem: str, beta: float, regrets: dict[str, np.ndarray]) -> Panel:
    curves, exponents = [], []
    for method, regret in regrets.items():
        length = regret.shape[-1]
        shown = np.unique(np.linspace(1, length, min(length, 60)).round().astype(int))
        curves.append(exploration.series(method, shown, regret[:, shown - 1]))
        mean = regret.mean(0)
        exponents.append(float(np.log(mean[-1] / mean[length // 4 - 1]) / np.log(length / (length // 4))))
    return Panel(problem, beta, curves, exponents)


def _regret(config: Config, problem: str, method: str) -> dict[str, np.ndarray]:
    """Cumulative regret ``[S, B, T]`` of the methods of one program."""
    linear = problem == PROBLEMS[1]
    rounds, pairs = _lengths(config, problem)
    bonus = np.asarray((0.0, 1.0) if method in ("vpo", "xpo") else (0.0,))
    shape = (len(bonus), config.seeds, len(config.betas))
    which, seed, row = (axis.reshape(-1) for axis in np.indices(shape))
    beta = np.asarray(config.betas)[row]
    if linear:
        bandits, space = _linear(config, seed, beta), _linear_space(config.seed)
        replay = buffer(rounds * pairs)  # fewer rows than counts of 10 contexts would have
    else:
        reward, log_ref = exploration.random_bandits(config.seeds, ARMS, SKEW, config.seed)
        bandits = exploration.lane_bandits(reward[seed], log_ref[seed], beta)
        # a fit that is not done in 10 steps continues in the next round from where it is
        space, replay = bounded_rewards(1.0, 1, 10, 1e-6), counts(1, ARMS)
    gap = exploration.gaps(
        _stack(config, method, replay, rounds * pairs, bonus[which], bandits.beta),
        bandits,
        exploration.keys(config.seed, seed),
        rounds,
        space,
        pairs=pairs,
    )
    regret = gap[:, :-1].cumsum(-1).reshape(*shape, rounds)
    return dict(zip(PROGRAMS[method], regret, strict=True))


def _lengths(config: Config, problem: str) -> tuple[int, int]:
    """Rounds, and labelled pairs a round."""
    if problem == PROBLEMS[1]:
        return config.linear_rounds, config.linear_pairs
    return config.rounds, config.pairs


def _stack(
    config: Config, method: str, replay: Replay, comparisons: int, bonus: np.ndarray, beta: jax.Array
) -> Algorithm:
    alpha = config.scale / np.sqrt(comparisons)
    make: Callable[..., Algorithm] = {
        "vpo": lambda bonus, beta: vpo(config.optimism * bonus, beta, replay),
        "xpo": lambda bonus, beta: xpo(alpha * bonus * beta, beta, replay),
        "rlhf": lambda bonus, beta: rlhf(config.mirror / beta, beta, replay),
        "ipo": lambda bonus, beta: ipo(beta, 0.0, replay),
        "slic": lambda bonus, beta: slic(beta, 0.0, config.regularisation * beta, replay),
    }[method]
    return jax.vmap(make)(jnp.asarray(bonus), beta)


def _linear(config: Config, seed: np.ndarray, beta: np.ndarray) -> Bandit:
    weights = np.stack(
        [np.random.default_rng((config.seed, 1, one)).uniform(size=DIMENSION) for one in range(config.seeds)]
    )
    reward = np.einsum("xad,ld->lxa", _features(config.seed), weights)[seed]
    uniform = jnp.full(reward.shape, -np.log(ARMS))
    prob = jnp.full((len(seed), CONTEXTS), 1 / CONTEXTS)
    return Bandit(jnp.asarray(reward), uniform, prob, jnp.asarray(beta))


def _features(seed: int) -> np.ndarray:
    """Features ``[X, A, D]``: rewards φ·θ of two arms differ by 1 or so, as those of the other problem."""
    return np.random.default_rng((seed, 0)).uniform(size=(CONTEXTS, ARMS, DIMENSION)) * 2 / DIMENSION


@functools.cache
def _linear_space(seed: int) -> Callable:
    return linear_rewards_space(jnp.asarray(_features(seed)), 1.0, 3, 1e-6)


def _wall(config: Config, method: str, inverse_betas: tuple[int, ...], cap: int) -> np.ndarray:
    """Rounds at gap >= 1/16 on the bad arm, ``[S, B]``; more seeds than panels need, as runs are short."""

    def make(bandits: Bandit) -> Algorithm:
        # XPO for as many comparisons as would settle it at any β
        return _stack(config, method, counts(1, 2), 400, np.ones(len(bandits.beta)), bandits.beta)

    return exploration.rounds_at_gap(make, inverse_betas, BAD, 8 * config.seeds, cap, LEFT, config.seed)
