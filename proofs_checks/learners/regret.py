"""The regret preference model: what its preferences identify, and when regret is a sum along a segment.

Regret is minus the discounted sum of the plain optimal advantage. A sure judge shows its order, with ties, a
logistic one its differences. What partial returns do not identify is in ``partial_return``, whose rows this
module hands on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from proofs_checks.learners import partial_return
from proofs_checks.learners.mdp_bank import Bank, bank, draw, hard, scale, worst
from proofs_checks.rows import Check, Effort, Outcome

PAPER = "arXiv:2206.02231; proof ours"
TOLERANCE = 1e-11  # relative to 1 + max |V*|
TIE = 1e-9


def _plain(of: Bank, reward: np.ndarray | None = None) -> Any:
    """Plain optima of the bank (with other rewards), as numpy arrays."""
    mdp = of.mdp if reward is None else of.mdp._replace(reward=jnp.asarray(reward))
    return jax.tree.map(np.asarray, hard(mdp))


class _Walks(NamedTuple):
    """Of drawn segments, ``[N, M]``: sums of A* and of r, V* at the start and, discounted, at the end."""

    advantage: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    end: np.ndarray
    scale: np.ndarray


def _walks(effort: Effort, deterministic: bool) -> tuple[Bank, _Walks]:
    of = bank(effort, deterministic)
    best = _plain(of)
    states, actions = (
        np.asarray(part)
        for part in draw(jax.random.split(effort.key("regret.walks"), len(of.beta)), of.mdp, 30)
    )
    row = np.arange(len(of.beta))[:, None, None]
    s, a, after = states[..., :-1], actions[..., :-1], states[..., -1]
    power = of.discount[:, None, None] ** np.arange(s.shape[-1])
    return of, _Walks(
        (power * best.advantage[row, s, a]).sum(-1),
        (power * of.reward[row, s, a]).sum(-1),
        best.v[row[..., 0], s[..., 0]],
        of.discount[:, None] ** s.shape[-1] * best.v[row[..., 0], after],
        scale(best.v)[:, None],
    )


def _end_state(effort: Effort) -> Outcome:
    of, walks = _walks(effort, deterministic=True)
    error = np.abs(walks.advantage - (walks.reward + walks.end - walks.start)) / walks.scale
    positive = np.maximum(walks.advantage, 0) / walks.scale
    largest, witness = worst(np.maximum(error, positive), of)
    control = np.abs(walks.advantage - (walks.reward - walks.start)) / walks.scale
    return Outcome(
        error.size,
        largest,
        "the same without the value of the last state",
        float(control.max(1).min()),
        TOLERANCE,
        witness,
    )


def _end_state_stochastic(effort: Effort) -> Outcome:
    of, walks = _walks(effort, deterministic=False)
    error = np.abs(walks.advantage - (walks.reward + walks.end - walks.start)) / walks.scale
    # one step, averaged over the next state by its probabilities
    best = _plain(of)
    mean = np.einsum("nsat,nt->nsa", of.transition, best.v)
    form = of.reward + of.discount[:, None, None] * mean - best.v[..., None]
    corrected = np.abs(best.advantage - form) / walks.scale[..., None]
    largest, witness = worst(error, of)
    return Outcome(
        error.size,
        largest,
        "its mean over the next state, on segments of one step",
        float(corrected.max()),
        TOLERANCE,
        witness,
        {"smallest_violation": float(error.max(1).min())},
    )


def _twins(of: Bank) -> tuple[np.ndarray, Any]:
    """The bank's rewards with an action doubled in every fourth MDP (tied optima), and their optima."""
    reward, transition = of.reward.copy(), of.transition.copy()
    reward[::4, :, 1], transition[::4, :, 1] = reward[::4, :, 0], transition[::4, :, 0]
    mdp = of.mdp._replace(reward=jnp.asarray(reward), transition=jnp.asarray(transition))
    return reward, jax.tree.map(np.asarray, hard(mdp))


def _winners(score: np.ndarray) -> np.ndarray:
    """Steps ``[N, S, A]`` that a sure judge prefers to no step less than any other: of the largest score."""
    top = score.max((1, 2), keepdims=True)
    return score >= top - TIE * (1 + np.abs(score).max((1, 2), keepdims=True))


