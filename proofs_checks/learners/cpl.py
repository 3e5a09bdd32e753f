"""CPL's algebra: what regret preferences say about a policy, along segments and through its loss.

The maximum-entropy optimum satisfies ``A* = β log π*``, so a judge who compares discounted sums of A*
compares discounted log-likelihoods. Judged on random MDPs with the library's values; sums along segments,
linear algebra and policy evaluation are numpy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import log_softmax

from nlhf.losses import contrastive, logistic
from nlhf.segments import Segments
from proofs_checks.learners.mdp_bank import LENGTH, SIZE, Bank, bank, draw, features, scale, soft, worst
from proofs_checks.rows import Check, Effort, Outcome
from tabular.games import Game
from tabular.mdps.mdp import MDP
from tabular.mdps.segment_space import segment_loss
from tabular.mdps.segments import compare, draw_segments
from tabular.spaces.simplex import log_ratio_loss

TOLERANCE = 1e-11  # relative to 1 + max |V*|
PAPER = "2310.13639"


def _value_of(of: Bank, log_policy: np.ndarray) -> np.ndarray:
    """Regularised value of a policy by numpy's linear solve, ``[N, S]``."""
    policy = np.exp(log_policy)
    pay = (policy * (of.reward - of.beta[:, None, None] * log_policy)).sum(-1)
    chain = np.einsum("nsa,nsat->nst", policy, of.transition)
    system = np.eye(SIZE[0]) - of.discount[:, None, None] * chain
    return np.linalg.solve(system, pay[..., None])[..., 0]


def _advantage(effort: Effort) -> Outcome:
    of = bank(effort)
    wide = of.beta[:, None, None]

    def error(advantage: np.ndarray, v: np.ndarray) -> np.ndarray:
        parts = (
            np.abs(advantage - wide * of.log_policy).max(-1),
            of.beta[:, None] * np.abs(np.exp(advantage / wide).sum(-1) - 1),
            np.abs(v - _value_of(of, of.log_policy)),
        )
        return np.stack(parts, -1) / scale(of.v)[:, None, None]

    largest, witness = worst(error(of.q - of.v[..., None], of.v), of)
    warmer = soft(of.mdp._replace(beta=2 * of.mdp.beta))
    control = error(np.asarray(warmer.advantage), np.asarray(warmer.v)).reshape(len(of.beta), -1).max(1).min()
    return Outcome(
        len(of.beta), largest, "the advantage of the optimum at 2β", float(control), TOLERANCE, witness
    )


def _any_policy(effort: Effort) -> Outcome:
    of = bank(effort)
    rng = effort.rng("cpl.any_policy_is_optimal")
    log_policy = log_softmax(2 * rng.normal(size=of.reward.shape), axis=-1)
    phi = rng.normal(size=of.v.shape)
    base = of.beta[:, None, None] * log_policy
    drift = np.einsum("nsat,nt->nsa", of.transition, phi)

    def error(potential: np.ndarray, discount: np.ndarray) -> np.ndarray:
        reward = base + potential[..., None] - discount[:, None, None] * drift * (potential != 0).any()
        best = soft(of.mdp._replace(reward=jnp.asarray(reward)))
        parts = (np.abs(best.v - potential), np.abs(best.log_policy - log_policy).max(-1) * of.beta[:, None])
        return np.stack(parts, -1) / (1 + np.abs(base).max((1, 2)))[:, None, None]

    found = np.concatenate([error(0 * phi, of.discount), error(phi, of.discount)], -1)
    largest, witness = worst(found, of)
    control = error(phi, np.ones_like(of.discount)).reshape(len(phi), -1).max(1).min()
    return Outcome(
        2 * len(phi), largest, "a potential that is not discounted", float(control), TOLERANCE, witness
    )


class _Walks(NamedTuple):
    """Sums along drawn segments, each ``[N, M]``: of β log π*, of the reward, and what noise adds to V*."""

    score: np.ndarray
    reward: np.ndarray
    ends: np.ndarray
    noise: np.ndarray


def _walks(effort: Effort, deterministic: bool) -> tuple[Bank, _Walks]:
    of = bank(effort, deterministic)
    count, num = len(of.beta), 30
    keys = jax.random.split(effort.key("cpl.segment_identity"), count)
    # the last step only tells where the segment before it ended
    states, actions = (np.asarray(part) for part in draw(keys, of.mdp, num))
    row = np.arange(count)[:, None, None]
    s, a, end = states[..., :-1], actions[..., :-1], states[..., 1:]
    power = of.discount[:, None, None] ** np.arange(LENGTH - 1)
    value = np.take_along_axis(of.v[:, None, :].repeat(num, 1), end, -1)
    expected = np.einsum("nmts,ns->nmt", of.transition[row, s, a], of.v)
    score = (power * of.beta[:, None, None] * of.log_policy[row, s, a]).sum(-1)
    reward = (power * of.reward[row, s, a]).sum(-1)
    last = of.discount[:, None] ** (LENGTH - 1)
    ends = last * value[..., -1] - np.take_along_axis(of.v, states[..., 0], -1)
    noise = (power * of.discount[:, None, None] * (expected - value)).sum(-1)
    return of, _Walks(score, reward, ends, noise)


