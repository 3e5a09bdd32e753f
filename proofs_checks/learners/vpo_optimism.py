"""VPO's optimism: what the bonus does before there is data, where it has no end, what online runs choose."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import vpo
from proofs_checks.learners.labels import Data, arms, draw, fit_once
from proofs_checks.learners.outcomes import judged
from proofs_checks.learners.vpo_identities import FEW, LIMIT, count_of, identity, in_policies, settled, shown
from proofs_checks.learners.xpo_bonus import bonus
from proofs_checks.rows import Check, Effort, Outcome
from tabular.oracle import labelled
from tabular.replay import counts
from tabular.runner import Axes, run
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.finite_class import finite_class
from tabular.spaces.simplex import simplex

Array = jax.Array


def _bonus(logits: Array, bandit: Any, log_cal: Array) -> Array:
    return bonus(bandit, jax.nn.log_softmax(logits), log_cal, bandit.beta)


def _judge_start(effort: Effort) -> Outcome:
    """Gradient of the library's bonus at the reference, and the value of calibrated rewards below 0."""
    data = draw(effort, "vpo.start", count_of(effort))
    bandit, slope = data.bandit, jax.jit(jax.vmap(jax.grad(_bonus)))
    at_reference = data._replace(log_cal=data.log_ref)
    push, other = (
        np.abs(np.asarray(slope(bandit.log_ref, bandit, jnp.asarray(each.log_cal)))).max((1, 2))
        for each in (at_reference, data)
    )
    value = at_reference.reward_value(at_reference.centred(data.reward))
    elsewhere = data.reward_value(data.centred(data.reward))
    wrong, control = min(other.max(), (-elsewhere).max()), "a calibration policy that is not the reference"
    return judged(np.maximum(push, -value), control, wrong, LIMIT, **shown(data))


def _judge_unbounded(effort: Effort) -> Outcome:
    """Slope of the online objective along the reward of a response in no comparison, far out."""
    data = draw(effort, "vpo.unbounded", effort.pick(32, 200))
    first, second = (np.where(column == 0, 1, column) for column in (data.first, data.second))
    missed = data._replace(first=first, second=second)
    lost = missed._replace(
        context=np.concatenate([0 * data.context[:, :8], data.context], 1),
        first=np.concatenate([0 * first[:, :8], first], 1),
        second=np.concatenate([0 * second[:, :8] + 1, second], 1),
        won=np.concatenate([np.zeros((len(first), 8), bool), data.won], 1),
        optimism=np.minimum(data.optimism, 8.0),
    )

    def slope(each: Data) -> np.ndarray:
        values = []
        for far in (200.0, 400.0):
            reward = data.reward.copy()
            reward[:, 0, 0] += far
            values.append(in_policies(each, each.tilted(reward), each.optimism))
        return (values[1] - values[0]) / 200

    expected = -data.optimism * data.prob[:, 0] * (1 - np.exp(data.log_cal[:, 0, 0]))
    right, wrong = (np.abs(slope(each) / expected - 1) for each in (missed, lost))
    return judged(right, "a response that has lost eight comparisons", wrong, 1e-9, **shown(data))


def _judge_bounded(effort: Effort) -> Outcome:
    """Span of the fitted reward over R, in the bounded class and in the simplex."""
    bound = 4.0
    data = draw(effort, "vpo.bounded", effort.pick(8, 60), FEW)
    first, second = (np.where(column == 0, 1, column) for column in (data.first, data.second))
    data = data._replace(first=first, second=second)
    settings = (jnp.asarray(data.optimism), jnp.asarray(data.log_cal))
    spans = []
    for make_space in (bounded_rewards(bound), simplex):
        fitted = fit_once(settled, settings, data.bandit, data.comparisons, make_space)
        implicit = data.beta[:, None, None] * (fitted - data.log_ref)
        spans.append((implicit.max(-1) - implicit.min(-1)).max(-1) / bound)
    return judged(spans[0], "the simplex, in which the fit runs away", spans[1], 1 + 1e-9, **shown(data))


GRID = np.array([0.0, 1 / 3, 2 / 3, 1.0])
CLASS = np.stack(np.meshgrid(GRID, GRID, GRID, indexing="ij"), -1).reshape(-1, 1, 3)
SPACE = finite_class(CLASS)


def _judge_choice(effort: Effort) -> Outcome:
    """The last choice of online runs on a finite class against the argmin over rewards, in numpy."""
    seeds, num_steps = effort.pick(16, 200), 60
    rng = effort.rng("vpo.choice")
    log_ref = np.log(rng.dirichlet(np.full(3, 2.0), seeds))
    beta, optimism = rng.uniform(0.2, 1.0, seeds), rng.uniform(1, 10, seeds)
    bandit = arms(rng.uniform(size=(seeds, 3)), log_ref, beta)
    trace = run(
        jax.vmap(lambda alpha, beta: vpo(alpha, beta, counts(1, 3)))(jnp.asarray(optimism), bandit.beta),
        bandit,
        num_steps=num_steps,
        every=num_steps,
        key=jax.random.split(effort.key("vpo.choice"), seeds),
        measures=("suboptimality",),
        make_space=SPACE,
        make_oracle=labelled(),
        axes=(Axes(algorithm=0, game=0, key=0),),
    )
    kept, policy = trace.state.memory.comparisons, np.asarray(trace.state.policy)
    first, second, label, weight = (
        np.asarray(column) for column in (kept.first, kept.second, kept.prefer_first, kept.weight)
    )
    classes, apart = CLASS[:, 0], np.empty((2, seeds))
    for seed in range(seeds):
        margin = (classes[:, first[seed]] - classes[:, second[seed]]) * np.where(label[seed] > 0, 1, -1)
        misfit = (weight[seed] * np.logaddexp(0, -margin)).sum(1)
        logits = log_ref[seed] + classes / beta[seed]
        for row, mean in enumerate((classes @ np.exp(log_ref[seed]), 0.0)):
            value = beta[seed] * np.logaddexp.reduce(logits, axis=1) - mean
            total = misfit - optimism[seed] * value
            best = np.flatnonzero(total <= total.min() + 1e-9)
            chosen = logits[best] - np.logaddexp.reduce(logits[best], axis=1)[:, None]
            apart[row, seed] = np.abs(chosen - policy[seed]).max(-1).min()
    right, wrong = apart
    detail = {"differ_uncalibrated": (wrong > 1e-9).mean()}
    return judged(right, "rewards that are not calibrated", wrong, 1e-9, detail=detail)


CHECKS: tuple[Check, ...] = (
    identity(
        "vpo.no_first_push",
        "cal = π_ref: the bonus has gradient 0 at π_ref, and J*(r) >= 0 = J*(0) for calibrated r",
        judge=_judge_start,
    ),
    identity(
        "vpo.never_compared_is_unbounded",
        "online: along the reward of a never-compared y the objective falls at rate αρ(x)(1 - cal(y|x))",
        judge=_judge_unbounded,
        source="derived",
    ),
    identity(
        "vpo.bounded_class",
        "online, a response in no comparison: rewards fitted in a class bounded by R have span at most R",
        judge=_judge_bounded,
        assumptions="R = 4; the simplex has no minimum there",
        source="derived",
    ),
    identity(
        "vpo.online_choice",
        "online runs choose argmin_r ℓ(r) - αJ*(r) over the calibrated class",
        judge=_judge_choice,
        assumptions="3 responses, rewards on a grid of 64, 60 comparisons, α in [1, 10]",
    ),
)
