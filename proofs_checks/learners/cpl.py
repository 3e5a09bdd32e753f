"""CPL's algebra: what regret preferences say about a policy, along segments and through its loss.

The maximum-entropy optimum satisfies ``A* = β log π*``, so a judge who compares discounted sums of A*
compares discounted log-likelihoods. Judged on random MDPs with the library's values; sums along segments,
linear algebra and policy evaluation are numpy's.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import log_softmax

from nlhf.losses import contrastive, logistic
from nlhf.segments import Segments
from proofs_checks.learners.mdp_bank import LENGTH, SIZE, Bank, bank, draw, features, scale, soft, walks
from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.games import Game
from tabular.mdps.mdp import MDP
from tabular.mdps.segment_space import segment_loss
from tabular.mdps.segments import compare, draw_segments
from tabular.spaces.simplex import log_ratio_loss

TOLERANCE = 1e-11  # relative to 1 + max |V*|
PAPER = "arXiv:2310.13639"


def _value_of(of: Bank, log_policy: np.ndarray) -> np.ndarray:
    """Regularised value of a policy by numpy's linear solve, ``[N, S]``."""
    policy = np.exp(log_policy)
    pay = (policy * (of.reward - of.beta[:, None, None] * log_policy)).sum(-1)
    chain = np.einsum("nsa,nsat->nst", policy, of.transition)
    system = np.eye(SIZE[0]) - of.discount[:, None, None] * chain
    return np.linalg.solve(system, pay[..., None])[..., 0]


def _each(error: np.ndarray) -> np.ndarray:
    """Largest error of each instance, ``[N]``."""
    return error.reshape(len(error), -1).max(1)


def _advantage(effort: Effort) -> Outcome:
    of = bank(effort)
    wide = of.beta[:, None, None]

    def error(advantage: np.ndarray, v: np.ndarray) -> np.ndarray:
        parts = (
            np.abs(advantage - wide * of.log_policy).max(-1),
            of.beta[:, None] * np.abs(np.exp(advantage / wide).sum(-1) - 1),
            np.abs(v - _value_of(of, of.log_policy)),
        )
        return _each(np.stack(parts, -1) / scale(of.v)[:, None, None])

    right = error(of.q - of.v[..., None], of.v)
    warmer = soft(of.mdp._replace(beta=2 * of.mdp.beta))
    wrong = error(np.asarray(warmer.advantage), np.asarray(warmer.v))
    return judged(right, "the advantage of the optimum at 2β", wrong.min(), TOLERANCE, **of.shown)


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
    wrong = _each(error(phi, np.ones_like(of.discount))).min()
    control = "a potential that is not discounted"
    return judged(found, control, wrong, TOLERANCE, instances=2 * len(phi), **of.shown)


def _sums(effort: Effort, deterministic: bool) -> tuple[Bank, np.ndarray, np.ndarray, np.ndarray]:
    """Along 30 segments an MDP, ``[N, 30]``: sums of β log π* - r, and what V* at both ends leaves of them.

    Returns:
      The bank, ``[N, 1]`` the scale, the sums, and ``[2, N, 30]`` what is left of them, also less the noise.
    """
    of = bank(effort, deterministic)
    walk, size = walks(effort, "cpl.segment_identity", of), scale(of.v)[:, None]
    value = walk.visits(of.v)
    expected = np.einsum("nmts,ns->nmt", walk.along(of.transition), of.v)
    score = (walk.power * of.beta[:, None, None] * walk.along(of.log_policy)).sum(-1)
    excess = score - (walk.power * walk.along(of.reward)).sum(-1)
    ends = of.discount[:, None] ** (LENGTH - 1) * value[..., -1] - value[..., 0]
    noise = (walk.power * of.discount[:, None, None] * (expected - value[..., 1:])).sum(-1)
    return of, size, excess, np.stack([excess - ends, excess - ends - noise])


def _segments(effort: Effort) -> Outcome:
    of, size, excess, left = _sums(effort, deterministic=True)
    wrong = (np.abs(excess) / size).max(1).min()
    control = "the partial return, without the values at both ends"
    return judged(np.abs(left[0]) / size, control, wrong, TOLERANCE, instances=excess.size, **of.shown)


