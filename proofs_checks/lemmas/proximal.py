"""Proximal-point steps solved exactly, the bias of a constant step, and the game without regularisation.

Write M = P - 1/2 (skew). The proximal step z of weight τ from π is the Nash policy of the game with KL weight
τ to π (and, in Nash Prox, β to the reference); it is a prox step against its own payoff M z, so for every u

    KL(u‖z) = KL(u‖π) - KL(z‖π) - <M z, u>/τ.                                                        (prox)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.logspace import kl, normalise
from proofs_checks.lemmas.bank import (
    EPSILON,
    Array,
    Case,
    Lemma,
    Sides,
    checks,
    kl_allowance,
    ratio,
)
from proofs_checks.rows import Effort, Outcome, check_of
from tabular.families import full_support
from tabular.nash import solve_regularised
from tabular.rational import solve_exact

PROXIMAL_STEPS = (0.1, 1.0, 10.0, 100.0)
NUM_OUTER = 8
LARGEST = 8  # actions of the unregularised games
SOLVED = (256, 16)  # instances of the first two banks: five Newton solves each
QUICK_SOLVED = (40,)


def solved(case: Case) -> tuple[Sides, Sides]:
    """Two lemmas about equilibria of neighbouring games, which are solved together.

    The outer step of Nash Prox: ``KL(π*‖z) <= KL(π*‖π)/(1 + η)``, z the Nash policy with weights β to π_ref
    and β/η to π, any η > 0. As (prox) with both weights, (1 + η) KL(π*‖z) = KL(π*‖π) - KL(z‖π) - η KL(z‖π*).

    The limit π_∞ of Nash-MD's constant step: ``KL(π*‖π_∞) <= η/(8β)``, nash_md.one_step_sharp at the limit;
    inequality (6) itself gives 2η/β. With m = π_∞^(1-ηβ) π_ref^ηβ the fixed point reads
    log m = log_ref + (1 - ηβ) M m/β + constant, so m is the Nash policy at temperature β/(1 - ηβ), and
    π_∞ = BR(m).
    """
    beta, log_ref, advantage = case.game.beta, case.game.log_ref[0], case.game.advantage[0]
    steps = jnp.asarray(PROXIMAL_STEPS)
    # weights β to π_ref and β/η to π are one weight to their geometric mean
    anchors = jax.vmap(lambda step: normalise((step * log_ref + case.policy) / (1 + step)))(steps)
    # at ηβ = 1 there is no such temperature: the limit is BR(π_ref)
    kept = 1 - 0.99 * case.share
    references = jnp.concatenate([anchors, log_ref[None]])
    weights = jnp.concatenate([beta * (1 + 1 / steps), (beta / kept)[None]])
    solve = jax.vmap(solve_regularised, (None, 0, 0))
    nash = solve(advantage + 0.5, references, weights).log_policy
    after = jax.vmap(kl, (None, 0))(case.log_nash, nash[:-1])
    before = kl(case.log_nash, case.policy)
    outer = Sides(
        after, before / (1 + steps), after, before / (1 + 2 * steps), kl_allowance(after, case.delta)
    )
    bias = kl(case.log_nash, normalise(log_ref + advantage @ jnp.exp(nash[-1]) / beta))
    eta = (1 - kept) / beta
    limit = Sides(bias, eta / (8 * beta), bias, eta * beta / 8, kl_allowance(bias, case.delta))
    return outer, limit


class Outer(NamedTuple):
    """Exact proximal steps on G unregularised games, all of them padded to 8 actions."""

    advantage: np.ndarray  # ``[G, A, A]``
    log_start: np.ndarray  # ``[G, A]``
    weight: np.ndarray  # ``[G]`` τ
    nash: np.ndarray  # ``[G, Q, A]`` equilibria of the game, several where they are not unique
    size: np.ndarray  # ``[G]``


@functools.lru_cache(maxsize=2)
def _outer(effort: Effort) -> tuple[Outer, np.ndarray, np.ndarray]:
    """Games, ``[G, K + 1, A]`` log iterates from the start, and ``[G, K]`` residuals of their solution."""
    games = _unregularised(effort)
    log_policies, residual = _iterate(*(jnp.asarray(leaf) for leaf in games[:3]))
    return games, np.asarray(log_policies), np.asarray(residual)


@jax.jit
@jax.vmap
def _iterate(advantage: Array, log_start: Array, weight: Array) -> tuple[Array, Array]:
    def one(log_policy: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        solved = solve_regularised(advantage + 0.5, log_policy, weight)
        return solved.log_policy, (solved.log_policy, solved.residual)

    _, (after, residual) = jax.lax.scan(one, log_start, None, length=NUM_OUTER)
    return jnp.concatenate([log_start[None], after]), residual


def _unregularised(effort: Effort) -> Outer:
    rng, key = effort.rng("proximal_point"), effort.key("proximal_point")
    count = effort.pick(24, 136)
    advantage, log_start = np.zeros((count, LARGEST, LARGEST)), np.full((count, LARGEST), -np.inf)
    nash, sizes = np.zeros((count, 4, LARGEST)), np.zeros(count, int)
    for index in range(count):
        size = sizes[index] = 3 + index % 6
        if index % 2:
            matrix, policy = full_support(jax.random.fold_in(key, index), size)
            centred = np.asarray(matrix) - 0.5
            policies = _on_the_line(centred, policy)
        else:
            drawn = rng.random((size, size))
            upper = np.triu((drawn if index % 4 else np.round(drawn)) - 0.5, 1)
            centred = upper - upper.T
            policies = np.tile(solve_exact(centred + 0.5).policy, (4, 1))
        advantage[index, :size, :size] = centred
        nash[index, :, :size] = policies
        logits = (0, 1, 3)[index % 3] * rng.standard_normal(size)
        log_start[index, :size] = logits - np.log(np.exp(logits).sum())
    return Outer(advantage, log_start, 10.0 ** rng.uniform(-2, 1, count), nash, sizes)


def _on_the_line(centred: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """``[4, A]`` equilibria: the policy and, where there are more, points up to the ends of a line."""
    _, singular, rows = np.linalg.svd(centred)
    null = rows[singular < 1e-12]
    if len(null) < 2:
        return np.tile(policy, (4, 1))
    sums = null.sum(-1)
    # a combination of two null vectors whose entries sum to 0 leads from one equilibrium to others
    move = null[0] * sums[1] - null[1] * sums[0]
    steps = [np.min(policy[sign * move < 0] / -(sign * move[sign * move < 0])) for sign in (1, -1)]
    points = [policy, policy + steps[0] * move, policy - steps[1] * move, policy + steps[0] / 2 * move]
    return np.maximum(points, 0)


def _rounding(log_policy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``[G]`` as ``lemma_bank.rounding``: logs as large as the iterates' and the payoffs' over τ."""
    largest = np.abs(np.where(np.isfinite(log_policy), log_policy, 0)).max((1, 2))
    return 16 * EPSILON * np.maximum(largest, np.maximum(1, 0.5 / weight))


