"""How fast DPO converges: online by who draws the pairs; offline not where data never show the best response.

The rows of samplers run the library's ``dpo``: its oracle answers with every ordered pair, its label the true
probability and its weight the sampler's, and one step of gradient descent on a softmax table is one step of
the method. Their error is the largest ``|r(y) - r(y') - β (log π/π_ref(y) - log π/π_ref(y'))|``.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit, log_softmax

from nlhf import dpo
from nlhf.base import Comparisons, Oracle, Policy
from nlhf.replay import latest
from proofs_checks.learners.labels import arms, copies, counted, learn, no_payoff
from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bandits import Bandit, suboptimality
from tabular.spaces.simplex import simplex
from tabular.spaces.softmax import softmax_space

PAPER = "arXiv:2409.19605"
ACTIONS = 20  # instances with fewer are padded with responses that the reference excludes
BETAS = (0.05, 3.0)
RATE = 1e6  # learning rate of the table; pairs (y, y), which move nothing, make up the total weight for it
NUM_STEPS = 40
FLOOR = 1e-13  # errors below it are rounding
Array = jax.Array


# The exact samplers


def _weights(sampler: Array, reward: Array, implicit: Array) -> Array:
    """``[A, A]`` weight of each pair: 0 uniform, 1 mixed by the reward, 2 by the policy's own reward."""
    uniform = jnp.full((reward.shape[0],) * 2, 4.0)
    mixed = [2 + 2 * jnp.cosh(each[:, None] - each[None, :]) for each in (reward, implicit)]
    return jnp.select([sampler == 0, sampler == 1], [uniform, mixed[0]], mixed[1])


def _pairs(bandit: Bandit, sampler: Array, scale: Array, policy: Array) -> Comparisons:
    """Every ordered pair with its probability as label, weighed so that one SGD step is the paper's.

    A fit divides by the total weight, which pairs (y, y) bring to ``2 β² |Y| RATE / scale``. Then
    ``θ_y += scale/(β |Y|) Σ_y' W(y, y') [σ(r - r') - σ(β log-ratio)]``, the paper's at scale = 1.
    """
    reward, log_ref, size = bandit.reward[0], bandit.log_ref[0], bandit.reward.shape[1]
    present = ~jnp.isneginf(log_ref)
    implicit = bandit.beta * (jnp.where(present, policy[0], 0.0) - jnp.where(present, log_ref, 0.0))
    both = present[:, None] & present[None, :] & ~jnp.eye(size, dtype=bool)
    weight = jnp.where(both, _weights(sampler, reward, implicit), 0.0)
    total = 2 * bandit.beta**2 * present.sum().astype(reward.dtype) * RATE / scale
    rest = jnp.diag(jnp.where(present, (total - weight.sum()) / present.sum().astype(reward.dtype), 0.0))
    first, second = jnp.indices((size, size)).reshape(2, -1)
    label = jax.nn.sigmoid(reward[first] - reward[second])
    return Comparisons(jnp.zeros_like(first), first, second, label, (weight + rest).reshape(-1))


def _answer(
    bandit: Bandit, sampler: Array, scale: Array, key: Array, policy: Policy, opponent: Policy
) -> Comparisons:
    del key, opponent
    return _pairs(bandit, sampler, scale, policy)


@jax.jit
def _descend(bandit: Bandit, sampler: Array, scale: Array) -> Array:
    """Log-policies ``[N, NUM_STEPS + 1, A]`` of the library's online DPO with these samplers."""

    def one(bandit: Any, sampler: Array, scale: Array) -> Array:
        space = softmax_space(1, RATE)(bandit)
        oracle = Oracle(Partial(no_payoff), Partial(_answer, bandit, sampler, scale))
        method = dpo(bandit.beta, 0.0, latest(_pairs(bandit, sampler, scale, bandit.log_ref)))

        def step(state: Any, key: Array) -> tuple[Any, Array]:
            state, _ = method.step(key, state, oracle, space)
            return state, state.policy[0]

        keys = jax.random.split(jax.random.key(0), NUM_STEPS)
        _, path = jax.lax.scan(step, method.init(space.reference), keys)
        return jnp.concatenate([bandit.log_ref, path])

    return jax.vmap(one)(bandit, sampler, scale)


