"""The regret preference model: what its preferences identify, and when regret is a sum along a segment.

Regret is minus the discounted sum of the plain optimal advantage. A sure judge shows its order, with ties, a
logistic one its differences. A judge by partial return shows those of ``Σ_t r_t``: two MDPs with the same
preferences and other optimal actions are a counterexample to what such preferences could identify, for which
every segment of a few steps is enumerated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit

from nlhf.segments import Segments
from proofs_checks.learners.mdp_bank import Bank, bank, hard, scale, walks
from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.mdps.mdp import MDP, make_mdp, shaped
from tabular.mdps.segments import Rule, hard_regret, partial_return
from tabular.mdps.values import hard_values

PAPER = "arXiv:2206.02231; proof ours"
TOLERANCE = 1e-11  # relative to 1 + max |V*|
TIE = 1e-9


def _plain(of: Bank, reward: np.ndarray | None = None) -> Any:
    """Plain optima of the bank (with other rewards), as numpy arrays."""
    mdp = of.mdp if reward is None else of.mdp._replace(reward=jnp.asarray(reward))
    return jax.tree.map(np.asarray, hard(mdp))


def _error(effort: Effort, deterministic: bool) -> tuple[Bank, Any, np.ndarray, np.ndarray, np.ndarray]:
    """Of drawn segments, ``[N, M]`` over ``scale``: sums of A*; errors with and without the end's value."""
    of = bank(effort, deterministic)
    best, walk = _plain(of), walks(effort, "regret.walks", of)
    value = walk.visits(best.v)
    advantage, reward = ((walk.power * walk.along(table)).sum(-1) for table in (best.advantage, of.reward))
    end = of.discount[:, None] ** walk.actions.shape[-1] * value[..., -1]
    size = scale(best.v)[:, None]
    right = np.abs(advantage - (reward + end - value[..., 0])) / size
    return of, best, advantage / size, right, np.abs(advantage - (reward - value[..., 0])) / size


def _end_state(effort: Effort) -> Outcome:
    of, _, advantage, right, wrong = _error(effort, deterministic=True)
    return judged(
        np.maximum(right, np.maximum(advantage, 0)),
        "the same without the value of the last state",
        wrong.max(1).min(),
        TOLERANCE,
        instances=right.size,
        **of.shown,
    )