@jax.jit
@jax.vmap
def _divergences(log_nash: Array, log_policies: Array) -> tuple[Array, Array]:
    """``[K + 1, Q]`` KL(q‖π_k) and ``[K, 1]`` KL(π_{k+1}‖π_k)."""
    to_policy = jax.vmap(jax.vmap(kl, (0, None)), (None, 0))(log_nash, log_policies)
    return to_policy, kl(log_policies[1:], log_policies[:-1])[:, None]


def judge_distance(effort: Effort) -> Outcome:
    """``KL(q‖z) + KL(z‖π) <= KL(q‖π)`` for every equilibrium q of the game without regularisation, any τ.

    (prox) at u = q, and <M z, q> = -<M q, z> >= 0; with equality where q has full support.
    """
    games, log_policies, residual = _outer(effort)
    with np.errstate(divide="ignore"):
        log_nash = np.log(games.nash)
    to_policy, moved = _divergences(jnp.asarray(log_nash), jnp.asarray(log_policies))
    to_before, to_after = to_policy[:, :-1], to_policy[:, 1:]
    delta = _rounding(log_policies, games.weight)[:, None, None]
    allowance = np.asarray(
        kl_allowance(to_before, delta) + kl_allowance(to_after, delta) + kl_allowance(moved, delta)
    )
    # q is itself an equilibrium up to its exploitability only
    gap = np.einsum("gab,gqb->gqa", games.advantage, games.nash).max(-1)
    allowance = allowance + np.maximum(gap / games.weight[:, None], 0)[:, None, :]
    value = ratio(to_after + moved, to_before, allowance)
    wrong = ratio(to_after + 2 * moved, to_before, allowance)
    worst = np.unravel_index(value.argmax(), value.shape)
    unique = np.ptp(games.nash, axis=1).max(-1) == 0
    return Outcome(
        instances=int(value[unique, :, 0].size + value[~unique].size),
        worst=float(value.max()),
        control="KL(z‖π) counted twice",
        control_worst=float(wrong.max()),
        witness=_witness(games, int(worst[0]))
        | {"step": int(worst[1]), "nash": games.nash[worst[0], worst[2], : games.size[worst[0]]].tolist()},
        detail={
            "residual": float(residual.max()),
            "games_with_several_equilibria": float((~unique).sum()),
            "median": float(np.median(value)),
        },
    )


