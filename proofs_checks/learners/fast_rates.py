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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, log_softmax

from nlhf import dpo, kl_ucb, vpo, xpo, xpo_previous
from nlhf.base import Algorithm, Comparisons
from proofs_checks.learners.labels import fit_once
from proofs_checks.learners.vpo_rates import arms, play
from proofs_checks.rows import Check, Effort, Outcome
from tabular.bandits import Bandit, optimum, suboptimality
from tabular.oracle import labelled
from tabular.replay import counts
from tabular.runner import Axes, run
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.finite_class import finite_class
from tabular.uncertainty import elliptic

Array = jax.Array
SIZE = 5


def _pairs(effort: Effort) -> tuple[Bandit, np.ndarray, np.ndarray]:
    """Bandits of 8 responses and a wrong reward: the gap of its policy, and ``[N, Q]`` s and Var_{π_s}(d)."""
    rng, count = effort.rng("variance"), effort.pick(64, 1000)
    beta = np.exp(rng.uniform(np.log(0.1), np.log(2), count))
    reward, other = rng.normal(size=(2, count, 8))
    log_ref = log_softmax(rng.normal(size=(count, 8)), axis=1)
    bandit = Bandit(*(jnp.asarray(x) for x in (reward[:, None], log_ref[:, None], np.ones((count, 1)), beta)))
    fitted = jax.vmap(optimum)(bandit._replace(reward=jnp.asarray(other[:, None])))
    gap = np.asarray(jax.vmap(suboptimality)(bandit, fitted))
    share = np.linspace(0, 1, 257)
    error = (other - reward)[:, None]
    law = np.exp(
        log_softmax((log_ref[:, None] + (reward[:, None] + share[:, None] * error) / beta[:, None, None]), -1)
    )
    mean = (law * error).sum(-1, keepdims=True)
    return bandit, gap, (law * (error - mean) ** 2).sum(-1)


def _judge_variance(effort: Effort) -> Outcome:
    """Largest of gap over the largest variance and smallest variance over the gap."""
    bandit, gap, variance = _pairs(effort)
    low, high = (pick(1) / (2 * np.asarray(bandit.beta)) for pick in (variance.min, variance.max))
    # the same segment, were the gap of first order in the error
    first = np.sqrt(2 * np.asarray(bandit.beta) * gap)
    right, wrong = (np.maximum(each / high, low / each) for each in (gap, first))
    index = int(right.argmax())
    return Outcome(
        instances=len(gap),
        worst=float(right.max()),
        control="the root of 2β times the gap in its place",
        control_worst=float(wrong.max()),
        witness={"beta": float(bandit.beta[index]), "reward": np.asarray(bandit.reward[index, 0]).tolist()},
    )


def _judge_integral(effort: Effort) -> Outcome:
    """(1/β) ∫ s Var ds by Gauss-Legendre in 64 nodes on 8 pieces against the library's gap."""
    bandit, gap, _ = _pairs(effort)
    beta, count = np.asarray(bandit.beta), len(gap)
    rng = effort.rng("variance")
    rng.uniform(size=count)  # the draws of ``_pairs`` again
    reward, other = rng.normal(size=(2, count, 8))
    log_ref = np.asarray(bandit.log_ref)[:, 0]
    node, weight = np.polynomial.legendre.leggauss(64)
    pieces = np.arange(8)[:, None] / 8
    share, weight = (pieces + (node + 1) / 16).ravel(), np.tile(weight / 16, 8)
    error = (other - reward)[:, None]
    logits = log_ref[:, None] + (reward[:, None] + share[:, None] * error) / beta[:, None, None]
    law = np.exp(log_softmax(logits, axis=-1))
    mean = (law * error).sum(-1, keepdims=True)
    variance = (law * (error - mean) ** 2).sum(-1)
    right, wrong = (
        np.abs((weight * part * variance).sum(1) / beta - gap) / (1 + gap) for part in (share, 1 - share)
    )
    return Outcome(
        count, float(right.max()), "weights 1 - s: the gap the other way", float(wrong.max()), limit=1e-10
    )


def _tilt(settings: Array, bandit: Bandit) -> Algorithm:
    # the tilt's coefficient need not be the one that the suboptimality is measured with
    return dpo(settings, 0.0, counts(1, SIZE))


