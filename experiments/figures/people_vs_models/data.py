"""What ``people-vs-models`` is run on: votes in a folder, made-up people, and transitive twins of both."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from nlhf.errors import InputError
from tabular.game_statistics import statistics
from tabular.people import data_sets as human_data
from tabular.people.data_sets import Votes
from tabular.people.vote_cells import Cells
from tabular.preferences import counts_to_preference

PEOPLE, PROMPTS, ANSWERS, VOTES_EACH = 80, 10, 9, 60  # of the made-up populations
TIES = 0.15
TURN = 1.5  # logits


class Source(NamedTuple):
    """A data set."""

    path: str  # below the folder of data
    read: Callable[[pathlib.Path], Votes]
    origin: str  # where anyone gets it
    folds: int  # how many parts of its units are held out in turn


SOURCES = (
    Source(
        "hanna/ratings.npz",
        functools.partial(human_data.read_hanna, without=("Human",)),
        "repository dig-team/hanna-benchmark-asg",
        3,
    ),
    Source("llmfao/crowd_comparisons.csv.gz", human_data.read_llmfao, "hub id dustalov/llmfao", 5),
    Source(
        "qa_feedback/qa_feedback.jsonl.gz",
        human_data.read_qa_feedback,
        "repository allenai/FineGrainedRLHF",
        5,
    ),
    Source("hh_harmless/pairs.jsonl.gz", human_data.read_hh, "hub id Anthropic/hh-rlhf (harmless-base)", 5),
)


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Votes and how to split them."""

    votes: Votes
    folds: int
    real: bool  # False for people that were made up


def load(folder: str) -> tuple[list[Loaded], list[str]]:
    """Read what is in a folder.

    Returns:
      The data sets found, in the order of ``SOURCES``, and a line about each that is missing.

    Raises:
      InputError: if there is none, or one is broken.
    """
    base = pathlib.Path(folder)
    found, notes = [], []
    for source in SOURCES:
        if (base / source.path).exists():
            found.append(Loaded(source.read(base / source.path), source.folds, True))
        else:
            notes.append(f"{source.path} is not there and was left out; its origin: {source.origin}")
    if not found:
        wanted = "; ".join(f"{source.path} (from {source.origin})" for source in SOURCES)
        raise InputError(f"{folder}: holds none of the files of human votes; put one or more there: {wanted}")
    return found, notes


def population(cyclic: bool, rng: np.random.Generator) -> Loaded:
    """Make up people whose population is known: Bradley-Terry, or Bradley-Terry and a game of three styles.

    ``logit P(a ≻ b | x) = r_x(a) - r_x(b) + TURN (1 if the style of a beats that of b, -1 if it loses)``
    where each answer has one of three styles, rock, paper and scissors, and r is normal; without the turn it
    is Bradley-Terry. 15 % of the votes, whatever the pair, are ties.

    Args:
      cyclic: whether there is a turn.
    """
    score = rng.normal(0, 0.5, ANSWERS) + rng.normal(0, 0.3, (PROMPTS, ANSWERS))
    style = np.arange(ANSWERS) % 3
    low, high = np.triu_indices(ANSWERS, 1)
    person = np.repeat(np.arange(PEOPLE), VOTES_EACH)
    prompt = rng.integers(PROMPTS, size=len(person))
    pair = rng.integers(len(low), size=len(person))
    first, second = low[pair], high[pair]
    logit = score[prompt, first] - score[prompt, second]
    if cyclic:
        ahead = (style[first] - style[second]) % 3
        logit = logit + TURN * np.select([ahead == 1, ahead == 2], [1.0, -1.0], 0.0)
    label = np.where(rng.random(len(person)) < TIES, 0.5, 1.0 * (rng.random(len(person)) < expit(logit)))
    name = f"made-up, {'cyclic' if cyclic else 'transitive'}"
    none = np.zeros(len(person), int)
    names = tuple(f"answer {answer}" for answer in range(ANSWERS))
    return Loaded(Votes(name, prompt, first, second, label, person, person, none, person, names), 5, False)