def judge_average(effort: Effort) -> Outcome:
    """``max_a (M z̄)_a <= τ log(1/min π_0)/K``, z̄ the mean of the first K proximal iterates.

    (prox) at u = e_a summed over the steps: Σ (M z_j)_a <= τ [KL(e_a‖π_0) - KL(e_a‖z_K)].
    """
    games, log_policies, _ = _outer(effort)
    count = np.arange(1, NUM_OUTER + 1)
    mean = np.exp(log_policies[:, 1:]).cumsum(1) / count[:, None]
    payoff = np.einsum("gab,gkb->gka", games.advantage, mean)
    present = np.isfinite(games.log_start)[:, None, :]
    left = np.where(present, payoff, -np.inf).max(-1)
    lowest = np.where(present[:, 0], games.log_start, 0).min(-1)
    right = (-games.weight * lowest)[:, None] / count
    value = ratio(left, right, LARGEST * EPSILON)
    game, step = np.unravel_index(value.argmax(), value.shape)
    return Outcome(
        instances=value.size,
        worst=float(value.max()),
        control="half of it",
        control_worst=float(ratio(left, right / 2, LARGEST * EPSILON).max()),
        witness=_witness(games, int(game)) | {"step": int(step) + 1},
        detail={"median": float(np.median(value))},
    )


def _witness(games: Outer, game: int) -> dict:
    size = int(games.size[game])
    return {
        "kind": "full_support" if game % 2 else "uniform_skew" if game % 4 else "tournament",
        "size": size,
        "weight": float(games.weight[game]),
        "preference": (games.advantage[game, :size, :size] + 0.5).tolist(),
        "start": games.log_start[game, :size].tolist(),
    }


LEMMAS = (
    Lemma(
        solved,
        "nash_prox.outer_step",
        "proximal point; outer loop of arXiv:2505.19731v2",
        "KL(π*‖z) <= KL(π*‖π)/(1 + η), z the Nash policy with weights β to π_ref and β/η to π",
        "β > 0, every η > 0 (0.1 to 100 here), inner game solved exactly",
        "1/(1 + 2η)",
    ),
    Lemma(
        solved,
        "nash_md.bias",
        "nash_md.one_step_sharp at the fixed point; inequality (6) of arXiv:2312.00886 gives 2η/β",
        "KL(π*‖π_∞) <= η/(8β) <= 2η/β, π_∞ the limit of the constant step",
        "0 < ηβ < 1, exact payoffs",
        "ηβ/8",
        part=1,
    ),
)
CHECKS = (
    *checks(LEMMAS, SOLVED, QUICK_SOLVED),
    check_of(
        "proximal_point.distance",
        "KL(q‖z) + KL(z‖π) <= KL(q‖π), z the Nash policy with weight τ to π",
        "β = 0, every τ > 0, every equilibrium q, unique or not, inner game solved exactly",
        judge_distance,
        source="one exact step; outer loop of arXiv:2410.23223 and of arXiv:2410.16714",
        kind="lemma",
    ),
    check_of(
        "proximal_point.average",
        "max_a (M z̄)_a <= τ log(1/min π_0)/K, z̄ the mean of K exact proximal iterates",
        "β = 0, every τ > 0, inner games solved exactly",
        judge_average,
        source="the step at a pure deviation, summed",
        kind="lemma",
    ),
)