def _optimal_set(effort: Effort) -> Outcome:
    of = bank(effort)
    reward, best = _twins(of)
    largest, witness = worst((_winners(best.advantage) != best.optimal).astype(float), of)
    control = (_winners(reward) != best.optimal).any((1, 2))
    return Outcome(
        len(of.beta),
        largest,
        "the order of partial returns",
        float(control.min()),
        0.5,
        witness,
        {"tied": float((best.optimal.sum(-1) > 1).any(-1).mean())},
    )


def _not_the_reward(effort: Effort) -> Outcome:
    of = bank(effort)
    rng = effort.rng("regret_model.only_the_order")
    best = _plain(of)
    value = 3 * rng.normal(size=best.v.shape)
    drift = of.discount[:, None, None] * np.einsum("nsat,nt->nsa", of.transition, value)

    def error(advantage: np.ndarray) -> np.ndarray:
        found = _plain(of, advantage + value[..., None] - drift)
        sets = (found.optimal != best.optimal).any((1, 2)).astype(float)
        return np.maximum(sets, np.abs(found.v - value).max(1))

    bent = -((-best.advantage) ** 3 + 0.3 * -best.advantage)
    turned = np.roll(best.advantage, 1, axis=-1)  # the same numbers, at other actions: another order
    order = np.argsort(best.advantage.reshape(len(value), -1), axis=1)
    assert (order == np.argsort(bent.reshape(len(value), -1), axis=1)).all()
    # a logistic judge tells the two apart
    noisy = np.abs(expit(bent) - expit(best.advantage)).max((1, 2))
    largest, witness = worst(error(bent), of)
    return Outcome(
        len(of.beta),
        largest,
        "advantages moved to other actions",
        float(error(turned).min()),
        1e-8,
        witness,
        {"logistic_difference": float(noisy.min())},
    )


def _logistic(effort: Effort) -> Outcome:
    of = bank(effort)
    best = _plain(of)
    count = len(of.beta)

    def error(score: np.ndarray) -> np.ndarray:
        flat = score.reshape(count, -1)
        log_odds = flat[:, :, None] - flat[:, None, :]
        probability = expit(log_odds)
        shown = np.log(probability) - np.log(expit(-log_odds))
        against = np.take_along_axis(shown, shown.min(2).argmax(1)[:, None, None], axis=1)[:, 0]
        return np.abs(against + best.advantage.reshape(count, -1)) / scale(best.v)[:, None]

    largest, witness = worst(error(best.advantage), of)
    control = error(of.reward).max(1).min()
    return Outcome(count, largest, "log-odds of partial returns", float(control), TOLERANCE, witness)


def _check(
    name: str,
    statement: str,
    judge: Callable[[Effort], Outcome],
    assumptions: str,
    kind: str = "identity",
    refuted: bool = False,
) -> Check:
    return Check(
        f"regret_model.{name}", "regret_model", kind, PAPER, "derived", statement, assumptions, judge, refuted
    )


PLAIN = "finite MDP, β = 0"
CHECKS: tuple[Check, ...] = (
    _check(
        "end_state",
        "V*(s_0) - Σ_t<k discount^t r_t - discount^k V*(s_k) = -Σ_t discount^t A*(s_t, a_t) >= 0",
        _end_state,
        PLAIN + ", certain moves",
    ),
    _check(
        "end_state.stochastic",
        "the same along every segment of an MDP whose moves are not certain",
        _end_state_stochastic,
        PLAIN,
        refuted=True,
    ),
    _check(
        "optimal_set",
        "the steps that a sure judge by regret ranks first are exactly the optimal (s, a), ties included",
        _optimal_set,
        PLAIN + ", segments of one step",
        kind="lemma",
    ),
    _check(
        "only_the_order",
        "any A' = -g(-A*), g increasing, g(0) = 0, and any V' belong to a reward with that order and optimum",
        _not_the_reward,
        PLAIN + ", segments of one step; g(x) = x³ + 0.3 x",
        kind="lemma",
    ),
    _check(
        "logistic_identifies_advantage",
        "the log-odds of a segment without regret against a step (s, a) are -A*(s, a)",
        _logistic,
        PLAIN + ", logistic labels by regret",
    ),
    *partial_return.CHECKS,
)
