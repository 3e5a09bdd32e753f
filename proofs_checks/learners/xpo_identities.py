"""The implicit value of a policy on decision processes, which exploratory preference optimisation rests on.

The library gives the soft optimum (Newton's method over all states at once). What it is compared
with is computed in numpy another way: where moves are certain by a sum over whole trajectories,
V*(s1) = β log Σ_τ π_ref(τ) exp(r(τ)/β), else by one backward sweep.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.mdps.families import layered, token_tree
from tabular.mdps.mdp import MDP
from tabular.mdps.values import soft_values

LIMIT = 1e-12  # relative to 1 + the largest term
BETAS = (0.05, 3.0)
HORIZON, VOCABULARY, WIDTH, NOISE = 4, 3, 10, 0.2
Array = jax.Array


class Walks(NamedTuple):
    """One process with its soft optimum and N trajectories of H steps, in numpy."""

    transition: np.ndarray  # ``[S, A, S]``
    reward: np.ndarray  # ``[S, A]``
    log_ref: np.ndarray  # ``[S, A]``
    beta: float  # the coefficient
    log_policy: np.ndarray  # ``[S, A]``, the library's soft optimum
    state: np.ndarray  # ``[N, H + 1]``, the terminal one last
    action: np.ndarray  # ``[N, H]``

    def along(self, table: np.ndarray) -> np.ndarray:
        """``Σ_h table(s_h, a_h)`` of each trajectory."""
        return table[self.state[:, :-1], self.action].sum(1)

    def soft_max(self, q: np.ndarray) -> np.ndarray:
        """``V = β logsumexp(log_ref + q/β)``, 0 at the terminal state."""
        value = self.beta * logsumexp(self.log_ref + q / self.beta, axis=-1)
        value[-1] = 0.0
        return value

    def backward(self) -> np.ndarray:
        """V* by one sweep from the end: in these families every move leads to a later state."""
        value = np.zeros(len(self.reward))
        for state in range(len(value) - 2, -1, -1):
            q = self.reward[state] + self.transition[state] @ value
            value[state] = self.beta * logsumexp(self.log_ref[state] + q / self.beta)
        return value

    def whole(self) -> np.ndarray:
        """V*(s1) of each trajectory's start, by the sum over all trajectories from there."""
        exponent = self.along(self.log_ref) + self.along(self.reward) / self.beta
        first = self.state[:, 0]
        sums = {s: self.beta * logsumexp(exponent[first == s]) for s in np.unique(first)}
        return np.array([sums[s] for s in first])

    def surprise(self, value: np.ndarray) -> np.ndarray:
        """``Σ_h E[V(s')] - V(s')``, zero in the mean, and zero where moves are certain."""
        expected = self.transition @ value
        return self.along(expected) - value[self.state[:, 1:]].sum(1)

    def error(self, right: np.ndarray) -> float:
        """Largest ``|β log π*/π_ref - right|`` over 1 + the largest term."""
        left = self.beta * self.along(self.log_policy - self.log_ref)
        return float(np.abs(left - right).max() / (1 + np.abs(left).max() + np.abs(right).max()))


@functools.cache
def processes(effort: Effort, family: str, certain: bool) -> tuple[Walks, ...]:
    """Random processes of one family and every action sequence from every start.

    Args:
      effort: sizes and seed.
      family: ``"layered"`` (rewards at every step) or ``"tree"`` (token by token, one reward for the whole
        response, whatever its tokens).
      certain: whether moves are; a tree is made uncertain by a token that is redrawn once in five times.
    """
    count, name = effort.pick(20, 50), f"{family}.{certain}"
    rng = effort.rng(name)
    beta = np.exp(rng.uniform(np.log(BETAS[0]), np.log(BETAS[1]), count))
    keys = jax.random.split(effort.key(name), count)
    batch = _draw(keys, jnp.asarray(beta), family, certain)
    log_policy = np.asarray(_solve(batch))
    tables = [np.asarray(leaf) for leaf in (batch.transition, batch.reward, batch.log_ref)]
    starts = range(WIDTH) if family == "layered" else range(1)
    action = np.array(list(itertools.product(range(VOCABULARY), repeat=HORIZON)))
    first, actions = np.repeat(np.array(starts), len(action)), np.tile(action, (len(starts), 1))
    return tuple(
        Walks(move, reward, log_ref, float(b), optimum, _walk(move, first, actions, rng), actions)
        for move, reward, log_ref, b, optimum in zip(*tables, beta, log_policy, strict=True)
    )


def _draw(keys: Array, beta: Array, family: str, certain: bool) -> MDP:
    if family == "layered":
        make = functools.partial(layered, horizon=HORIZON, width=WIDTH, num_actions=VOCABULARY)
        return jax.vmap(lambda key, b: make(key, deterministic=certain, beta=b))(keys, beta)
    batch = jax.vmap(lambda key, b: token_tree(key, VOCABULARY, HORIZON, beta=b))(keys, beta)
    if certain:
        return batch
    redrawn = batch.transition.mean(2, keepdims=True)
    return batch._replace(transition=(1 - NOISE) * batch.transition + NOISE * redrawn)


@jax.jit
def _solve(batch: MDP) -> Array:
    return jax.vmap(lambda mdp: soft_values(mdp).log_policy)(batch)


