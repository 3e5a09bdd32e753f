"""What preferences by partial return do not identify: pairs of MDPs that they cannot tell apart.

A judge by partial return (``Σ_t r_t``) shows the order of the scores of segments, with ties, or with logistic
noise their differences. Two MDPs with the same preferences and other optimal actions are a counterexample to
what such preferences could identify. Every segment of a few steps is enumerated.
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
from proofs_checks.rows import Check, Effort, Outcome
from tabular.mdps.mdp import MDP, make_mdp, shaped
from tabular.mdps.segments import Rule, hard_regret, partial_return
from tabular.mdps.values import hard_values

TIE = 1e-9

_regret = jax.jit(hard_regret)
_return = jax.jit(Partial(partial_return, discount=1.0))


def all_segments(mdp: MDP, length: int, ended: bool) -> Segments:
    """Every segment of an MDP that can happen.

    Args:
      mdp: a small one.
      length: T.
      ended: whether segments that meet a terminal state are listed too.
    """
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
    """Two MDPs and a judge.

    Attributes:
      mdps: the two.
      length: of the segments compared.
      sure: whether the judge shows the order only, else the differences.
      ended: whether segments that meet a terminal state are compared too.
    """

    mdps: tuple[MDP, MDP]
    length: int
    sure: bool
    ended: bool


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
    """Four places in a row: stay or go on; 10 more for reaching the end. Over after 15 steps, by layers."""
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


def _check(name: str, judge: Callable[[Effort], list[Pair]], assumptions: str) -> Check:
    return Check(
        f"regret_model.partial_return.{name}",
        "regret_model",
        "separation",
        "arXiv:2206.02231; proof ours",
        "derived",
        SAME,
        assumptions,
        functools.partial(_counterexample, pairs=judge),
        refuted=True,
    )


SAME = "equal preferences by partial return on all pairs of segments imply equal optimal actions"
CHECKS: tuple[Check, ...] = (
    _check(
        "constant",
        _shifted,
        "logistic labels; segments of one length that do not meet the end, r against r + c",
    ),
    _check("risk", _gambles, "sure labels; moves by chance"),
    _check("discount", _waits, "logistic labels; segments of one step, two discounts"),
)