@functools.cache
def _samples(effort: Effort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, and ``[n, S]`` the gap and the error |E_{π*} r - E_π r| of the policy fitted to n uniform pairs."""
    number, seeds = np.array([500, 2000, 8000, 32000]), effort.pick(60, 400)
    rng = effort.rng("samples")
    bandit = arms(rng, seeds, SIZE, 3.0, 0.5)
    reward = np.asarray(bandit.reward)[:, 0]
    rows = counts(1, SIZE).empty().comparisons
    weights = np.zeros((len(number), seeds, SIZE, SIZE, 2))
    chance = (1 - np.eye(SIZE)).ravel() / (SIZE * (SIZE - 1))
    for level, size in enumerate(number):
        drawn = rng.multinomial(size, chance, seeds).reshape(seeds, SIZE, SIZE)
        won = rng.binomial(drawn, expit(reward[:, :, None] - reward[:, None, :]))
        weights[level, ..., 1], weights[level, ..., 0] = won, drawn - won
    flat = weights.reshape(len(number) * seeds, -1)
    data = Comparisons(*(jnp.broadcast_to(each, (len(flat), len(each))) for each in rows))
    many = jax.tree.map(lambda leaf: jnp.tile(leaf, (len(number),) + (1,) * (leaf.ndim - 1)), bandit)
    fitted = fit_once(_tilt, many.beta, many, data._replace(weight=jnp.asarray(flat)), bounded_rewards(8.0))
    gap = np.asarray(jax.vmap(suboptimality)(many, jnp.asarray(fitted)))
    best = np.exp(np.asarray(jax.vmap(optimum)(many)))
    loss = np.abs(((best - np.exp(fitted)) * np.asarray(many.reward)).sum((1, 2)))
    return number, gap.reshape(len(number), seeds), loss.reshape(len(number), seeds)


def _judge_samples(effort: Effort) -> Outcome:
    number, gap, loss = _samples(effort)

    def slope(values: np.ndarray) -> float:
        return float(np.polyfit(np.log(number), np.log(values.mean(1)), 1)[0])

    rng, seeds = effort.rng("samples.bootstrap"), gap.shape[1]
    again = [slope(gap[:, rng.integers(seeds, size=seeds)]) for _ in range(200)]
    return Outcome(
        instances=gap.size,
        worst=abs(slope(gap) + 1),
        control="the loss of reward alone, without KL",
        control_worst=abs(slope(loss) + 1),
        limit=0.15,
        detail={
            "slope": slope(gap),
            "low": float(np.quantile(again, 0.025)),
            "high": float(np.quantile(again, 0.975)),
            "slope_reward": slope(loss),
        },
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
    bandit = arms(effort.rng("growth"), seeds, SIZE, 2.0, 1.0)
    many = jax.tree.map(lambda leaf: jnp.tile(leaf, (len(BETAS),) + (1,) * (leaf.ndim - 1)), bandit)
    many = many._replace(beta=jnp.repeat(jnp.asarray(BETAS), seeds))
    keys = jax.random.split(effort.key("growth"), len(BETAS) * seeds)
    gaps = play(METHODS[name], many, keys, num_steps, PAIRS)
    return gaps.reshape(len(BETAS), seeds, num_steps)


def gain(gaps: np.ndarray) -> float:
    """Regret over [T/4, T] divided by that over [T/16, T/4], means of ``[S, T]``: 1 if it is log T."""
    total = gaps.cumsum(-1).mean(0)
    at = [total[len(total) // share - 1] for share in (1, 4, 16)]
    return float((at[0] - at[1]) / (at[1] - at[2]))


def _judge_growth(effort: Effort, name: str, slowest: float) -> Outcome:
    """``gain`` at every β down to ``slowest``; that of the error of the reward is the control."""
    chosen = [index for index, beta in enumerate(BETAS) if beta >= slowest]
    gaps = growth_runs(effort, name)
    gains = [gain(gaps[index]) for index in chosen]
    errors = [gain(np.sqrt(2 * BETAS[index] * gaps[index])) for index in chosen]
    detail = {f"gain_beta_{beta:g}": gain(gaps[index]) for index, beta in enumerate(BETAS)}
    detail |= {f"regret_beta_{beta:g}": float(gaps[i].sum(1).mean()) for i, beta in enumerate(BETAS)}
    return Outcome(
        instances=gaps[chosen].shape[0] * gaps.shape[1],
        worst=max(gains),
        control="the error of the reward under the policy, √(2β gap), summed instead",
        control_worst=min(errors),
        limit=1.6,
        detail=detail,
    )


def _judge_ucb(effort: Effort) -> Outcome:
    outcome = _judge_growth(effort, "kl_ucb", BETAS[-1])
    stuck = gain(growth_runs(effort, "greedy")[-1])
    return Outcome(
        outcome.instances,
        outcome.worst,
        outcome.control + f"; and greedy at β = {BETAS[-1]:g}",
        min(outcome.control_worst, stuck),
        outcome.limit,
        detail={**outcome.detail, "greedy_gain": stuck},
    )


def _judge_constant(effort: Effort) -> Outcome:
    """Regret of greedy at β = 0.1 over that at β = 1; and of KL-UCB, which does not need luck."""
    ratio = {}
    for name in METHODS:
        total = growth_runs(effort, name).sum(2).mean(1)
        ratio[name] = float(total[-1] / total[1])
    return Outcome(
        instances=growth_runs(effort, "greedy").shape[1],
        worst=10 / ratio["greedy"],
        control="KL-UCB",
        control_worst=10 / ratio["kl_ucb"],
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
    reward = np.stack([levels, levels - 0.5, 0 * levels], 1)[:, None]
    log_ref = np.tile(np.log([RARE, RARE, 1 - 2 * RARE]), (len(levels), 1, 1))
    bandit = Bandit(
        jnp.asarray(reward), jnp.asarray(log_ref), jnp.ones((len(levels), 1)), jnp.full(len(levels), COLD)
    )
    make = {"xpo": xpo, "xpo_previous": xpo_previous}[name]
    trace = run(
        make(0.1 * COLD / np.sqrt(num_steps), COLD, counts(1, 3)),
        bandit,
        num_steps=num_steps,
        key=jax.random.split(effort.key("saturated"), (len(levels), seeds)),
        measures=("suboptimality",),
        make_space=LADDER,
        make_oracle=labelled(),
        axes=(Axes(game=0, key=0), Axes(key=0)),
    )
    return (np.asarray(trace.of("suboptimality")) > UNSOLVED).sum(-1)


def _judge_saturation(effort: Effort) -> Outcome:
    """Slopes of the log of the mean number of unsolved comparisons in R."""
    found: dict[str, float] = {}
    detail: dict[str, float] = {}
    for name in ("xpo", "xpo_previous"):
        mean = saturated(effort, name).mean(1)
        found[name] = float(np.polyfit(LEVELS[1 : len(mean)], np.log(mean[1:]), 1)[0])
        detail |= {f"{name}_R_{level:g}": float(count) for level, count in zip(LEVELS, mean, strict=False)}
    return Outcome(
        instances=saturated(effort, "xpo").size,
        worst=found["xpo_previous"],
        control="XPO, which compares with the reference",
        control_worst=found["xpo"],
        limit=0.3,
        detail={**detail, "slope_xpo": found["xpo"], "slope_xpo_previous": found["xpo_previous"]},
    )


def row(
    name: str,
    kind: str,
    statement: str,
    assumptions: str,
    judge: Callable[[Effort], Outcome],
    source: str,
    status: str = "empirical",
    **rest: Any,
) -> Check:
    """One row of this module."""
    return Check(name, name.split(".")[0], kind, source, status, statement, assumptions, judge, **rest)


SETTING = "5 responses, rewards uniform in [0, 1], fits in that class, 16 comparisons a round"

CHECKS: tuple[Check, ...] = (
    row(
        "bandit.gap_is_variance",
        "identity",
        "J(π*) - J(π_r̂) = Var_{π_ξ}(r̂ - r)/(2β) for some policy π_ξ of a reward between the two",
        "8 responses, β in [0.1, 2]; containment between the smallest and the largest variance",
        _judge_variance,
        "derived (the mean value form of arXiv:2411.04625's lemma)",
        "derived",
    ),
    row(
        "bandit.gap_is_integral",
        "identity",
        "J(π*) - J(π_r̂) = (1/β) ∫_0^1 s Var_{π_s}(r̂ - r) ds, π_s the optimum of r + s (r̂ - r)",
        "8 responses, β in [0.1, 2]",
        _judge_integral,
        "derived",
        "derived",
    ),
    row(
        "bandit.fast_rate",
        "scaling",
        "the policy fitted to n uniform pairs has a gap of order 1/n (exponent within 0.15)",
        "5 responses, β = 1/2, n from 500 to 32,000; settings ours",
        _judge_samples,
        "arXiv:2411.04625, abstract",
    ),
    row(
        "kl_ucb.log_regret",
        "scaling",
        "regret of order log T: its gain over [T/4, T] is at most 1.6 times that over [T/16, T/4] (√T: 2)",
        f"{SETTING}; β from 0.1 to 2, width 1/2",
        _judge_ucb,
        "arXiv:2502.07460, arXiv:2603.02155, abstracts; with comparisons ours",
    ),
    row(
        "dpo.greedy_log_regret",
        "scaling",
        "greedy, both draws on-policy: the gain over [T/4, T] is at most 1.6 times that over [T/16, T/4]",
        f"{SETTING}; β from 0.5 to 2",
        functools.partial(_judge_growth, name="greedy", slowest=0.5),
        "arXiv:2510.24700, abstract; settings ours",
    ),
    row(
        "dpo.greedy_constant",
        "separation",
        "greedy, both draws on-policy: its regret at β = 0.1 is at least 10 times that at β = 1",
        f"{SETTING}; the same bandits",
        _judge_constant,
        "arXiv:2510.24700, abstract; settings ours",
    ),
    row(
        "xpo_previous.saturation",
        "separation",
        "log of the comparisons spent unsolved has slope at most 0.3 in R, XPO's more",
        "rewards (R, R - 1/2, 0), π_ref = e^-8 on the first two, β = 1/4, both orders in the class; R >= 3",
        _judge_saturation,
        "arXiv:2502.00666, arXiv:2509.22633, abstracts; the instance is ours",
    ),
)
