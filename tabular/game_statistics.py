"""How far a game is from a ranking: ties, cycles of three, and the action that beats all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tabular.preferences import COMPLEMENT_TOLERANCE, validate_preference

# A preference counts as strict above 1/2 by more than the tolerance for complementarity: then both sides of a
# pair can never be strict, and a tie computed in floating point (3/6, 0.1 + 0.4) stays a tie.
STRICT_MARGIN = COMPLEMENT_TOLERANCE


class Statistics(NamedTuple):
    """Facts about the strict majorities of a game.

    Attributes:
      actions: A.
      tied_pairs: unordered pairs within 1e-9 of 1/2.
      strict_triples: unordered triples none of whose pairs is tied.
      intransitive_triples: those of them that are cycles, i over j over k over i.
      cyclic_share: their quotient, 0.0 without strict triples. Preferences drawn by fair coins give 1/4.
      condorcet_winner: the action strictly preferred to every other, None if there is none.
    """

    actions: int
    tied_pairs: int
    strict_triples: int
    intransitive_triples: int
    cyclic_share: float
    condorcet_winner: int | None


def statistics(preference: np.ndarray) -> Statistics:
    """Compute the statistics of a game.

    Args:
      preference: ``[A, A]``, a valid preference matrix.

    Returns:
      The statistics.

    Raises:
      InputError: if the matrix is not valid.

    >>> rock_paper_scissors = np.array([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    >>> statistics(rock_paper_scissors).intransitive_triples
    1
    """
    beats = strict_majority(preference)
    actions = len(beats)
    triples, cycles = _strict_triples(beats), _cycles(beats)
    return Statistics(
        actions=actions,
        tied_pairs=actions * (actions - 1) // 2 - int(beats.sum()),
        strict_triples=triples,
        intransitive_triples=cycles,
        cyclic_share=cycles / triples if triples else 0.0,
        condorcet_winner=_winner(beats),
    )


def strict_majority(preference: np.ndarray) -> np.ndarray:
    """Return ``[A, A]`` booleans: whether the row is preferred to the column by more than 1/2 + 1e-9."""
    return validate_preference(preference) > 0.5 + STRICT_MARGIN


def intransitive_triples(preference: np.ndarray) -> int:
    """Count the cycles of three, i over j over k over i, all three preferences above 1/2 + 1e-9.

    Each unordered triple counts once. By matrix products: a tenth of a second at A = 1000.

    Args:
      preference: ``[A, A]``, a valid preference matrix.

    Returns:
      The number of triples, exact.

    Raises:
      InputError: if the matrix is not valid.
    """
    return _cycles(strict_majority(preference))


def strict_triples(preference: np.ndarray) -> int:
    """Count the unordered triples none of whose pairs is tied; arguments as for ``intransitive_triples``."""
    return _strict_triples(strict_majority(preference))


def condorcet_winner(preference: np.ndarray) -> int | None:
    """Return the action strictly preferred to every other, or None; at most one can be.

    Args:
      preference: ``[A, A]``, a valid preference matrix.

    Returns:
      Its row, or None.

    Raises:
      InputError: if the matrix is not valid.
    """
    return _winner(strict_majority(preference))


def _cycles(beats: np.ndarray) -> int:
    return _closed_walks(beats) // 3  # a cycle is met once from each of its three actions


def _strict_triples(beats: np.ndarray) -> int:
    return _closed_walks(beats | beats.T) // 6  # and in both directions


def _closed_walks(edges: np.ndarray) -> int:
    """Return the number of closed walks of three steps, the trace of the cube."""
    # float32 uses the fast product and is exact here: an entry of the square is at most A < 2**24.
    walks = edges.astype(np.float32)
    return int(np.sum(np.where(edges.T, walks @ walks, 0), dtype=np.float64))


def _winner(beats: np.ndarray) -> int | None:
    winners = np.flatnonzero(beats.sum(axis=1) == len(beats) - 1)
    return int(winners[0]) if len(winners) else None