# Instances


def _count(effort: Effort) -> int:
    return effort.pick(40, 200)


def instances(effort: Effort, count: int) -> Bandit:
    """Bandits with rewards in [0, 1] (both ends present), random references, two to twenty responses."""
    rng = effort.rng("samplers")
    size = rng.integers(2, ACTIONS + 1, count)
    present = np.arange(ACTIONS) < size[:, None]
    reward = rng.uniform(0, 1, (count, ACTIONS))
    reward[:, 0], reward[:, 1] = 0, 1
    logits = np.where(present, rng.normal(size=(count, ACTIONS)), -np.inf)
    beta = np.exp(rng.uniform(np.log(BETAS[0]), np.log(BETAS[1]), count))
    return arms(np.where(present, reward, 0.0), jax.nn.log_softmax(jnp.asarray(logits), axis=-1), beta)


def three_arms() -> Bandit:
    """Rewards (0, 1/3, 1), uniform reference, β = 1: the paper's instance of a linear rate."""
    reward, present = np.zeros(ACTIONS), np.arange(ACTIONS) < 3
    reward[:3] = 0, 1 / 3, 1
    return arms(reward[None], np.where(present, -np.log(3), -np.inf)[None], 1.0)


def errors(bandit: Bandit, sampler: int, scale: float = 1.0) -> np.ndarray:
    """``[N, NUM_STEPS + 1]`` largest error over pairs after each step of ``scale`` times the paper's size."""
    count = len(bandit.beta)
    path = np.asarray(_descend(bandit, jnp.full(count, sampler), jnp.full(count, scale)))
    log_ref, reward = np.asarray(bandit.log_ref), np.asarray(bandit.reward)
    present = np.isfinite(log_ref)
    with np.errstate(invalid="ignore"):
        implicit = np.asarray(bandit.beta)[:, None, None] * (path - log_ref)
    miss = np.where(present, reward - np.where(present, implicit, 0.0), np.nan)
    return np.nanmax(miss, -1) - np.nanmin(miss, -1)


# Rows


def published(bandit: Bandit, row: int, sampler: int, num_steps: int) -> np.ndarray:
    """``[T + 1, A]`` implicit rewards over β of the paper's recursion, in numpy."""
    present = np.isfinite(np.asarray(bandit.log_ref)[row, 0])
    reward, beta = np.asarray(bandit.reward)[row, 0][present], float(bandit.beta[row])
    theta, path = np.zeros(len(reward)), [np.zeros(len(reward))]
    difference = reward[:, None] - reward
    for _ in range(num_steps):
        own = beta * (theta[:, None] - theta)
        weight = {0: 4.0, 1: 2 + 2 * np.cosh(difference), 2: 2 + 2 * np.cosh(own)}[sampler]
        theta = theta + (weight * (expit(difference) - expit(own))).sum(1) / (beta * len(reward))
        path.append(theta)
    return np.array(path)


def _update(effort: Effort) -> Outcome:
    """Log-ratios up to a constant, after each of five steps of all three samplers."""
    count, num_steps = _count(effort), 5
    bandit = instances(effort, count)
    log_ref = np.asarray(bandit.log_ref)
    error = np.zeros((2, 3, count))
    for index, sampler in np.ndindex(2, 3):
        path = np.asarray(_descend(bandit, jnp.full(count, sampler), jnp.full(count, (1.0, 1.1)[index])))
        for row in range(count):
            present = np.isfinite(log_ref[row, 0])
            ratio = path[row, : num_steps + 1][:, present] - log_ref[row, 0, present]
            theta = published(bandit, row, sampler, num_steps)
            apart = np.abs((ratio - ratio[:, :1]) - (theta - theta[:, :1])).max()
            error[index, sampler, row] = apart * float(bandit.beta[row])
    return judged(
        error[0].T, "a step a tenth longer", error[1].min(), 1e-12, instances=3 * count, beta=bandit.beta
    )


