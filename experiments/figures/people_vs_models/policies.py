"""From a fitted model to its policy, and how people vote between the draws of two policies.

Bradley-Terry gives rewards, and its policy is their KL-regularised optimum, softmax(r / β) from the uniform
reference. The general model gives a preference table, and its policy is the KL-regularised Nash policy at the
same β. Rewards are in logits and preferences in probabilities, whose slope is at most 1/4: at the same β the
optimum is about four times as far from the reference, and wins by that alone. Hence there are two policies
more to compare with: the optimum at the β at which it is as far from the reference as the Nash policy, and
the Nash policy of Bradley-Terry's own preferences, which differs by the model alone.

What a Nash policy is good for is not to lose: so each policy also meets the answer that, by the general model
of the people it was fitted to, beats it best.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_softmax

from experiments.figures.people_vs_models.fit import Problem, Table
from tabular.games import make_game
from tabular.people.vote_cells import Places, tables
from tabular.solution import solve

PAIRS = (
    ("nash", "optimum"),
    ("nash", "matched"),
    ("nash", "bradley_terry_nash"),
    ("nash", "against_nash"),
    ("matched", "against_matched"),
    ("optimum", "against_optimum"),
    ("nash", "reference"),
    ("optimum", "reference"),
)
LOWEST, HIGHEST = 1e-4, 1e4  # KL coefficients between which the matched one is sought


class Policies(NamedTuple):
    """Policies of the models fitted to some people, ``[X, A]`` probabilities."""

    nash: np.ndarray  # KL-regularised Nash policy of the general model
    optimum: np.ndarray  # KL-regularised optimum of the rewards of Bradley-Terry, at the same β
    matched: np.ndarray  # likewise, at the β that gives it the mean KL of ``nash``
    bradley_terry_nash: np.ndarray  # Nash policy of Bradley-Terry's preferences
    against_nash: np.ndarray  # the one answer to each prompt that beats ``nash`` best, by the general model
    against_matched: np.ndarray  # likewise for ``matched``
    against_optimum: np.ndarray  # likewise for ``optimum``
    reference: np.ndarray  # uniform on the answers of the prompt


class Duel(NamedTuple):
    """What held-out votes say about draws from two policies.

    The win rate is ``1/2 + (1 - same) Σ advantage / Σ weight``: draws of the same answer are ties, and the
    others are judged by the votes on their pair, where there are any.
    """

    advantage: np.ndarray  # ``[C]`` of each cluster of votes, probability times votes beyond one half
    weight: np.ndarray  # ``[C]`` probability of the pairs it voted on
    same: float  # probability that both draws are the same answer, averaged over prompts
    # share of the probability of different draws whose pair somebody who was held out voted on
    covered: float


def policies(problem: Problem, where: Places, table: Table, beta: float) -> Policies:
    """Derive the policies of a table of logits.

    Args:
      beta: KL coefficient, > 0.
    """
    present = where.present
    log_ref = np.where(present, -np.log(present.sum(1, keepdims=True)), -np.inf)
    reference = np.exp(log_ref)
    scores = tables(problem.cells, where, table.bradley_terry)
    general = tables(problem.cells, where, table.general)
    # Bradley-Terry's logits are differences, so the mean over opponents is the score, less a constant
    reward = scores.sum(2) / present.sum(1, keepdims=True)

    def nash(logits: np.ndarray) -> np.ndarray:
        return np.exp(solve(make_game(expit(logits), log_ref, beta)).log_policy)

    def optimum(coefficient: float) -> np.ndarray:
        return np.exp(log_softmax(log_ref + reward / coefficient, 1))

    def best_answer(policy: np.ndarray) -> np.ndarray:
        wins = np.einsum("xab,xb->xa", expit(general), policy)
        return 1.0 * (np.arange(wins.shape[1]) == np.where(present, wins, -1.0).argmax(1)[:, None])

    def excess(log_coefficient: float) -> float:
        return divergence(optimum(np.exp(log_coefficient)), reference) - target

    equilibrium = nash(general)
    target = divergence(equilibrium, reference)
    low, high = np.log(LOWEST), np.log(HIGHEST)
    if excess(low) > 0 > excess(high):
        level = brentq(excess, low, high, xtol=1e-6)
    else:  # not even the sharpest policy is that far away, or none is at all
        level = low if excess(low) <= 0 else high
    matched = optimum(np.exp(level))
    return Policies(
        equilibrium,
        optimum(beta),
        matched,
        nash(scores),
        best_answer(equilibrium),
        best_answer(matched),
        best_answer(optimum(beta)),
        reference,
    )


def divergence(policy: np.ndarray, reference: np.ndarray) -> float:
    """Mean over prompts of KL(policy ‖ reference), in nats."""
    ratio = np.divide(policy, reference, out=np.ones_like(policy), where=policy > 0)
    return float(np.mean(np.sum(policy * np.log(ratio), 1)))


def duel(problem: Problem, where: Places, held_out: np.ndarray, one: np.ndarray, other: np.ndarray) -> Duel:
    """Let held-out votes judge draws of two policies.

    Args:
      held_out: ``[N]`` booleans, the votes that count.
      one: ``[X, A]`` policy whose win rate is wanted.
      other: ``[X, A]`` its opponent.
    """
    votes, cells = problem.votes, problem.cells
    first, second = (cells.prompt, where.first), (cells.prompt, where.second)
    forth, back = one[first] * other[second], one[second] * other[first]
    rows = np.flatnonzero(held_out)
    place = problem.place[rows]
    each = 1 / np.bincount(place, minlength=len(forth))[place]  # the votes on a pair share its probability
    label = np.where(problem.forward[rows], votes.label[rows], 1 - votes.label[rows])
    clusters = int(votes.cluster.max()) + 1
    advantage = np.bincount(votes.cluster[rows], (forth - back)[place] * (label - 0.5) * each, clusters)
    weight = np.bincount(votes.cluster[rows], (forth + back)[place] * each, clusters)
    prompts = np.unique(votes.prompt[rows])
    same = float(np.mean((one * other).sum(1)[prompts]))
    different = len(prompts) * (1 - same)
    return Duel(advantage, weight, same, float(weight.sum() / different) if different > 1e-12 else 1.0)


def pooled(duels: list[Duel]) -> Duel:
    """Add up duels over folds and deals."""
    return Duel(
        np.sum([one.advantage for one in duels], 0),
        np.sum([one.weight for one in duels], 0),
        float(np.mean([one.same for one in duels])),
        float(np.mean([one.covered for one in duels])),
    )