def _walk(
    transition: np.ndarray, first: np.ndarray, action: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    state = [first]
    for step in range(action.shape[1]):
        ladder = np.cumsum(transition[state[-1], action[:, step]], axis=-1)
        # the last rung may be 1 - 1e-16
        draw = rng.random(len(first)) * ladder[:, -1]
        state.append((ladder <= draw[:, None]).sum(-1))
    return np.stack(state, 1)


def _trajectories(walks: tuple[Walks, ...]) -> int:
    return sum(len(each.action) for each in walks)


def _betas(walks: tuple[Walks, ...]) -> np.ndarray:
    return np.array([each.beta for each in walks])


def _implicit_value(effort: Effort, family: str) -> Outcome:
    certain = processes(effort, family, True)
    error = [w.error(w.along(w.reward) - w.whole()) for w in certain]
    noisy = processes(effort, family, False)
    wrong = min(w.error(w.along(w.reward) - w.backward()[w.state[:, 0]]) for w in noisy)
    control = "uncertain moves (the process that violates it least)"
    return judged(error, control, wrong, LIMIT, instances=_trajectories(certain), beta=_betas(certain))


def _with_martingale(walks: tuple[Walks, ...], share: float) -> np.ndarray:
    """Errors with a share of the martingale, by process."""
    errors = []
    for each in walks:
        value = each.backward()
        right = each.along(each.reward) - value[each.state[:, 0]] + share * each.surprise(value)
        errors.append(each.error(right))
    return np.array(errors)


def _stochastic(effort: Effort) -> Outcome:
    walks = processes(effort, "layered", False)
    violation, corrected = _with_martingale(walks, 0.0), _with_martingale(walks, 1.0)
    control, beta = "with Σ_h E V*(s') - V*(s') added", walks[violation.argmin()].beta
    return judged(violation.min(), control, corrected, LIMIT, instances=len(walks), beta=beta, size=WIDTH)


def _martingale(effort: Effort) -> Outcome:
    walks = (*processes(effort, "layered", False), *processes(effort, "tree", False))
    error, wrong = _with_martingale(walks, 1.0), _with_martingale(walks, 0.0).min()
    control = "without the martingale (the process that violates it least)"
    return judged(error, control, wrong, LIMIT, instances=_trajectories(walks), beta=_betas(walks))


def _general_value(effort: Effort) -> Outcome:
    """Any f is the soft Q* of the reward ``f - P V_f``: the library solves that process for π_f."""
    walks, rng = processes(effort, "layered", True), effort.rng("general_value")
    tables = 2 * rng.normal(size=(len(walks), *walks[0].reward.shape))
    tables[:, -1] = 0.0
    soft = [each.soft_max(f) for each, f in zip(walks, tables, strict=True)]
    drift = [each.transition @ value for each, value in zip(walks, soft, strict=True)]
    count, states = tables.shape[:2]
    batch = MDP(
        transition=jnp.asarray(np.stack([w.transition for w in walks])),
        reward=jnp.asarray(tables - np.stack(drift)),
        log_ref=jnp.asarray(np.stack([w.log_ref for w in walks])),
        initial=jnp.full((count, states), 1 / states),
        terminal=jnp.tile(jnp.arange(states) == states - 1, (count, 1)),
        discount=jnp.ones(count),
        beta=jnp.asarray(_betas(walks)),
    )
    error = np.empty((2, count))
    for row, (each, f, solved) in enumerate(zip(walks, tables, np.asarray(_solve(batch)), strict=True)):
        moved = each._replace(log_policy=solved)
        for kind, v in enumerate((soft[row], f.max(-1))):
            residual = moved.along(f - each.reward - each.transition @ v)
            error[kind, row] = moved.error(moved.along(each.reward) - v[each.state[:, 0]] + residual)
    return judged(
        error[0],
        "the largest f in place of the soft maximum",
        error[1].min(),
        LIMIT,
        instances=_trajectories(walks),
        beta=_betas(walks),
    )


_theorem = functools.partial(
    check_of, kind="identity", source="arXiv:2405.21046, Lemma C.4 and equation (7)", status="theorem"
)
_identity = functools.partial(check_of, kind="identity")
CHECKS: tuple[Check, ...] = (
    _theorem(
        "xpo.implicit_value",
        "β log π*/π_ref(τ) = r(τ) - V*(s1) for every trajectory",
        "moves are certain; 10 states a layer, 4 layers, 3 actions",
        functools.partial(_implicit_value, family="layered"),
    ),
    _theorem(
        "xpo.implicit_value_tree",
        "token by token, β log π*/π_ref(y) = r(y) - V*, whatever the reward of whole responses",
        "4 tokens out of 3, one independent reward a response",
        functools.partial(_implicit_value, family="tree"),
    ),
    _identity(
        "xpo.implicit_value_stochastic",
        "β log π*/π_ref(τ) = r(τ) - V*(s1) whether or not moves are certain",
        "the violation of the process that violates it least is shown",
        _stochastic,
        refuted=True,
    ),
    _identity(
        "xpo.implicit_value_martingale",
        "β log π*/π_ref(τ) = r(τ) - V*(s1) + Σ_h (E[V*(s')] - V*(s'))",
        "uncertain moves, layered processes and token trees",
        _martingale,
    ),
    _theorem(
        "xpo.general_value",
        "β log π_f/π_ref(τ) = r(τ) - V_f(s1) + Σ_h (f - T_β f) for any f, π_f proportional to π_ref exp(f/β)",
        "moves are certain",
        _general_value,
        source="arXiv:2405.21046, Lemma C.3",
    ),
)