def _judge_rate(effort: Effort, sampler: int, base: float, quadratic: bool) -> Outcome:
    """Error over its bound, where the bound is above rounding."""
    count, num_steps = _count(effort), 5 if quadratic else NUM_STEPS
    bandit = instances(effort, count)
    step = np.arange(1, num_steps + 1)
    bound = base ** (2.0**step - 1 if quadratic else step)
    kept = bound > FLOOR

    def ratio(which: int, scale: float) -> np.ndarray:
        found = errors(bandit, which, scale)[:, 1 : num_steps + 1]
        return (found / bound)[:, kept]

    right = ratio(sampler, 1.0)
    wrong = ratio(0, 1.0) if quadratic else ratio(0, 2.0)
    return judged(
        right,
        "uniform pairs" if quadratic else "twice the step size",
        wrong,
        detail={"median": np.median(right.max(1))},
        beta=bandit.beta,
        step=step[kept][right.argmax(1)],
    )


def slowest_factor(reward: np.ndarray) -> float:
    """Largest eigenvalue of one step of uniform pairs, linearised at its end: ``1 - 4 λ/|Y|``.

    λ are the eigenvalues of the Laplacian of the weights σ'(r - r'), without the zero of a constant shift.
    """
    difference = reward[:, None] - reward
    weight = expit(difference) * expit(-difference)
    laplacian = np.diag(weight.sum(1)) - weight
    return float((1 - 4 * np.linalg.eigvalsh(laplacian)[1:] / len(reward)).max())


def _judge_linear(effort: Effort) -> Outcome:
    """How far below the linearised step's largest eigenvalue the errors' factors fall from step 5 on."""
    # as many copies as the other rows have instances, for one compiled program
    bandit = copies(three_arms(), _count(effort))
    predicted = slowest_factor(np.array([0, 1 / 3, 1]))
    uniform, mixed = (errors(bandit, sampler)[0] for sampler in (0, 1))
    factor = uniform[5:12] / uniform[4:11]
    other = mixed[4] / mixed[3]
    return judged(
        np.abs(factor / predicted - 1).max(),
        "pairs mixed by the reward",
        abs(other / predicted - 1),
        1e-2,
        detail={"smallest factor": factor.min(), "predicted": predicted, "mixed": other},
        rewards=[0, 1 / 3, 1],
        beta=1.0,
    )


# Offline

SHOWN = 5  # responses, the best of which the data never show
SIZES = (1_000, 10_000, 100_000)  # labelled pairs


def data(rng: np.random.Generator, reward: np.ndarray, behaviour: np.ndarray, num_pairs: int) -> np.ndarray:
    """``[A, A, 2]``: how often labelled pairs of draws of ``behaviour [A]`` are (first, second, label)."""
    size = len(reward)
    first, second = rng.choice(size, (2, num_pairs), p=behaviour)
    label = rng.random(num_pairs) < expit(reward[first] - reward[second])
    seen = np.bincount((first * size + second) * 2 + label, minlength=2 * size**2)
    return seen.reshape(size, size, 2).astype(float)


@jax.jit
@jax.vmap
def _learn(bandit: Any, comparisons: Comparisons) -> Array:
    """Gap of the library's DPO on a data set, one fit from the reference."""
    space, method = simplex(bandit), dpo(bandit.beta, 0.0, latest(comparisons))
    return suboptimality(bandit, learn(method, space, space.reference, comparisons))