class Twin(NamedTuple):
    """Transitive people who resemble real ones."""

    factor: float  # of the scores of the fitted Bradley-Terry model, so that its ties fit as well
    threshold: float  # two answers within it of each other are tied, in logits


def fit_twin(logit: np.ndarray, label: np.ndarray) -> Twin:
    """Fit ``P(first wins) = σ(c f - τ)``, ``P(second wins) = σ(-c f - τ)``, else a tie, to votes.

    Args:
      logit: ``[N]`` f of a fitted Bradley-Terry model, one a vote.
      label: ``[N]`` the votes.

    Reference: the model of ties of Rao and Kupper, 1967.
    """

    def loss(parameters: np.ndarray) -> float:
        factor, threshold = np.exp(parameters)
        won, lost = expit(factor * logit - threshold), expit(-factor * logit - threshold)
        chance = np.select([label == 1, label == 0], [won, lost], 1 - won - lost)
        return -float(np.sum(np.log(np.maximum(chance, 1e-300))))

    if not (label == 0.5).any():
        return Twin(1.0, 0.0)
    found = minimize(loss, np.log([1.0, 0.3]), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-4})
    return Twin(*(float(value) for value in np.exp(found.x)))


def draw_twin(votes: Votes, logit: np.ndarray, twin: Twin, rng: np.random.Generator) -> Votes:
    """Let transitive people vote on the same pairs.

    A voter has one opinion of each answer to a prompt, its score plus a Gumbel variable, so that between two
    answers the difference of the variables is logistic: the population is Bradley-Terry with ties, and every
    single voter ranks.

    Args:
      logit: ``[N]`` f of the fitted Bradley-Terry model.
      twin: as ``fit_twin`` returns it.
    """
    size = int(max(votes.first.max(), votes.second.max())) + 1
    topic = votes.voter * votes.num_prompts + votes.prompt
    keys = np.concatenate([topic * size + votes.first, topic * size + votes.second])
    _, opinion = np.unique(keys, return_inverse=True)
    noise = rng.gumbel(size=int(opinion.max()) + 1)[opinion]
    first, second = np.split(noise, 2)
    margin = twin.factor * logit + first - second
    label = np.where(np.abs(margin) <= twin.threshold, 0.5, 1.0 * (margin > 0))
    return votes._replace(name=f"{votes.name}, transitive twin", label=label)


class Cycles(NamedTuple):
    """Cyclic triples of strict majorities."""

    triples: int  # triples of answers to one prompt all three pairs of which have a strict majority
    cyclic: int  # those that are cycles
    groups: int  # prompts with such a cycle; over all prompts, 0 or 1

    @property
    def share(self) -> float:
        """Quotient of the two, NaN without triples; coins give 1/4."""
        return self.cyclic / self.triples if self.triples else float("nan")


def cycles(cells: Cells, total: np.ndarray, wins: np.ndarray, by_prompt: bool) -> Cycles:
    """Count cyclic triples in the majorities of votes, prompt by prompt or over all prompts.

    Args:
      total: ``[M]`` votes in each.
      wins: ``[M]`` votes for the first answer, a tie half a vote.
      by_prompt: whether a majority is one of the votes on one prompt.
    """
    groups = [cells.prompt == prompt for prompt in np.unique(cells.prompt)] if by_prompt else [total >= 0]
    triples = cyclic = with_cycle = 0
    for group in groups:
        answers, number = np.unique(
            np.concatenate([cells.first[group], cells.second[group]]), return_inverse=True
        )
        if len(answers) < 3:
            continue
        first, second = np.split(number, 2)
        table = np.zeros((len(answers), len(answers)))
        np.add.at(table, (first, second), wins[group])
        np.add.at(table, (second, first), total[group] - wins[group])
        facts = statistics(counts_to_preference(table, prior=0.0))
        triples += facts.strict_triples
        cyclic += facts.intransitive_triples
        with_cycle += facts.intransitive_triples > 0
    return Cycles(triples, cyclic, with_cycle)
