"""Where the regularised Nash policy is that of a reward, and where online DPO stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import losses
from proofs_checks.identities.game import pair_of
from proofs_checks.identities.losses import Draw, draws_of, gradient
from proofs_checks.identities.variational import log_softmax, witness_of
from proofs_checks.instances import KINDS
from proofs_checks.rows import ROUNDING, Check, Effort, Outcome, check_of
from tabular import families

LIMIT = 1e-12  # relative to 1 + |value|
Array = jax.Array


# Where the regularised Nash policy is that of a reward, π_ref exp(r/τ), and where it is not


def _tilted(draw: Draw, score: np.ndarray, factor: float) -> np.ndarray:
    """``π_ref exp(score / (factor β))``."""
    return log_softmax(draw.log_ref + score / (factor * draw.beta)[:, None])


def _imbalance(draw: Draw, advantage: np.ndarray, log_policy: np.ndarray) -> np.ndarray:
    """Span of ``log π - log π_ref - (P - 1/2)π/β`` over 1 + its largest term: 0 at the Nash policy alone."""
    payoff = np.einsum("nab,nb->na", advantage, np.exp(log_policy)) / draw.beta[:, None]
    largest = np.maximum(0.5 / draw.beta, np.abs(draw.log_ref).max(-1))
    return np.ptp(log_policy - draw.log_ref - payoff, axis=-1) / (1 + largest)


def _difference(score: np.ndarray) -> np.ndarray:
    return score[:, :, None] - score[:, None, :]


def _over_draws(
    effort: Effort, measure: Callable[[Draw], tuple[np.ndarray, np.ndarray]], text: str
) -> Outcome:
    draws = draws_of(effort)
    pairs = [measure(draw) for draw in draws]
    errors, wrong = (np.concatenate(column) for column in zip(*pairs, strict=True))
    index = int(np.argmax(errors))
    draw, place = draws[index // len(draws[0].beta)], index % len(draws[0].beta)
    witness = {"size": draw.logits.shape[1], "beta": float(draw.beta[place])}
    if draw.logits.shape[1] <= 8:
        witness |= {"log_ref": draw.log_ref[place].tolist(), "logits": draw.logits[place].tolist()}
    return Outcome(len(errors), float(errors.max()), text, float(wrong.max()), LIMIT, witness)


def _additive(effort: Effort) -> Outcome:
    def measure(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        score = draw.logits / np.abs(draw.logits).max(-1, keepdims=True) / 2
        advantage = _difference(score) / 2
        right, wrong = (_imbalance(draw, advantage, _tilted(draw, score, factor)) for factor in (2.0, 1.0))
        return right, wrong

    return _over_draws(effort, measure, "π_ref exp(r/β)")


def _small_scores(effort: Effort) -> Outcome:
    """Scores of size 1e-5, whose cubes are below the limit even over β = 1e-3."""

    def measure(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        score = 1e-5 * draw.logits / np.abs(draw.logits).max(-1, keepdims=True)
        advantage = 0.5 * np.tanh(_difference(score) / 2)
        right, wrong = (_imbalance(draw, advantage, _tilted(draw, score, factor)) for factor in (4.0, 2.0))
        return right, wrong

    return _over_draws(effort, measure, "π_ref exp(r/(2β))")


def _transitive(effort: Effort) -> tuple[Any, np.ndarray]:
    pair = pair_of(effort)
    return pair, np.flatnonzero(np.asarray(pair.bank.kind) == KINDS.index("bradley_terry"))


def _monotone(effort: Effort) -> Outcome:
    """Largest fall of log(π*/π_ref) from one score to the next higher, over the rounding of logarithms."""
    pair, rows = _transitive(effort)
    worst, wrong, where = -np.inf, -np.inf, 0
    for row in rows:
        inside = pair.present[row]
        order = np.argsort(pair.advantage[row][inside, 0])
        ratio = (pair.log_nash[row] - pair.log_ref[row])[inside][order]
        fall = -float(np.diff(ratio).min()) / pair.rounding()[row]
        worst, where = (fall, row) if fall > worst else (worst, where)
        plain = pair.log_nash[row][inside][order]
        wrong = max(wrong, -float(np.diff(plain).min()) / pair.rounding()[row])
    witness = witness_of(pair.bank, where)
    return Outcome(len(rows), worst, "log π* instead of log(π*/π_ref)", wrong, 1 + ROUNDING, witness)


def _nonlinearity(ratio: np.ndarray, score: np.ndarray) -> float:
    """Largest residual of ``ratio = a + b score`` fitted by least squares, over 1 + the largest ratio."""
    columns = np.stack([np.ones_like(score), score], 1)
    fitted = columns @ np.linalg.lstsq(columns, ratio, rcond=None)[0]
    return float(np.abs(ratio - fitted).max() / (1 + np.abs(ratio).max()))


def _not_a_reward(effort: Effort) -> Outcome:
    """How far log(π*/π_ref) is from any affine function of the score."""
    pair, rows = _transitive(effort)
    deviations = []
    for row in rows:
        inside = pair.present[row]
        score = 2 * np.arctanh(2 * pair.advantage[row][inside, 0])
        deviations.append(_nonlinearity((pair.log_nash[row] - pair.log_ref[row])[inside], score))
    draw = draws_of(effort)[-1]
    score = draw.logits / np.abs(draw.logits).max(-1, keepdims=True) / 2
    # the Nash policy of additive preferences, by the row above
    additive = _tilted(draw, score, 2.0) - draw.log_ref
    control = max(_nonlinearity(*each) for each in zip(additive, score, strict=True))
    witness = witness_of(pair.bank, int(rows[int(np.argmax(deviations))]))
    return Outcome(len(rows), max(deviations), "additive preferences", control, LIMIT, witness)


# Online DPO


def online_dpo(logits: Array, preference: Array, log_ref: Array, beta: Array) -> Array:
    """``E_{y, y' ~ SG[π]}`` of the library's soft-label DPO loss."""
    log_policy = jax.nn.log_softmax(logits)
    ratio, law = log_policy - log_ref, jax.lax.stop_gradient(jnp.exp(log_policy))
    loss = losses.logistic(ratio[:, None], ratio[None, :], preference, beta=beta)  # type: ignore[arg-type]
    return (law[:, None] * law[None, :] * loss).sum()


def _dpo_slope(
    log_policy: np.ndarray, preference: np.ndarray, log_ref: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    return np.abs(gradient(online_dpo, log_policy, preference, log_ref, beta)).max(-1) / (1 + beta)


def _dpo_stationary(effort: Effort) -> Outcome:
    def measure(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        preference = 0.5 + 0.5 * np.tanh(_difference(draw.logits) / 2)
        right, wrong = (
            _dpo_slope(_tilted(draw, draw.logits, factor), preference, draw.log_ref, draw.beta)
            for factor in (1.0, 2.0)
        )
        return right, wrong

    return _over_draws(effort, measure, "π_ref exp(r/(2β))")


def _dpo_two(effort: Effort) -> Outcome:
    """The gradient at the Nash policy, which for two actions is ``π_ref exp((P(· ≻ other) - 1/2)/β)``."""
    rng, count = effort.rng("dpo two"), effort.pick(5, 50)
    chance, beta = rng.uniform(0.6, 0.95, count), rng.uniform(0.3, 2, count)
    log_ref = log_softmax(0.5 * rng.normal(size=(count, 2)))
    edge = np.zeros((count, 2, 2))
    edge[:, 0, 1], edge[:, 1, 0] = chance - 0.5, 0.5 - chance
    lift = np.stack([np.ones(count), np.zeros(count)], 1)
    nash, own = (
        log_softmax(log_ref + (margin / beta)[:, None] * lift)
        for margin in (chance - 0.5, np.log(chance / (1 - chance)))
    )
    at_nash, at_own = (_dpo_slope(policy, edge + 0.5, log_ref, beta) for policy in (nash, own))
    index = int(np.argmin(at_nash))
    return Outcome(
        count,
        float(at_nash.min()),
        "its own stationary point, π_ref exp(log-odds/β)",
        float(at_own.max()),
        LIMIT,
        {"chance": float(chance[index]), "beta": float(beta[index]), "log_ref": log_ref[index].tolist()},
    )


def _dpo_cycle(effort: Effort) -> Outcome:
    """Rock-paper-scissors with a uniform reference, where the Nash policy is uniform at every β."""
    beta = np.geomspace(1e-2, 10, effort.pick(5, 50))
    table = np.broadcast_to(families.rock_paper_scissors(3), (len(beta), 3, 3))
    uniform = np.full((len(beta), 3), -np.log(3))
    tilted = log_softmax(uniform + np.array([0.5, 0, 0]))
    errors, wrong = (_dpo_slope(policy, table, uniform, beta) for policy in (uniform, tilted))
    return Outcome(len(beta), float(errors.max()), "another policy", float(wrong.max()), LIMIT)


_IPO_MD = "after arXiv:2403.08635; derived"

CHECKS: tuple[Check, ...] = (
    check_of(
        "bradley_terry.nash_monotone",
        "under Bradley-Terry preferences log(π*/π_ref) increases in the score",
        "none",
        _monotone,
        kind="lemma",
        subject="game",
    ),
    check_of(
        "bradley_terry.nash_is_reward_policy",
        "under Bradley-Terry preferences π* = π_ref exp(r/τ) for some τ",
        "none",
        _not_a_reward,
        kind="separation",
        subject="game",
        refuted=True,
    ),
    check_of(
        "additive.nash_is_reward_policy",
        "P = 1/2 + (r_i - r_j)/2 has π* = π_ref exp(r/(2β)), what RLHF finds at the KL weight 2β",
        "|r_i - r_j| <= 1",
        _additive,
        kind="identity",
        subject="game",
    ),
    check_of(
        "bradley_terry.small_scores",
        "as scores go to 0, π* becomes π_ref exp(r/(4β)), what RLHF finds at the KL weight 4β",
        "scores of 1e-5",
        _small_scores,
        kind="identity",
        subject="game",
    ),
    check_of(
        "loss.online_dpo_stationary",
        "under Bradley-Terry preferences the RLHF policy π_ref exp(r/β) is stationary for online DPO",
        "none",
        _dpo_stationary,
        source=_IPO_MD,
        kind="identity",
    ),
    check_of(
        "loss.online_dpo_finds_nash",
        "the regularised Nash policy of two actions is stationary for online DPO",
        "P ≠ 1/2; smallest gradient shown",
        _dpo_two,
        source=_IPO_MD,
        kind="separation",
        refuted=True,
    ),
    check_of(
        "loss.online_dpo_rock_paper_scissors",
        "the Nash policy of rock-paper-scissors with a uniform reference is stationary for online DPO",
        "none",
        _dpo_cycle,
        source=_IPO_MD,
        kind="identity",
    ),
)