def limits(reward: np.ndarray, covered: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Gap that unlimited data leave: a response that is never shown keeps the mean reward of the others.

    No comparison moves its logit and every one of the others moves theirs by opposite amounts. Rewards and
    ``covered`` are ``[N, A]``, β is ``[N]``; the reference is uniform.
    """
    mean = (reward * covered).sum(-1, keepdims=True) / covered.sum(-1, keepdims=True)
    found = log_softmax(np.where(covered, reward, mean) / beta[:, None], axis=-1)
    best = log_softmax(reward / beta[:, None], axis=-1)
    return beta * (np.exp(found) * (found - best)).sum(-1)


def _coverage(effort: Effort) -> Outcome:
    count, rng = effort.pick(30, 200), effort.rng("offline")
    reward = np.sort(rng.uniform(0, 1, (count, SHOWN)), axis=-1)
    # the best response is last, and better than the next by something that can be seen
    reward[:, -1] += 0.5
    beta = np.exp(rng.uniform(np.log(0.1), np.log(1.0), count))
    bandit = arms(reward, np.full((count, SHOWN), -np.log(SHOWN)), beta)
    covered = np.arange(SHOWN) < SHOWN - 1
    floor = limits(reward, np.broadcast_to(covered, reward.shape), beta)

    def gaps(behaviour: np.ndarray) -> np.ndarray:
        found = []
        for size in SIZES:
            sets = counted(np.stack([data(rng, each, behaviour, size) for each in reward]))
            found.append(np.asarray(_learn(bandit, sets)))
        return np.array(found)

    missing = gaps(covered / covered.sum())
    seen = gaps(np.full(SHOWN, 1 / SHOWN))
    gap = {f"mean gap, N = {size}": each.mean() for size, each in zip(SIZES, missing, strict=True)}
    gap |= {f"covered, N = {size}": each.mean() for size, each in zip(SIZES, seen, strict=True)}
    return judged(
        floor / missing[-1],
        "data that show every response (the worst instance)",
        (floor / seen[-1]).min(),
        1.1,  # the fit to finite data is off by about √(1/N)
        detail=gap | {"predicted floor": floor.mean()},
        beta=beta,
        reward=reward,
    )


_EXACT = "exact gradients, rewards in [0, 1], η = 1/(β² |Y|), start at π_ref; 2 to 20 responses"
_theorem = functools.partial(
    check_of,
    assumptions=_EXACT,
    source=f"{PAPER}, theorems on exact gradients",
    kind="scaling",
    status="theorem",
)
CHECKS: tuple[Check, ...] = (
    check_of(
        "dpo.sampler_update",
        "one SGD step of a fit to all pairs of weights W is θ_y += Σ_y' W [σ(r - r') - σ(r̂ - r̂')] / (β |Y|)",
        "three samplers, five steps, against a recursion in numpy",
        _update,
        kind="identity",
    ),
    _theorem(
        "dpo.uniform_sampler",
        "uniform pairs: error after T steps <= 0.588^T",
        judge=functools.partial(_judge_rate, sampler=0, base=0.588, quadratic=False),
    ),
    check_of(
        "dpo.uniform_sampler_linear",
        "uniform pairs are no faster than linear: the error falls by 1 - 4 λ/|Y| a step, λ of a Laplacian",
        "rewards (0, 1/3, 1); from step 5 on, relative to the linearised step",
        _judge_linear,
        kind="separation",
    ),
    _theorem(
        "dpo.reward_mixture_sampler",
        "pairs mixed by the reward: error after T steps <= 0.5^(2^T - 1)",
        judge=functools.partial(_judge_rate, sampler=1, base=0.5, quadratic=True),
    ),
    _theorem(
        "dpo.policy_mixture_sampler",
        "pairs mixed by the policy's own reward: error after T steps <= 0.611^(2^T - 1)",
        judge=functools.partial(_judge_rate, sampler=2, base=0.611, quadratic=True),
    ),
    check_of(
        "dpo.offline_coverage",
        "offline DPO's gap stays at that of giving the unseen best response the mean reward of the others",
        "5 responses, uniform reference, the data never show the best one; 100,000 pairs, started at π_ref",
        _coverage,
        kind="separation",
    ),
)