def _segments_stochastic(effort: Effort) -> Outcome:
    of, size, excess, left = _sums(effort, deterministic=False)
    violation, corrected = np.abs(left) / size
    return judged(
        violation,
        "with Σ discount^(t+1) [E V*(s_t+1) - V*(s_t+1)] added",
        corrected,
        TOLERANCE,
        instances=excess.size,
        detail={"smallest_violation": violation.max(1).min()},
        **of.shown,
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
    control = "a behaviour that never takes one action in one state"
    wrong, detail = np.min(missing[1] - 1), {"segments": num, "length": 3}
    return judged(np.abs(missing[0] - 1), control, wrong, 0.5, detail=detail, **of.shown)


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
    return judged(
        change(1.0) + np.maximum(least - missing, 0),
        "the loss at λ = 1/2, moved along the same directions",
        change(0.5),
        TOLERANCE,
        detail={"comparisons": num, "fewest_flat": missing.min(), "promised": least},
        **of.shown,
    )


def _shift(effort: Effort) -> Outcome:
    count = effort.pick(2000, 50_000)
    rng = effort.rng("cpl.conservative.shift")
    winner, loser = -rng.exponential(3, size=(2, count))
    raised = rng.uniform(0.05, 1, size=count) * np.minimum(-winner, -loser) + 1e-3
    bias = rng.uniform(0.05, 0.95, size=count)

    def change(bias: Any) -> np.ndarray:
        """The loss with both likelihoods raised over the loss as it is."""
        after, before = (
            contrastive(
                jnp.asarray(winner + shift),
                jnp.asarray(loser + shift),
                jnp.ones(count),
                temperature=1.0,
                bias=bias,
            )
            for shift in (raised, 0.0)
        )
        return np.asarray(after) / np.asarray(before)

    plain = change(1.0)
    return judged(
        change(jnp.asarray(bias)),
        "λ = 1, at which raising both changes nothing",
        plain.min(),
        1 - 1e-9,
        detail={"change_at_one": np.abs(plain - 1).max()},
        winner=winner,
        loser=loser,
        bias=bias,
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

    wrong = error(0 * log_ref).max(1).min()
    return judged(error(log_ref), "no reference, as CPL has it", wrong, TOLERANCE, **of.shown)


_row = functools.partial(check_of, kind="identity", source=f"{PAPER}; proof ours")
ENTROPY = "finite MDP, maximum entropy with β > 0, discount below 1"
CHECKS: tuple[Check, ...] = (
    _row(
        "cpl.advantage_identity",
        "A* = β log π*, Σ_a exp(A*(s, a)/β) = 1, and V* is the value of π*",
        ENTROPY,
        _advantage,
    ),
    _row(
        "cpl.any_policy_is_optimal",
        "for every π, r = β log π has soft optimum π and V* = 0; r + φ(s) - discount E φ(s') too, and V* = φ",
        ENTROPY,
        _any_policy,
    ),
    _row(
        "cpl.segment_identity",
        "Σ_t<k discount^t β log π*(a_t|s_t) = Σ_t<k discount^t r_t + discount^k V*(s_k) - V*(s_0)",
        ENTROPY + ", certain moves",
        _segments,
    ),
    _row(
        "cpl.segment_identity.stochastic",
        "the same along every segment of an MDP whose moves are not certain",
        ENTROPY,
        _segments_stochastic,
        refuted=True,
    ),
    _row(
        "cpl.identifiability",
        "differences of segments of one length leave of log π only a constant undetermined (which "
        "normalisation fixes)",
        "segments of length 3, uniform behaviour; rank at a relative 1e-9",
        _identified,
        kind="lemma",
    ),
    _row(
        "cpl.flat_directions",
        "with n comparisons, the loss at λ = 1 is constant in |S||A| - n directions of the advantage or more",
        "n = 6, |S||A| = 15",
        _flat,
        kind="lemma",
    ),
    _row(
        "cpl.conservative.shift",
        "raising both log-likelihoods by c > 0 lowers the loss for every λ < 1, and leaves it at λ = 1",
        "λ in [0.05, 0.95], c at most what keeps both below 0",
        _shift,
        kind="lemma",
    ),
    _row(
        "cpl.dpo",
        "on segments of length 1 from one start, with log π/π_ref for log π, the loss at λ = 1 is DPO's",
        "any labels in [0, 1]; values and gradients",
        _dpo,
        source=f"{PAPER}, arXiv:2305.18290; proof ours",
    ),
)
