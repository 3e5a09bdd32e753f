"""Fit both models to people, hold others out, and say what was predicted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tabular.people import general_preference as models
from tabular.people.data_sets import Votes
from tabular.people.general_preference import Blocks
from tabular.people.text_features import TextTable, text_features, text_table
from tabular.people.vote_cells import Cells, Counts, cells_of, count, locate

GRID = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # prior standard deviations, in logits
START = 1.0  # of the shared scores, until they are chosen
INNER = 3  # folds of the training part; 2 where a stratum has no more units
TOPICS = 8


class Problem(NamedTuple):
    """Votes, counted by pair."""

    votes: Votes
    cells: Cells  # every pair of answers that some prompt has
    place: np.ndarray  # ``[N]`` the cell of each vote
    forward: np.ndarray  # ``[N]`` whether the vote's first answer is the cell's
    texts: TextTable | None  # the answers as numbers, where they are texts

    def tally(self, rows: np.ndarray) -> Counts:
        """Count some of the votes by cell."""
        return count(self.place[rows], self.forward[rows], self.votes.label[rows], len(self.cells.prompt))

    def of_votes(self, logit: np.ndarray) -> np.ndarray:
        """Return logits ``[N]`` that the first answer of each vote wins, from those of cells ``[M]``."""
        return np.where(self.forward, 1.0, -1.0) * logit[self.place]


class Table(NamedTuple):
    """Both models' logits, and the votes they were not fitted to."""

    bradley_terry: np.ndarray  # ``[M]``
    general: np.ndarray  # ``[M]``
    held_out: np.ndarray  # ``[N]`` booleans


class Prediction(NamedTuple):
    """What one deal of the units into folds gives."""

    # ``[N]`` logit that the first answer wins, by the model fitted without the vote's unit
    bradley_terry: np.ndarray
    general: np.ndarray  # ``[N]`` likewise
    tables: list[Table]  # one a fold; one in all where prompts are held out, for then no prompt has two
    # ``[folds, blocks]`` prior standard deviations chosen for the general model, scores first
    scales: np.ndarray
    parameters: tuple[int, int]  # of both models in the first fold, the blocks that were left out not counted
    freedom: tuple[float, float]  # effective degrees of freedom of both, likewise


def prepare(votes: Votes) -> Problem:
    """List the pairs of answers and find the pair of each vote."""
    cells = cells_of(votes.prompt, votes.first, votes.second)
    place, forward = locate(cells, votes.prompt, votes.first, votes.second)
    texts = None
    if votes.questions is not None:
        question = np.zeros(len(votes.answers), int)
        for answers in (votes.first, votes.second):
            question[answers] = votes.prompt
        texts = text_table(votes.answers, votes.questions, question)
    return Problem(votes, cells, place, forward, texts)


def deal(votes: Votes, rows: np.ndarray, num_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal units to folds, evenly within each stratum.

    Args:
      rows: ``[N]`` booleans, the votes whose units are dealt.
      num_folds: K, or the number of units in the smallest stratum if that is less.

    Returns:
      ``[N]`` folds, -1 for other votes.
    """
    units, which = np.unique(votes.unit[rows], return_inverse=True)
    stratum = np.zeros(len(units), int)
    stratum[which] = votes.stratum[rows]
    smallest = np.unique(stratum, return_counts=True)[1].min()
    order = rng.permutation(len(units))
    order = order[np.argsort(stratum[order], kind="stable")]  # the strata one after the other, each shuffled
    start = np.searchsorted(stratum[order], stratum[order])
    fold = np.empty(len(units), int)
    fold[order] = (np.arange(len(units)) - start) % min(num_folds, smallest)
    dealt = np.full(len(rows), -1)
    dealt[rows] = fold[which]
    return dealt


def predict(
    problem: Problem, num_folds: int, rng: np.random.Generator, with_freedom: bool = False
) -> Prediction:
    """Hold each fold out once; the prior of every block is chosen by cross-validation inside the others.

    Args:
      with_freedom: whether to count degrees of freedom, which takes longer than the fits; else they are NaN.
    """
    votes = problem.votes
    outer = deal(votes, np.ones(len(votes.label), bool), num_folds, rng)
    held = {"bradley_terry": np.zeros(len(outer)), "general": np.zeros(len(outer))}
    tables, scales = [], []
    sizes, freedom = [0, 0], [np.nan, np.nan]
    for fold in range(outer.max() + 1):
        test, train = outer == fold, outer != fold
        blocks = _blocks(problem, train)
        columns = (*blocks.score, *blocks.skew)
        inner = deal(votes, train, INNER, rng)
        parts = [problem.tally(inner == part) for part in range(inner.max() + 1)]
        counts = Counts(np.stack([part.total for part in parts]), np.stack([part.wins for part in parts]))
        base, general = choose(blocks, counts)
        seen = problem.tally(train)
        fits = [models.fit(columns, chosen, seen) for chosen in (base, general)]
        for name, fitted in zip(held, fits, strict=True):
            held[name][test] = problem.of_votes(fitted.logit)[test]
        tables.append(Table(fits[0].logit, fits[1].logit, test))
        scales.append(general)
        if fold == 0 and with_freedom:
            sizes = [models.num_parameters(columns, fitted, seen) for fitted in fits]
            freedom = [models.degrees_of_freedom(columns, fitted, seen) for fitted in fits]
    if np.array_equal(votes.unit, votes.prompt):
        tables = [_merged(problem, tables)]
    return Prediction(
        held["bradley_terry"],
        held["general"],
        tables,
        np.array(scales),
        (sizes[0], sizes[1]),
        (freedom[0], freedom[1]),
    )


def refit(problem: Problem, scales: Sequence[float]) -> np.ndarray:
    """Return the logits ``[M]`` of Bradley-Terry fitted to all votes, at the given scales of its blocks."""
    everybody = np.ones(len(problem.votes.label), bool)
    columns = _blocks(problem, everybody).score
    return models.fit(columns, scales[: len(columns)], problem.tally(everybody)).logit


def choose(blocks: Blocks, folds: Counts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Choose the prior standard deviations of Bradley-Terry, then what the general model adds to it.

    Args:
      folds: ``[K, M]`` votes of each fold.

    Returns:
      One scale a block, for Bradley-Terry (0 for the skew blocks) and for the general model.
    """
    columns = (*blocks.score, *blocks.skew)
    scores = range(len(blocks.score))
    start = (START,) + (0.0,) * (len(columns) - 1)
    base = models.select(columns, start, scores, GRID, folds)
    return base, models.select(columns, base, range(len(scores), len(columns)), GRID, folds)


def _blocks(problem: Problem, train: np.ndarray) -> Blocks:
    if problem.texts is None:
        return models.table_blocks(problem.cells)
    known = np.zeros(len(problem.texts.surface), bool)
    known[problem.votes.first[train]] = known[problem.votes.second[train]] = True
    return models.feature_blocks(problem.cells, text_features(problem.texts, known, TOPICS))


def _merged(problem: Problem, tables: list[Table]) -> Table:
    """Take every prompt from the one fold in which it was held out."""
    bradley_terry, general = np.zeros(len(problem.cells.prompt)), np.zeros(len(problem.cells.prompt))
    for table in tables:
        own = np.isin(problem.cells.prompt, problem.votes.prompt[table.held_out])
        bradley_terry[own], general[own] = table.bradley_terry[own], table.general[own]
    return Table(bradley_terry, general, np.ones(len(problem.votes.label), bool))
