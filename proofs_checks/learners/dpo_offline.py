"""Offline DPO where the data never show the best response: more of them do not help."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit, log_softmax

from nlhf import dpo
from nlhf.base import Comparisons, Oracle, Policy
from nlhf.replay import latest
from proofs_checks.rows import Check, Effort, Outcome
from tabular.bandits import Bandit, suboptimality
from tabular.spaces.simplex import simplex

ACTIONS = 5
SIZES = (1_000, 10_000, 100_000)  # labelled pairs
Array = jax.Array


def data(rng: np.random.Generator, reward: np.ndarray, behaviour: np.ndarray, num_pairs: int) -> Comparisons:
    """Count labelled pairs of two draws of the behaviour policy, in a table of every (first, second, label).

    Args:
      rng: numpy generator.
      reward: ``[A]``.
      behaviour: ``[A]`` probabilities.
      num_pairs: N.
    """
    size = len(reward)
    first, second = rng.choice(size, (2, num_pairs), p=behaviour)
    label = rng.random(num_pairs) < expit(reward[first] - reward[second])
    seen = np.bincount((first * size + second) * 2 + label, minlength=2 * size**2)
    row = np.arange(2 * size**2)
    columns = (0 * row, row // (2 * size), row // 2 % size, (row % 2).astype(float), seen.astype(float))
    return Comparisons(*(jnp.asarray(each) for each in columns))


def _answer(comparisons: Comparisons, key: Array, policy: Policy, opponent: Policy) -> Comparisons:
    del key, policy, opponent
    return comparisons


def _no_payoff(key: Array, policy: Policy) -> Any:
    raise NotImplementedError("offline data answer no payoff")


@jax.jit
@jax.vmap
def _learn(bandit: Any, comparisons: Comparisons) -> Array:
    """Gap of the library's DPO on a data set, one fit from the reference."""
    space, method = simplex(bandit), dpo(bandit.beta, 0.0, latest(comparisons))
    oracle = Oracle(Partial(_no_payoff), Partial(_answer, comparisons))
    state, _ = method.step(jax.random.key(0), method.init(space.reference), oracle, space)
    return suboptimality(bandit, state.policy)


def limits(reward: np.ndarray, covered: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Gap that unlimited data leave: a response that is never shown keeps the mean reward of the others.

    No comparison moves its logit and every one of the others moves theirs by opposite amounts.

    Args:
      reward: ``[N, A]``.
      covered: ``[N, A]`` booleans.
      beta: ``[N]``; the reference is uniform.
    """
    mean = (reward * covered).sum(-1, keepdims=True) / covered.sum(-1, keepdims=True)
    found = log_softmax(np.where(covered, reward, mean) / beta[:, None], axis=-1)
    best = log_softmax(reward / beta[:, None], axis=-1)
    return beta * (np.exp(found) * (found - best)).sum(-1)


def _coverage(effort: Effort) -> Outcome:
    count, rng = effort.pick(30, 200), effort.rng("offline")
    reward = np.sort(rng.uniform(0, 1, (count, ACTIONS)), axis=-1)
    # the best response is last, and better than the next by something that can be seen
    reward[:, -1] += 0.5
    beta = np.exp(rng.uniform(np.log(0.1), np.log(1.0), count))
    bandit = Bandit(
        jnp.asarray(reward[:, None]),
        jnp.full((count, 1, ACTIONS), -np.log(ACTIONS)),
        jnp.ones((count, 1)),
        jnp.asarray(beta),
    )
    covered = np.arange(ACTIONS) < ACTIONS - 1
    floor = limits(reward, np.broadcast_to(covered, reward.shape), beta)

    def gaps(behaviour: np.ndarray) -> np.ndarray:
        found = []
        for size in SIZES:
            sets = [data(rng, each, behaviour, size) for each in reward]
            found.append(np.asarray(_learn(bandit, jax.tree.map(lambda *rows: jnp.stack(rows), *sets))))
        return np.array(found)

    missing = gaps(covered / covered.sum())
    seen = gaps(np.full(ACTIONS, 1 / ACTIONS))
    row = int((floor / missing[-1]).argmax())
    return Outcome(
        count,
        float((floor / missing[-1]).max()),
        "data that show every response (the worst instance)",
        float((floor / seen[-1]).min()),
        # the fit to finite data is off by about √(1/N)
        1.1,
        {"beta": float(beta[row]), "reward": reward[row].tolist()},
        {f"mean gap, N = {size}": float(gap.mean()) for size, gap in zip(SIZES, missing, strict=True)}
        | {f"covered, N = {size}": float(gap.mean()) for size, gap in zip(SIZES, seen, strict=True)}
        | {"predicted floor": float(floor.mean())},
    )


CHECKS: tuple[Check, ...] = (
    Check(
        "dpo.offline_coverage",
        "dpo",
        "separation",
        "derived",
        "derived",
        "offline DPO's gap stays at that of giving the unseen best response the mean reward of the others",
        "5 responses, uniform reference, the data never show the best one; 100,000 pairs, started at π_ref",
        _coverage,
    ),
)
