"""Fast rates: what the KL term does to the error of a reward, and the regret of order log T that follows.

Let d = r̂ - r and π_s the optimum of r + s d, from π_0 = π* to π_1, the policy of r̂. The suboptimality is a
Bregman divergence of the log-partition function, so

    J(π*) - J(π_1) = (1/β) ∫_0^1 s Var_{π_s}(d) ds = Var_{π_ξ}(d)/(2β) for some ξ in [0, 1]:

the *square* of the error. n labels give an error of n^-1/2 and hence a gap of 1/n, and a gap of 1/t adds up
to log T. A run shows order log T if it gains as much regret over [T/4, T] as over [T/16, T/4]; of order √T it
gains twice as much, of order T four times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, log_softmax

from nlhf import dpo, kl_ucb, vpo, xpo, xpo_previous
from nlhf.base import Algorithm
from proofs_checks.learners.labels import arms, copies, counted, fit_once, gaps, random_arms
from proofs_checks.learners.outcomes import judged, log_slope
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bandits import Bandit, optimum, suboptimality
from tabular.replay import counts
from tabular.runner import Axes
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.finite_class import finite_class
from tabular.uncertainty import elliptic

Array = jax.Array
SIZE = 5


class _Segment(NamedTuple):
    """N bandits of 8 responses and wrong rewards: d ``[N, 1, 8]`` and the gap of the policy of r + d."""

    bandit: Bandit
    error: np.ndarray
    gap: np.ndarray

    def variance(self, share: np.ndarray) -> np.ndarray:
        """``Var_{π_s}(d)`` at the shares s ``[Q]``, ``[N, Q]``."""
        reward, log_ref, _, beta = (np.asarray(each) for each in self.bandit)
        law = np.exp(
            log_softmax(log_ref + (reward + share[:, None] * self.error) / beta[:, None, None], axis=-1)
        )
        mean = (law * self.error).sum(-1, keepdims=True)
        return (law * (self.error - mean) ** 2).sum(-1)


def _segment(effort: Effort) -> _Segment:
    rng, count = effort.rng("variance"), effort.pick(64, 1000)
    beta = np.exp(rng.uniform(np.log(0.1), np.log(2), count))
    reward, other = rng.normal(size=(2, count, 8))
    bandit = arms(reward, log_softmax(rng.normal(size=(count, 8)), axis=1), beta)
    fitted = jax.vmap(optimum)(bandit._replace(reward=jnp.asarray(other[:, None])))
    return _Segment(bandit, (other - reward)[:, None], np.asarray(jax.vmap(suboptimality)(bandit, fitted)))


def _judge_variance(effort: Effort) -> Outcome:
    """Largest of gap over the largest variance and smallest variance over the gap."""
    segment = _segment(effort)
    variance, beta = segment.variance(np.linspace(0, 1, 257)), np.asarray(segment.bandit.beta)
    low, high = (pick(1) / (2 * beta) for pick in (variance.min, variance.max))
    # the same segment, were the gap of first order in the error
    first = np.sqrt(2 * beta * segment.gap)
    right, wrong = (np.maximum(each / high, low / each) for each in (segment.gap, first))
    control = "the root of 2β times the gap in its place"
    return judged(right, control, wrong, beta=beta, reward=segment.bandit.reward[:, 0])


def _judge_integral(effort: Effort) -> Outcome:
    """(1/β) ∫ s Var ds by Gauss-Legendre in 64 nodes on 8 pieces against the library's gap."""
    segment = _segment(effort)
    gap, beta = segment.gap, np.asarray(segment.bandit.beta)
    node, weight = np.polynomial.legendre.leggauss(64)
    pieces = np.arange(8)[:, None] / 8
    share, weight = (pieces + (node + 1) / 16).ravel(), np.tile(weight / 16, 8)
    variance = segment.variance(share)
    right, wrong = (
        np.abs((weight * part * variance).sum(1) / beta - gap) / (1 + gap) for part in (share, 1 - share)
    )
    return judged(right, "weights 1 - s: the gap the other way", wrong, 1e-10)


def _tilt(settings: Array, bandit: Bandit) -> Algorithm:
    # the tilt's coefficient need not be the one that the suboptimality is measured with
    return dpo(settings, 0.0, counts(1, SIZE))