def _end_state_stochastic(effort: Effort) -> Outcome:
    of, best, _, right, _ = _error(effort, deterministic=False)
    # one step, averaged over the next state by its probabilities
    mean = np.einsum("nsat,nt->nsa", of.transition, best.v)
    form = of.reward + of.discount[:, None, None] * mean - best.v[..., None]
    return judged(
        right,
        "its mean over the next state, on segments of one step",
        np.abs(best.advantage - form) / scale(best.v)[:, None, None],
        TOLERANCE,
        instances=right.size,
        detail={"smallest_violation": right.max(1).min()},
        **of.shown,
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
    wrong = (_winners(reward) != best.optimal).any((1, 2))
    return judged(
        _winners(best.advantage) != best.optimal,
        "the order of partial returns",
        wrong.min(),
        0.5,
        detail={"tied": (best.optimal.sum(-1) > 1).any(-1).mean()},
        **of.shown,
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
    control, detail = "advantages moved to other actions", {"logistic_difference": noisy.min()}
    return judged(error(bent), control, error(turned).min(), 1e-8, detail=detail, **of.shown)


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

    wrong = error(of.reward).max(1).min()
    return judged(error(best.advantage), "log-odds of partial returns", wrong, TOLERANCE, **of.shown)


# What preferences by partial return do not identify

_regret = jax.jit(hard_regret)
_return = jax.jit(Partial(partial_return, discount=1.0))


def all_segments(mdp: MDP, length: int, ended: bool) -> Segments:
    """Every segment of ``length`` steps that can happen; those that meet a terminal state if ``ended``."""
    follows = np.asarray(mdp.transition) > 0
    terminal = np.asarray(mdp.terminal)
    starts = [s for s in range(mdp.num_states) if ended or not terminal[s]]
    grown: list[list[tuple[Any, int]]] = [[(s, a)] for s in starts for a in range(mdp.num_actions)]
    for _ in range(length - 1):
        grown = [
            [*steps, (s, a)]
            for steps in grown
            for s in np.flatnonzero(follows[steps[-1]])
            if ended or not terminal[s]
            for a in range(mdp.num_actions)
        ]
    table = np.asarray(grown)
    return Segments(jnp.asarray(table[..., 0]), jnp.asarray(table[..., 1]))


class Pair(NamedTuple):
    """Two MDPs and a judge."""

    mdps: tuple[MDP, MDP]  # the two
    length: int  # of the segments compared
    sure: bool  # whether the judge shows the order only, else the differences
    ended: bool  # whether segments that meet a terminal state are compared too


def difference(pair: Pair, rule: Rule) -> float:
    """Largest difference of two judges' probabilities over all pairs of segments, one judge for each MDP."""
    shown = []
    for mdp in pair.mdps:
        score = np.asarray(rule(mdp, all_segments(mdp, pair.length, pair.ended)))
        gap = score[:, None] - score[None, :]
        tied = np.abs(gap) <= TIE * (1 + np.abs(score).max())
        shown.append(np.where(tied, 0.5, gap > 0) if pair.sure else expit(gap))
    return float(np.abs(shown[0] - shown[1]).max())


def counterexamples(pairs: Sequence[Pair], rule: Rule) -> float:
    """How many pairs a rule's judge cannot tell apart, although their optimal actions differ."""
    found = 0
    for pair in pairs:
        sets = [np.asarray(hard_values(mdp).optimal) for mdp in pair.mdps]
        found += bool((sets[0] != sets[1]).any() and difference(pair, rule) <= TIE)
    return float(found)


def _corridor(step_reward: float) -> MDP:
    """Four places in a row: stay or move on; 10 more for reaching the end. It ends after 15 steps."""
    places, horizon = 4, 15
    last = places * horizon
    transition = np.zeros((last + 1, 2, last + 1))
    reward = np.zeros((last + 1, 2))
    for h in range(horizon):
        for place in range(places):
            state = h * places + place
            for go in range(2):
                arrived = place + go == places
                following = last if arrived or h == horizon - 1 else (h + 1) * places + place + go
                transition[state, go, following] = 1
                reward[state, go] = step_reward + 10 * arrived
    terminal = np.arange(last + 1) == last
    return make_mdp(transition, reward, terminal=terminal, discount=1.0, beta=0.0)


def _gamble(lose: float) -> MDP:
    """A sure 1/2, or by a fair coin 3 or ``lose``; states: choice, safe, won, lost, end."""
    transition = np.zeros((5, 2, 5))
    transition[0, 0, 1] = 1
    transition[0, 1, [2, 3]] = 0.5
    transition[1:, :, 4] = 1
    reward = np.array([[0, 0], [0.5, 0.5], [3, 3], [lose, lose], [0, 0]])
    return make_mdp(transition, reward, terminal=np.arange(5) == 4, discount=1.0, beta=0.0)


def _wait(discount: float) -> MDP:
    """1 at once, or 1.6 a step later; states: choice, later, end."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 2] = transition[0, 1, 1] = 1
    transition[1:, :, 2] = 1
    reward = np.array([[1, 0], [1.6, 1.6], [0, 0]])
    return make_mdp(transition, reward, terminal=np.arange(3) == 2, discount=discount, beta=0.0)


def _shifted(effort: Effort) -> list[Pair]:
    shifts = effort.pick((1.5, 3.0), (1.2, 1.5, 2.0, 3.0, 5.0))
    return [Pair((_corridor(-1.0), _corridor(-1.0 + c)), 3, False, False) for c in shifts]


def _gambles(effort: Effort) -> list[Pair]:
    return [
        Pair((_gamble(-1.0), _gamble(lose)), 2, True, True) for lose in effort.pick((-9.0,), (-3, -9, -90))
    ]


def _waits(effort: Effort) -> list[Pair]:
    return [Pair((_wait(0.5), _wait(g)), 1, False, True) for g in effort.pick((0.95,), (0.7, 0.95, 1.0))]


def _counterexample(effort: Effort, pairs: Callable[[Effort], list[Pair]]) -> Outcome:
    tried = pairs(effort)
    found = counterexamples(tried, _return)
    # a judge by regret tells these apart; where it cannot, as between shaped copies, optima must be equal
    phi = jnp.asarray(effort.rng("regret_model.partial_return").normal(size=tried[0].mdps[0].num_states))
    copies = [pair._replace(mdps=(pair.mdps[0], shaped(pair.mdps[0], phi))) for pair in tried]
    control = counterexamples([*tried, *copies], _regret)
    shown = {
        "regret_difference": min(difference(pair, _regret) for pair in tried),
        "shaped_regret_difference": max(difference(pair, _regret) for pair in copies),
        "return_difference_with_ends": min(difference(pair._replace(ended=True), _return) for pair in tried),
    }
    witness = {"rewards": [np.unique(mdp.reward).tolist() for mdp in tried[0].mdps]}
    return Outcome(
        len(tried), found / len(tried), "the same of preferences by regret", control, 0.0, witness, shown
    )


_row = functools.partial(check_of, kind="identity", source=PAPER)
PLAIN = "finite MDP, β = 0"
SAME = "equal preferences by partial return on all pairs of segments imply equal optimal actions"
CHECKS: tuple[Check, ...] = (
    _row(
        "regret_model.end_state",
        "V*(s_0) - Σ_t<k discount^t r_t - discount^k V*(s_k) = -Σ_t discount^t A*(s_t, a_t) >= 0",
        PLAIN + ", certain moves",
        _end_state,
    ),
    _row(
        "regret_model.end_state.stochastic",
        "the same along every segment of an MDP whose moves are not certain",
        PLAIN,
        _end_state_stochastic,
        refuted=True,
    ),
    _row(
        "regret_model.optimal_set",
        "the steps that a sure judge by regret ranks first are exactly the optimal (s, a), ties included",
        PLAIN + ", segments of one step",
        _optimal_set,
        kind="lemma",
    ),
    _row(
        "regret_model.only_the_order",
        "any A' = -g(-A*), g increasing, g(0) = 0, and any V' belong to a reward with that order and optimum",
        PLAIN + ", segments of one step; g(x) = x³ + 0.3 x",
        _not_the_reward,
        kind="lemma",
    ),
    _row(
        "regret_model.logistic_identifies_advantage",
        "the log-odds of a segment without regret against a step (s, a) are -A*(s, a)",
        PLAIN + ", logistic labels by regret",
        _logistic,
    ),
    *(
        _row(
            f"regret_model.partial_return.{name}",
            SAME,
            assumptions,
            functools.partial(_counterexample, pairs=pairs),
            kind="separation",
            refuted=True,
        )
        for name, pairs, assumptions in (
            (
                "constant",
                _shifted,
                "logistic labels; segments of one length that do not meet the end, r against r + c",
            ),
            ("risk", _gambles, "sure labels; moves by chance"),
            ("discount", _waits, "logistic labels; segments of one step, two discounts"),
        )
    ),
)