def _segments(effort: Effort) -> Outcome:
    of, walks = _walks(effort, deterministic=True)
    size = scale(of.v)[:, None]
    largest, witness = worst(np.abs(walks.score - walks.reward - walks.ends) / size, of)
    control = (np.abs(walks.score - walks.reward) / size).max(1).min()
    return Outcome(
        walks.score.size,
        largest,
        "the partial return, without the values at both ends",
        float(control),
        TOLERANCE,
        witness,
    )


def _segments_stochastic(effort: Effort) -> Outcome:
    of, walks = _walks(effort, deterministic=False)
    size = scale(of.v)[:, None]
    violation = np.abs(walks.score - walks.reward - walks.ends) / size
    corrected = np.abs(walks.score - walks.reward - walks.ends - walks.noise) / size
    largest, witness = worst(violation, of)
    return Outcome(
        walks.score.size,
        largest,
        "with Σ discount^(t+1) [E V*(s_t+1) - V*(s_t+1)] added",
        float(corrected.max()),
        TOLERANCE,
        witness,
        {"smallest_violation": float(violation.max(1).min())},
    )


def _identified(effort: Effort) -> Outcome:
    of = bank(effort)
    count, num = len(of.beta), 200
    behaviour = np.zeros((2, count, *SIZE))
    behaviour[1, :, 0, 0] = -np.inf  # the control never takes one action
    missing = np.zeros((2, count))
    for kind in range(2):
        keys = jax.random.split(effort.key("cpl.identifiability"), count)
        drawn = jax.vmap(lambda key, mdp, log_policy: draw_segments(key, mdp, num, 3, log_policy=log_policy))(
            keys, of.mdp, jnp.asarray(behaviour[kind])
        )
        rows = np.asarray(features(of.mdp, drawn))
        for row in range(count):
            difference = rows[row] - rows[row, :1]
            missing[kind, row] = difference.shape[1] - np.linalg.matrix_rank(difference, tol=1e-9)
    largest, witness = worst(np.abs(missing[0] - 1), of)
    return Outcome(
        count,
        largest,
        "a behaviour that never takes one action in one state",
        float(np.min(missing[1] - 1)),
        0.5,
        witness,
        {"segments": float(num), "length": 3.0},
    )


def _table_loss(mdp: MDP, table: Any, comparisons: Any, bias: float) -> Any:
    loss = Partial(contrastive, temperature=mdp.beta, bias=bias)
    return segment_loss(mdp, table, loss, comparisons)


def _flat(effort: Effort) -> Outcome:
    of = bank(effort)
    rng = effort.rng("cpl.flat_directions")
    count, num = len(of.beta), 6
    keys = jax.random.split(effort.key("cpl.flat_directions"), count)
    drawn = draw(keys, of.mdp, 2 * num)
    first, second = (
        jax.tree.map(lambda leaf, part=part: leaf[:, part], drawn) for part in (slice(num), slice(num, None))
    )
    labels = jnp.asarray(rng.uniform(size=(count, num)))
    comparisons = jax.vmap(compare)(first, second, labels)
    table = log_softmax(rng.normal(size=of.reward.shape), axis=-1)
    difference = np.asarray(features(of.mdp, first)) - np.asarray(features(of.mdp, second))
    moved, missing = np.empty_like(table), np.empty(count)
    for row in range(count):
        _, size, basis = np.linalg.svd(difference[row])
        null = basis[int((size > 1e-9 * size[0]).sum()) :]
        missing[row] = len(null)
        moved[row] = table[row] + (rng.normal(size=len(null)) @ null).reshape(SIZE)
    value = jax.jit(jax.vmap(_table_loss, in_axes=(0, 0, 0, None)))

    def change(bias: float) -> np.ndarray:
        before, after = (np.asarray(value(of.mdp, jnp.asarray(u), comparisons, bias)) for u in (table, moved))
        return np.abs(after - before)

    least = SIZE[0] * SIZE[1] - num
    largest, witness = worst(change(1.0) + np.maximum(least - missing, 0), of)
    return Outcome(
        count,
        largest,
        "the loss at λ = 1/2, moved along the same directions",
        float(change(0.5).max()),
        TOLERANCE,
        witness,
        {"comparisons": float(num), "fewest_flat": float(missing.min()), "promised": float(least)},
    )


def _shift(effort: Effort) -> Outcome:
    count = effort.pick(2000, 50_000)
    rng = effort.rng("cpl.conservative.shift")
    winner, loser = -rng.exponential(3, size=(2, count))
    raised = rng.uniform(0.05, 1, size=count) * np.minimum(-winner, -loser) + 1e-3
    bias = rng.uniform(0.05, 0.95, size=count)

    def loss(shift: Any, bias: Any) -> np.ndarray:
        return np.asarray(
            contrastive(
                jnp.asarray(winner + shift),
                jnp.asarray(loser + shift),
                jnp.ones(count),
                temperature=1.0,
                bias=bias,
            )
        )

    ratio = loss(raised, jnp.asarray(bias)) / loss(0.0, jnp.asarray(bias))
    row = int(np.argmax(ratio))
    plain = loss(raised, 1.0) / loss(0.0, 1.0)
    return Outcome(
        count,
        float(ratio[row]),
        "λ = 1, at which raising both changes nothing",
        float(plain.min()),
        1 - 1e-9,
        {"winner": float(winner[row]), "loser": float(loser[row]), "bias": float(bias[row])},
        {"change_at_one": float(np.abs(plain - 1).max())},
    )