@functools.cache
def _samples(effort: Effort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, and ``[n, S]`` the gap and the error |E_{π*} r - E_π r| of the policy fitted to n uniform pairs."""
    number, seeds = np.array([500, 2000, 8000, 32000]), effort.pick(60, 400)
    rng = effort.rng("samples")
    bandit = random_arms(rng, seeds, SIZE, 3.0, 0.5)
    reward = np.asarray(bandit.reward)[:, 0]
    drawn_as = np.zeros((len(number), seeds, SIZE, SIZE, 2))
    chance = (1 - np.eye(SIZE)).ravel() / (SIZE * (SIZE - 1))
    for level, size in enumerate(number):
        drawn = rng.multinomial(size, chance, seeds).reshape(seeds, SIZE, SIZE)
        won = rng.binomial(drawn, expit(reward[:, :, None] - reward[:, None, :]))
        drawn_as[level, ..., 1], drawn_as[level, ..., 0] = won, drawn - won
    many = copies(bandit, len(number))
    data = counted(drawn_as.reshape(-1, SIZE, SIZE, 2))
    fitted = fit_once(_tilt, many.beta, many, data, bounded_rewards(8.0))
    gap = np.asarray(jax.vmap(suboptimality)(many, jnp.asarray(fitted)))
    best = np.exp(np.asarray(jax.vmap(optimum)(many)))
    loss = np.abs(((best - np.exp(fitted)) * np.asarray(many.reward)).sum((1, 2)))
    return number, gap.reshape(len(number), seeds), loss.reshape(len(number), seeds)


def _judge_samples(effort: Effort) -> Outcome:
    number, gap, loss = _samples(effort)
    rng, seeds = effort.rng("samples.bootstrap"), gap.shape[1]
    again = [log_slope(number, gap[:, rng.integers(seeds, size=seeds)].mean(1)) for _ in range(200)]
    low, high = np.quantile(again, (0.025, 0.975))
    slope, other = (log_slope(number, each.mean(1)) for each in (gap, loss))
    return judged(
        abs(slope + 1),
        "the loss of reward alone, without KL",
        abs(other + 1),
        0.15,
        instances=gap.size,
        detail={"slope": slope, "low": low, "high": high, "slope_reward": other},
    )


BETAS = (2.0, 1.0, 0.5, 0.25, 0.1)
PAIRS = 16  # comparisons a round: the phase in which nothing is known is then a few rounds long
METHODS: dict[str, Callable[[Bandit], Algorithm]] = {
    "kl_ucb": lambda one: kl_ucb(0.5, one.beta, counts(1, SIZE), elliptic(one)),
    "greedy": lambda one: vpo(0.0, one.beta, counts(1, SIZE)),
    # no width: greedy, with the second draw from the reference
    "reference": lambda one: kl_ucb(0.0, one.beta, counts(1, SIZE), elliptic(one)),
}


@functools.cache
def growth_runs(effort: Effort, name: str) -> np.ndarray:
    """Gaps ``[len(BETAS), S, T]`` of a key of ``METHODS``, the same bandits at every β."""
    seeds, num_steps = effort.pick(16, 24), effort.pick(256, 1024)
    bandit = random_arms(effort.rng("growth"), seeds, SIZE, 2.0, 1.0)
    many = copies(bandit, len(BETAS))._replace(beta=jnp.repeat(jnp.asarray(BETAS), seeds))
    keys = jax.random.split(effort.key("growth"), len(BETAS) * seeds)
    method = jax.vmap(METHODS[name])(many)
    found = gaps(method, many, keys, num_steps, bounded_rewards(1.0), PAIRS)[:, :-1]
    return found.reshape(len(BETAS), seeds, num_steps)


def gain(gap: np.ndarray) -> float:
    """Regret over [T/4, T] divided by that over [T/16, T/4], means of ``[S, T]``: 1 if it is log T."""
    total = gap.cumsum(-1).mean(0)
    at = [total[len(total) // share - 1] for share in (1, 4, 16)]
    return float((at[0] - at[1]) / (at[1] - at[2]))


def _judge_growth(effort: Effort, name: str, slowest: float) -> Outcome:
    """``gain`` at every β down to ``slowest``; that of the error of the reward is the control."""
    runs = dict(zip(BETAS, growth_runs(effort, name), strict=True))
    judged_at = [beta for beta in BETAS if beta >= slowest]
    gains = {beta: gain(gap) for beta, gap in runs.items()}
    wrong = min(gain(np.sqrt(2 * beta * runs[beta])) for beta in judged_at)
    control = "the error of the reward under the policy, √(2β gap), summed instead"
    detail = {f"gain_beta_{beta:g}": each for beta, each in gains.items()}
    detail |= {f"regret_beta_{beta:g}": gap.sum(1).mean() for beta, gap in runs.items()}
    if name == "kl_ucb":
        detail["greedy_gain"] = gain(growth_runs(effort, "greedy")[-1])
        wrong, control = min(wrong, detail["greedy_gain"]), f"{control}; and greedy at β = {BETAS[-1]:g}"
    return judged(
        [gains[beta] for beta in judged_at],
        control,
        wrong,
        1.6,
        instances=len(judged_at) * len(runs[BETAS[0]]),
        detail=detail,
    )


def _judge_constant(effort: Effort) -> Outcome:
    """Regret of greedy at β = 0.1 over that at β = 1; and of KL-UCB, which does not need luck."""
    total = {name: growth_runs(effort, name).sum(2).mean(1) for name in METHODS}
    ratio = {name: each[-1] / each[1] for name, each in total.items()}
    return judged(
        10 / ratio["greedy"],
        "KL-UCB",
        10 / ratio["kl_ucb"],
        instances=growth_runs(effort, "greedy").shape[1],
        detail={f"ratio_{name}": value for name, value in ratio.items()},
    )


# Rewards R and R - 1/2 of two responses that the reference hardly plays, 0 of the one that it does

LEVELS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0)  # the slopes leave out the first
RARE, COLD = float(np.exp(-8.0)), 0.25
LADDER = finite_class(
    np.array([[0.0, 0.0, 0.0]] + [row for R in LEVELS for row in ([R, R - 0.5, 0.0], [R - 0.5, R, 0.0])])[
        :, None
    ]
)
UNSOLVED = 0.1


@functools.cache
def saturated(effort: Effort, name: str) -> np.ndarray:
    """Comparisons made while the gap is above 0.1, ``[levels, S]``."""
    levels, seeds = np.array(LEVELS[: effort.pick(5, 6)]), 48
    num_steps = effort.pick(8192, 32768)
    reward = np.stack([levels, levels - 0.5, 0 * levels], 1)
    log_ref = np.tile(np.log([RARE, RARE, 1 - 2 * RARE]), (len(levels), 1))
    make = {"xpo": xpo, "xpo_previous": xpo_previous}[name]
    found = gaps(
        make(0.1 * COLD / np.sqrt(num_steps), COLD, counts(1, 3)),
        arms(reward, log_ref, COLD),
        jax.random.split(effort.key("saturated"), (len(levels), seeds)),
        num_steps,
        LADDER,
        axes=(Axes(game=0, key=0), Axes(key=0)),
    )
    return (found > UNSOLVED).sum(-1)


def _judge_saturation(effort: Effort) -> Outcome:
    """Slopes of the log of the mean number of unsolved comparisons in R."""
    slope: dict[str, float] = {}
    detail: dict[str, float] = {}
    for name in ("xpo", "xpo_previous"):
        mean = saturated(effort, name).mean(1)
        slope[name] = np.polyfit(LEVELS[1 : len(mean)], np.log(mean[1:]), 1)[0]
        detail |= {f"{name}_R_{level:g}": count for level, count in zip(LEVELS, mean, strict=False)}
    return judged(
        slope["xpo_previous"],
        "XPO, which compares with the reference",
        slope["xpo"],
        0.3,
        instances=saturated(effort, "xpo").size,
        detail=detail | {f"slope_{name}": each for name, each in slope.items()},
    )


SETTING = "5 responses, rewards uniform in [0, 1], fits in that class, 16 comparisons a round"

_run = functools.partial(check_of, kind="scaling", status="empirical")
_identity = functools.partial(check_of, kind="identity")
CHECKS: tuple[Check, ...] = (
    _identity(
        "bandit.gap_is_variance",
        "J(π*) - J(π_r̂) = Var_{π_ξ}(r̂ - r)/(2β) for some policy π_ξ of a reward between the two",
        "8 responses, β in [0.1, 2]; containment between the smallest and the largest variance",
        _judge_variance,
        source="derived (the mean value form of arXiv:2411.04625's lemma)",
    ),
    _identity(
        "bandit.gap_is_integral",
        "J(π*) - J(π_r̂) = (1/β) ∫_0^1 s Var_{π_s}(r̂ - r) ds, π_s the optimum of r + s (r̂ - r)",
        "8 responses, β in [0.1, 2]",
        _judge_integral,
    ),
    _run(
        "bandit.fast_rate",
        "the policy fitted to n uniform pairs has a gap of order 1/n (exponent within 0.15)",
        "5 responses, β = 1/2, n from 500 to 32,000; settings ours",
        _judge_samples,
        source="arXiv:2411.04625, abstract",
    ),
    _run(
        "kl_ucb.log_regret",
        "regret of order log T: its gain over [T/4, T] is at most 1.6 times that over [T/16, T/4] (√T: 2)",
        f"{SETTING}; β from 0.1 to 2, width 1/2",
        functools.partial(_judge_growth, name="kl_ucb", slowest=BETAS[-1]),
        source="arXiv:2502.07460, arXiv:2603.02155, abstracts; with comparisons ours",
    ),
    _run(
        "dpo.greedy_log_regret",
        "greedy, both draws on-policy: the gain over [T/4, T] is at most 1.6 times that over [T/16, T/4]",
        f"{SETTING}; β from 0.5 to 2",
        functools.partial(_judge_growth, name="greedy", slowest=0.5),
        source="arXiv:2510.24700, abstract; settings ours",
    ),
    _run(
        "dpo.greedy_constant",
        "greedy, both draws on-policy: its regret at β = 0.1 is at least 10 times that at β = 1",
        f"{SETTING}; the same bandits",
        _judge_constant,
        source="arXiv:2510.24700, abstract; settings ours",
        kind="separation",
    ),
    _run(
        "xpo_previous.saturation",
        "log of the comparisons spent unsolved has slope at most 0.3 in R, XPO's more",
        "rewards (R, R - 1/2, 0), π_ref = e^-8 on the first two, β = 1/4, both orders in the class; R >= 3",
        _judge_saturation,
        source="arXiv:2502.00666, arXiv:2509.22633, abstracts; the instance is ours",
        kind="separation",
    ),
)
