"""Rows about related methods: what the update of each equals, or what its construction cannot do.

None of them is an algorithm of the library; the library gives one side (exact values of decision processes
and bandits, their gradients, fits to labels), numpy the other.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from scipy.special import expit, log_softmax

from nlhf import dpo, logspace
from nlhf.base import Algorithm
from proofs_checks.learners.labels import arms, counted, fit_once
from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bandits import Bandit, value
from tabular.mdps.families import token_tree
from tabular.mdps.mdp import MDP
from tabular.mdps.values import policy_values, soft_values
from tabular.replay import counts
from tabular.spaces.bounded import bounded_rewards

Array = jax.Array
LIMIT = 1e-12
VOCABULARY, DEPTH = 3, 3


def trees(effort: Effort, name: str, count: int) -> MDP:
    """Token trees ``[count]`` with a reward at the leaves and a random reference, β in [0.1, 2]."""
    keys = jax.random.split(effort.key(name), count)
    beta = jnp.asarray(np.exp(effort.rng(name).uniform(np.log(0.1), np.log(2), count)))
    made = [token_tree(key, VOCABULARY, DEPTH, beta=one) for key, one in zip(keys, beta, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


def _apart(measured: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Largest difference over 1 + the largest entry, by instance."""
    flat, other = measured.reshape(len(measured), -1), expected.reshape(len(expected), -1)
    return np.abs(flat - other).max(1) / (1 + np.abs(other).max(1))


def _judge_dense(effort: Effort) -> Outcome:
    """Soft optimum and values of every prefix when β log π*/π_ref is paid token by token."""
    tree = trees(effort, "rto", effort.pick(8, 50))
    solve = jax.jit(jax.vmap(soft_values))
    best = solve(tree)
    live = ~np.asarray(tree.terminal)
    errors = []
    for base in (tree.log_ref, 0 * tree.log_ref):
        dense = tree.beta[:, None, None] * (best.log_policy - base)
        paid = tree._replace(reward=jnp.where(tree.terminal[:, :, None], 0.0, dense))
        again = solve(paid)
        apart = np.asarray(again.log_policy - best.log_policy) * live[:, :, None]
        errors.append(np.maximum(np.abs(apart).max((1, 2)), np.abs(np.asarray(again.v)).max(1)))
    return judged(errors[0], "β log π* without the reference", errors[1], LIMIT)


def _expected(logits: Array, reward: Array) -> Array:
    log_policy = jax.nn.log_softmax(logits)
    bandit = Bandit(reward[None], log_policy[None], jnp.ones(1), jnp.zeros(()))
    return value(bandit, log_policy[None])


def _pairs(of: np.ndarray) -> np.ndarray:
    """Differences ``of[:, i] - of[:, j]``, ``[N, I, I, ...]``."""
    return of[:, :, None] - of[:, None, :]


def _judge_pairwise(effort: Effort) -> Outcome:
    """Half the mean of (r - r')(∇log π(y) - ∇log π(y')) over pairs against the gradient of E r."""
    rng, count, size = effort.rng("p3o"), effort.pick(64, 500), 6
    logits, reward = rng.normal(size=(2, count, size))
    gradient = np.asarray(jax.jit(jax.vmap(jax.grad(_expected)))(jnp.asarray(logits), jnp.asarray(reward)))
    law = np.exp(log_softmax(logits, axis=1))
    score = np.eye(size)[None] - law[:, None, :]
    apart = _pairs(score) * _pairs(reward)[..., None]
    pairs = law[:, :, None] * law[:, None, :]
    mean = 0.5 * np.einsum("nij,nijk->nk", pairs, apart)
    return judged(_apart(mean, gradient), "without the factor 1/2", _apart(2 * mean, gradient), LIMIT)


