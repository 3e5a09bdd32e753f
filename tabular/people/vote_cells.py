"""Votes between answers to prompts, counted by pair of answers, and laid out as one table a prompt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nlhf.errors import InputError


class Cells(NamedTuple):
    """Every unordered pair of answers of every prompt, the unit in which votes are counted.

    Attributes:
      prompt: ``[M]`` prompts.
      first: ``[M]`` the answer with the lower number.
      second: ``[M]`` the other one.
    """

    prompt: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Counts(NamedTuple):
    """Votes in each cell.

    Attributes:
      total: ``[M]`` or ``[K, M]`` number of votes.
      wins: likewise, votes for the first answer; a tie is half a vote.
    """

    total: np.ndarray
    wins: np.ndarray


class Places(NamedTuple):
    """Where the answers of a prompt stand in its table.

    Attributes:
      present: ``[X, A]`` booleans, False beyond the last answer of a prompt that has fewer than A.
      first: ``[M]`` row of each cell's first answer.
      second: ``[M]`` of its second.
    """

    present: np.ndarray
    first: np.ndarray
    second: np.ndarray


def cells_of(prompt: np.ndarray, first: np.ndarray, second: np.ndarray) -> Cells:
    """List every pair of answers that occur in votes under the same prompt.

    Args:
      prompt: ``[N]`` prompts of the votes.
      first: ``[N]`` one answer.
      second: ``[N]`` another one.

    Raises:
      InputError: if there are no votes, or one compares an answer with itself.
    """
    if not len(prompt):
        raise InputError("there are no votes to list pairs of; give at least one")
    if (first == second).any():
        row = int(np.flatnonzero(first == second)[0])
        raise InputError(f"vote {row} compares answer {first[row]} with itself; give two different answers")
    shown = np.unique(np.stack([np.tile(prompt, 2), np.concatenate([first, second])], 1), axis=0)
    parts = []
    for group in np.split(shown, np.flatnonzero(np.diff(shown[:, 0])) + 1):
        low, high = np.triu_indices(len(group), 1)
        parts.append(np.stack([group[low, 0], group[low, 1], group[high, 1]]))
    return Cells(*np.concatenate(parts, 1))


def locate(
    cells: Cells, prompt: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell ``[N]`` of each vote, and ``[N]`` booleans: whether its first answer is the cell's.

    Raises:
      InputError: if a vote has no cell.
    """
    size = int(max(cells.second.max(), first.max(), second.max())) + 1
    keys = (cells.prompt * size + cells.first) * size + cells.second
    wanted = (prompt * size + np.minimum(first, second)) * size + np.maximum(first, second)
    order = np.argsort(keys)
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    if (keys[place] != wanted).any():
        row = int(np.flatnonzero(keys[place] != wanted)[0])
        raise InputError(f"vote {row} is about a pair that has no cell; list the cells of all votes")
    return place, first < second


def count(place: np.ndarray, forward: np.ndarray, label: np.ndarray, num_cells: int) -> Counts:
    """Count votes by cell.

    Args:
      place: ``[N]`` cells, as ``locate`` returns them.
      forward: ``[N]`` likewise.
      label: ``[N]`` 1 where the vote's first answer was preferred, 0 its second, 1/2 neither.
      num_cells: M.
    """
    wins = np.where(forward, label, 1 - label)
    return Counts(np.bincount(place, minlength=num_cells) * 1.0, np.bincount(place, wins, num_cells))


def places(cells: Cells) -> Places:
    """Number the answers of each prompt from 0; prompts are 0, 1, ..., X - 1."""
    keys = cells.prompt * (int(cells.second.max()) + 1)
    shown = np.unique(np.concatenate([keys + cells.first, keys + cells.second]))
    prompt = shown // (int(cells.second.max()) + 1)
    rank = np.arange(len(shown)) - np.searchsorted(prompt, prompt)
    present = np.arange(rank.max() + 1) < np.bincount(prompt)[:, None]
    return Places(
        present,
        rank[np.searchsorted(shown, keys + cells.first)],
        rank[np.searchsorted(shown, keys + cells.second)],
    )


def tables(cells: Cells, where: Places, logit: np.ndarray) -> np.ndarray:
    """Lay logits ``[M]`` out as one skew table a prompt, ``[X, A, A]``, 0 where there is no answer."""
    table = np.zeros((*where.present.shape, where.present.shape[1]))
    table[cells.prompt, where.first, where.second] = logit
    table[cells.prompt, where.second, where.first] = -logit
    return table