def _dpo(effort: Effort) -> Outcome:
    of = bank(effort)
    rng = effort.rng("cpl.dpo")
    count, num = len(of.beta), 40
    context = rng.integers(SIZE[0], size=(count, num))
    first, second = rng.integers(SIZE[1], size=(2, count, num))
    labels = jnp.asarray(rng.uniform(size=(count, num)))
    table, log_ref = (log_softmax(rng.normal(size=of.reward.shape), axis=-1) for _ in range(2))
    start = jnp.asarray(context)[..., None]
    sides = [Segments(start, jnp.asarray(side)[..., None]) for side in (first, second)]
    segments = jax.vmap(lambda pair, label: compare(pair[0], pair[1], label))(sides, labels)
    answers = segments._replace(first=jnp.asarray(first), second=jnp.asarray(second))

    def direct(beta: Any, log_ref: Any, policy: Any, rows: Any) -> Any:
        game = Game(jnp.zeros((*SIZE, SIZE[1])), log_ref, jnp.full(SIZE[0], 1 / SIZE[0]), beta)
        return log_ratio_loss(policy, game, Partial(logistic, beta=beta), rows)

    both = jax.jit(
        lambda mdp, log_ref, policy, one, other: (
            jax.vmap(jax.value_and_grad(_table_loss, argnums=1), in_axes=(0, 0, 0, None))(
                mdp, policy, one, 1.0
            ),
            jax.vmap(jax.value_and_grad(direct, argnums=2))(mdp.beta, log_ref, policy, other),
        )
    )

    def error(of_segments: np.ndarray) -> np.ndarray:
        mdp = of.mdp._replace(log_ref=jnp.asarray(of_segments))
        found, expected = both(mdp, jnp.asarray(log_ref), jnp.asarray(table), segments, answers)
        parts = [
            np.abs(np.asarray(a) - np.asarray(b)).reshape(count, -1)
            for a, b in zip(found, expected, strict=True)
        ]
        return np.concatenate(parts, -1)

    largest, witness = worst(error(log_ref), of)
    control = error(0 * log_ref).max(1).min()
    return Outcome(count, largest, "no reference, as CPL has it", float(control), TOLERANCE, witness)


def _check(
    name: str,
    statement: str,
    judge: Callable[[Effort], Outcome],
    assumptions: str,
    kind: str = "identity",
    source: str = f"arXiv:{PAPER}; proof ours",
    refuted: bool = False,
) -> Check:
    return Check(f"cpl.{name}", "cpl", kind, source, "derived", statement, assumptions, judge, refuted)


ENTROPY = "finite MDP, maximum entropy with β > 0, discount below 1"
CHECKS: tuple[Check, ...] = (
    _check(
        "advantage_identity",
        "A* = β log π*, Σ_a exp(A*(s, a)/β) = 1, and V* is the value of π*",
        _advantage,
        ENTROPY,
    ),
    _check(
        "any_policy_is_optimal",
        "for every π, r = β log π has soft optimum π and V* = 0; r + φ(s) - discount E φ(s') too, and V* = φ",
        _any_policy,
        ENTROPY,
    ),
    _check(
        "segment_identity",
        "Σ_t<k discount^t β log π*(a_t|s_t) = Σ_t<k discount^t r_t + discount^k V*(s_k) - V*(s_0)",
        _segments,
        ENTROPY + ", certain moves",
    ),
    _check(
        "segment_identity.stochastic",
        "the same along every segment of an MDP whose moves are not certain",
        _segments_stochastic,
        ENTROPY,
        refuted=True,
    ),
    _check(
        "identifiability",
        "differences of segments of one length leave of log π only a constant undetermined (which "
        "normalisation fixes)",
        _identified,
        "segments of length 3, uniform behaviour; rank at a relative 1e-9",
        kind="lemma",
    ),
    _check(
        "flat_directions",
        "with n comparisons, the loss at λ = 1 is constant in |S||A| - n directions of the advantage or more",
        _flat,
        "n = 6, |S||A| = 15",
        kind="lemma",
    ),
    _check(
        "conservative.shift",
        "raising both log-likelihoods by c > 0 lowers the loss for every λ < 1, and leaves it at λ = 1",
        _shift,
        "λ in [0.05, 0.95], c at most what keeps both below 0",
        kind="lemma",
    ),
    _check(
        "dpo",
        "on segments of length 1 from one start, with log π/π_ref for log π, the loss at λ = 1 is DPO's",
        _dpo,
        "any labels in [0, 1]; values and gradients",
        source=f"arXiv:{PAPER}, arXiv:2305.18290; proof ours",
    ),
)