def _judge_shift(effort: Effort) -> Outcome:
    """Standard deviation of one draw of either estimator when a constant is added to the reward."""
    rng, count, size = effort.rng("p3o.shift"), effort.pick(64, 500), 6
    law = np.exp(log_softmax(rng.normal(size=(count, size)), axis=1))
    reward, constant = rng.normal(size=(count, size)), rng.normal(size=count) * 50
    score = np.eye(size)[None] - law[:, None, :]

    def noise(reward: np.ndarray, pairwise: bool) -> np.ndarray:
        if not pairwise:
            draw = reward[:, :, None] * score
            mean = np.einsum("ni,nik->nk", law, draw)
            return np.sqrt(np.einsum("ni,nik->n", law, (draw - mean[:, None]) ** 2))
        weight = law[:, :, None] * law[:, None, :]
        draw = 0.5 * _pairs(reward)[..., None] * _pairs(score)
        mean = np.einsum("nij,nijk->nk", weight, draw)
        return np.sqrt(np.einsum("nij,nijk->n", weight, (draw - mean[:, None, None]) ** 2))

    right, wrong = (
        _apart(noise(reward + constant[:, None], pairwise)[:, None], noise(reward, pairwise)[:, None])
        for pairwise in (True, False)
    )
    return judged(right, "one draw and no baseline, as in REINFORCE", wrong, LIMIT)


def _judge_refuel(effort: Effort) -> Outcome:
    """Least squares over pairs of tokens on their futures, at every prefix of a tree."""
    tree = trees(effort, "refuel", effort.pick(8, 50))
    rng = effort.rng("refuel")
    count, states, size = tree.reward.shape
    log_policy = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(count, states, size))), axis=-1)
    step = rng.uniform(0.1, 3, count)
    # without a coefficient the values are of returns alone
    plain = jax.jit(jax.vmap(policy_values))(tree._replace(beta=jnp.zeros(count)), log_policy)
    library = np.asarray(logspace.normalise(log_policy + jnp.asarray(step)[:, None, None] * plain.q))
    reward, move = np.asarray(tree.reward), np.asarray(tree.transition)
    policy, future = np.exp(np.asarray(log_policy)), np.zeros((count, states, size))
    for _ in range(DEPTH + 1):  # the tree is no deeper
        future = reward + np.einsum("nsat,nt->nsa", move, (policy * future).sum(-1))
        future[np.asarray(tree.terminal)] = 0.0
    first, second = np.triu_indices(size, 1)
    design = np.eye(size)[first] - np.eye(size)[second]
    errors = []
    for target in (future, reward):
        gap = (target[..., first] - target[..., second]) * step[:, None, None]
        weight = np.sqrt(policy[..., first] * policy[..., second])
        moved = np.linalg.pinv(weight[..., None] * design) @ (weight * gap)[..., None]
        fitted = log_softmax(np.asarray(log_policy) + moved[..., 0], axis=-1)
        errors.append(_apart(fitted, library))
    return judged(errors[0], "the reward of this token in the place of the future", errors[1], LIMIT)


def _pooled(settings: Array, bandit: Bandit) -> Algorithm:
    return dpo(bandit.beta, settings, counts(1, 3))


GROUPS = np.array([[1.0, 0.0, 0.7], [0.0, 1.0, 0.7]])


def group_loss(betas: np.ndarray, share: float) -> np.ndarray:
    """Worst group's value of the max-min policy less that of the policy fitted to pooled labels, at each β.

    ``share`` of the labels are the first group's.
    """
    mixture, count = np.array([share, 1 - share]), len(betas)
    wins = np.einsum("g,gij->ij", mixture, expit(_pairs(GROUPS)))
    number = 1e4 * (1 - np.eye(3))[..., None] * np.stack([1 - wins, wins], -1)
    data = counted(np.stack([number] * count))
    bandit = arms(np.zeros((count, 3)), np.full((count, 3), -np.log(3.0)), betas)
    fitted = fit_once(_pooled, jnp.zeros(count), bandit, data, bounded_rewards(20.0))[:, 0]

    def worst(log_policy: np.ndarray, beta: float) -> float:
        law = np.exp(log_policy)
        return float((GROUPS @ law).min() - beta * law @ (log_policy + np.log(3.0)))

    found = []
    for log_policy, beta in zip(fitted, betas, strict=True):
        # the max-min policy is the optimum of some mixture of the rewards
        best = optimize.minimize_scalar(
            lambda mix, beta=beta: (
                -worst(log_softmax((mix * GROUPS[0] + (1 - mix) * GROUPS[1]) / beta), beta)
            ),
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-10},
        )
        found.append(-best.fun - worst(log_policy, beta))
    return np.array(found)


def _judge_groups(effort: Effort) -> Outcome:
    betas = np.array(effort.pick((0.1, 0.2, 0.5), tuple(np.geomspace(0.05, 0.5, 9))))
    loss, even = group_loss(betas, 0.9), group_loss(betas, 0.5)
    detail = {"smallest_loss": loss.min(), "largest_loss_even": even.max()}
    wrong = (0.25 / np.maximum(even, 1e-9)).min()
    return judged(0.25 / loss, "groups of equal size", wrong, detail=detail)


def _judge_ranks(effort: Effort) -> Outcome:
    """1 - cosine of the gradient of a bandit's value and the mean of ranked probes; then of shuffled ones."""
    rng, size, probes = effort.rng("zo_rank"), 6, 8
    count, draws = effort.pick(2, 10), effort.pick(10000, 40000)
    evaluate = jax.jit(jax.vmap(_expected, in_axes=(0, None)))
    apart = np.empty((2, count))
    for index in range(count):
        logits, reward = rng.normal(size=(2, size))
        gradient = np.asarray(jax.grad(_expected)(jnp.asarray(logits), jnp.asarray(reward)))
        direction = rng.normal(size=(draws, probes, size))
        near = (logits + 1e-4 * direction).reshape(-1, size)
        height = np.asarray(evaluate(jnp.asarray(near), jnp.asarray(reward))).reshape(draws, probes)
        rank = height.argsort(1).argsort(1)
        for row, order in enumerate((rank, rng.permuted(rank, axis=1))):
            mean = ((2 * order - (probes - 1))[..., None] * direction).mean((0, 1))
            apart[row, index] = 1 - mean @ gradient / np.linalg.norm(mean) / np.linalg.norm(gradient)
    return judged(apart[0], "the same weights, shuffled", apart[1].min(), 0.01)


_identity = functools.partial(check_of, kind="identity")
CHECKS: tuple[Check, ...] = (
    _identity(
        "rto.dense_reward",
        "paying β log π*/π_ref token by token keeps the soft optimum and makes every prefix worth 0",
        "token trees of depth 3, β in [0.1, 2]",
        _judge_dense,
        source="arXiv:2404.18922; derived",
    ),
    _identity(
        "p3o.pairwise_gradient",
        "∇E r = ½ E (r - r')(∇log π(y) - ∇log π(y')), y and y' drawn from π",
        "softmax policies of 6 responses",
        _judge_pairwise,
        source="arXiv:2310.00212; derived",
    ),
    _identity(
        "p3o.shift",
        "the noise of one pair's gradient does not change when a constant is added to the reward",
        "exact standard deviation, softmax policies of 6 responses",
        _judge_shift,
        source="arXiv:2310.00212; derived",
    ),
    _identity(
        "refuel.natural_gradient",
        "regressing (1/η) differences of log π/π_t on differences of the futures gives π_t exp(ηQ)/Z",
        "every prefix of token trees of depth 3, pairs weighted by π_t",
        _judge_refuel,
        source="arXiv:2410.04612; derived",
    ),
    check_of(
        "maxmin.worst_group",
        "groups 90 : 10: the policy of pooled labels costs the worst group at least 1/4 against max-min",
        "rewards (1, 0, 0.7) and (0, 1, 0.7), uniform reference, β in [0.05, 0.5]",
        _judge_groups,
        source="arXiv:2402.08925; derived",
        kind="separation",
        status="empirical",
    ),
    check_of(
        "zo_rank.direction",
        "the mean of probes weighted by 2 rank - m + 1 points along the gradient: 1 - cosine <= 0.01",
        "value of a bandit in 6 logits, m = 8 normal probes",
        _judge_ranks,
        source="arXiv:2303.03751; derived",
        kind="noise",
        status="empirical",
    ),
)
