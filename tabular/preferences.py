"""From a file of preferences to a validated game table.

Everything here is NumPy in float64: a wrong matrix must be refused before anything is compiled, because a
solver given one returns a plausible wrong answer, not an error.
"""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nlhf.errors import InputError
from tabular.readers import read_table
from tabular.readers.cells import MAXIMUM_COUNT
from tabular.readers.reference import load_reference
from tabular.readers.table import MINIMUM_ACTIONS, Table, clean_names, shown, shown_path

__all__ = [
    "COMPLEMENT_TOLERANCE",
    "JEFFREYS_PRIOR",
    "PreferenceTable",
    "counts_to_preference",
    "load_preferences",
    "load_reference",
    "validate_preference",
]

# Beta(1/2, 1/2), the Jeffreys prior of a proportion: it keeps preferences off 0 and 1, where one more
# observation would be infinitely surprising, and moves them less than Laplace's Beta(1, 1).
JEFFREYS_PRIOR = 0.5
COMPLEMENT_TOLERANCE = 1e-9
FLOAT32_COMPLEMENT_TOLERANCE = 1e-6


class PreferenceTable(NamedTuple):
    """A symmetric game between named actions.

    Attributes:
      names: the A actions.
      preference: ``[A, A]`` float64, the probability that the row is preferred to the column;
        ``preference + preference.T`` is 1 within 1e-9 and the diagonal 1/2.
      counts: ``[A, A]`` float64 wins of the row over the column, a tie half a win to each, diagonal 0; None
        where the file holds probabilities only.
      completeness: the share of unordered pairs with at least one observation; 1.0 without counts.
    """

    names: tuple[str, ...]
    preference: np.ndarray
    counts: np.ndarray | None
    completeness: float


def load_preferences(
    path: str | os.PathLike[str], prior: float = JEFFREYS_PRIOR, names: Sequence[str] | None = None
) -> PreferenceTable:
    """Load a game from a file of preferences.

    What a user would get wrong: ``prior`` acts on counts only. A file that holds probabilities is taken as
    written, so a pair without observations must already be 1/2 in it; and an ``.npz`` file with both a matrix
    ``P`` and counts ``wins``, ``games`` keeps its matrix.

    Args:
      path: square CSV, ``.npy`` or ``.npz`` of probabilities or counts, PrefLib rankings or graph, or single
        comparisons in CSV or JSONL; see ``tabular.readers``.
      prior: observations of each outcome added to each pair, >= 0; see ``counts_to_preference``.
      names: the actions in the order wanted. The file's names must be the same; single comparisons may leave
        some out. A file without names takes them as they are; without both, actions are called "0", "1", ...

    Returns:
      The validated table.

    Raises:
      InputError: if the file, the prior or the names break a rule; one line with the place and the remedy.
    """
    prior = _checked_prior(prior)
    wanted = None if names is None else clean_names(names, "the names of the actions")
    table = read_table(path, wanted)
    if wanted is not None:
        table = _arranged(table, wanted, shown_path(path))
    counts, preference = table.counts, table.preference
    array = preference if preference is not None else counts
    assert array is not None  # every reader returns one of them
    labels = table.names or tuple(str(action) for action in range(len(array)))
    try:
        if counts is not None and counts.shape != array.shape:
            raise InputError(f"the matrix has the shape {array.shape}, but the counts {counts.shape}")
        if preference is None:
            if not array.any():
                raise InputError("every count is 0, so nothing was observed; give counts above 0")
            preference = counts_to_preference(array, prior)
        preference, deviation = _validated(preference, labels)
    except InputError as error:
        raise InputError(f"{shown_path(path)}: {error}") from None
    if deviation > COMPLEMENT_TOLERANCE:
        warnings.warn(f"{shown_path(path)}: {_symmetrised(deviation)}", UserWarning, stacklevel=2)
    return PreferenceTable(labels, preference, counts, 1.0 if counts is None else _completeness(counts))


def counts_to_preference(wins: np.ndarray, prior: float = JEFFREYS_PRIOR) -> np.ndarray:
    """Estimate preferences from counts, by the posterior mean under a symmetric Beta prior.

    ``P[i, j] = (wins[i, j] + prior) / (wins[i, j] + wins[j, i] + 2 prior)``; 1/2 on the diagonal, and, with
    a prior of 0, for a pair without observations.

    Args:
      wins: ``[A, A]`` wins of the row over the column, a tie half a win to each; entries in [0, 2**53],
        diagonal 0.
      prior: the parameter of Beta(prior, prior), >= 0: 1/2 is Jeffreys's (the default), 1 Laplace's, 0 the
        observed frequency.

    Returns:
      ``[A, A]`` float64, complementary to rounding.

    Raises:
      InputError: if ``wins`` is not a square table of counts or ``prior`` is negative or not finite.

    >>> counts_to_preference(np.array([[0, 3], [1, 0]]), prior=0.5)
    array([[0.5, 0.7],
           [0.3, 0.5]])
    """
    prior = _checked_prior(prior)
    wins = _real_square(wins)
    holds = (wins >= 0) & (wins <= MAXIMUM_COUNT)  # NaN fails both
    if not holds.all():
        row, column = _first(~holds)
        raise InputError(
            f"count [{row}, {column}] is {wins[row, column]}, but a number of observations is in [0, 2**53]"
        )
    if np.diagonal(wins).any():
        row = int(np.flatnonzero(np.diagonal(wins))[0])
        raise InputError(
            f"count [{row}, {row}] is {wins[row, row]}, but nothing wins against itself; set it to 0"
        )
    total = wins + wins.T + 2 * prior
    observed = total > 0
    preference = np.where(observed, (wins + prior) / np.where(observed, total, 1.0), 0.5)
    np.fill_diagonal(preference, 0.5)
    return preference


def validate_preference(matrix: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
    """Check that a matrix is a preference matrix, ``P + P^T = 1`` with entries in [0, 1].

    A matrix within 1e-9 of complementary is returned with its values as they are. Up to 1e-6, as from
    float32, it is symmetrised to ``(P + 1 - P^T) / 2`` with a ``UserWarning``. Beyond, it is refused: made
    complementary, it would be another game.

    Args:
      matrix: ``[A, A]`` real numbers, A >= 2.
      names: the A actions, for the message; may be None.

    Returns:
      A float64 copy.

    Raises:
      InputError: naming the worst entry, if the matrix is not square, not finite, out of [0, 1], or not
        complementary within 1e-6 (on the diagonal: not 1/2).

    >>> validate_preference(np.array([[0.5, 0.9], [0.9, 0.5]]), ["a", "b"])
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: entries [0, 1] ('a' over 'b') = 0.9 and [1, 0] = 0.9 sum to 1.8, not 1; ...
    """
    preference, deviation = _validated(matrix, names)
    if deviation > COMPLEMENT_TOLERANCE:
        warnings.warn(_symmetrised(deviation), UserWarning, stacklevel=2)
    return preference


def _validated(matrix: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, float]:
    """Return the checked matrix, and how far it was from complementary before it was symmetrised."""
    preference = _real_square(matrix)
    if names is not None and len(names) != len(preference):
        raise InputError(f"{len(names)} names for a matrix of {len(preference)} actions; give one name each")
    if not np.isfinite(preference).all():
        row, column = _first(~np.isfinite(preference))
        raise InputError(
            f"entry {_entry(row, column, names)} is {preference[row, column]}, but a probability is finite; "
            "use 1/2 for a pair without observations"
        )
    distance = np.maximum(-preference, preference - 1)
    if distance.max() > 0:
        row, column = _worst(distance)
        raise InputError(
            f"entry {_entry(row, column, names)} is {preference[row, column]}, but a probability lies in "
            "[0, 1]; divide counts by totals"
        )
    total = preference + preference.T
    deviation = np.abs(total - 1)
    worst = float(deviation.max())
    if worst > FLOAT32_COMPLEMENT_TOLERANCE:
        row, column = _worst(deviation)
        raise InputError(_not_complementary(preference, row, column, names))
    if worst > COMPLEMENT_TOLERANCE:
        preference = (preference + (1 - preference.T)) / 2
    return preference, worst


def _symmetrised(deviation: float) -> str:
    return (
        f"P + P^T differs from 1 by up to {deviation:.1e}, as after float32; it was symmetrised to "
        "(P + 1 - P^T) / 2"
    )


def _not_complementary(preference: np.ndarray, row: int, column: int, names: Sequence[str] | None) -> str:
    entry, value = _entry(row, column, names), preference[row, column]
    if row == column:
        return f"diagonal entry {entry} is {value}, but an action against itself is 1/2"
    mirror = preference[column, row]
    return (
        f"entries {entry} = {value} and [{column}, {row}] = {mirror} sum to {value + mirror}, not 1; "
        "give P + P^T = 1 (rounded tables: set each entry below the diagonal to 1 minus the one above)"
    )


def _arranged(table: Table, wanted: tuple[str, ...], path: str) -> Table:
    """Put a table into the order of the names wanted."""
    if table.names is None:
        return table._replace(names=wanted)
    position = {name: index for index, name in enumerate(table.names)}
    for names, others, fault in (
        (table.names, frozenset(wanted), "is in the file, but not among the names given"),
        (wanted, frozenset(table.names), "is among the names given, but not in the file"),
    ):
        for name in names:
            if name not in others:
                raise InputError(f"{path}: {shown(name)} {fault}; both need the same names")
    order = np.array([position[name] for name in wanted])
    arrays = (None if array is None else array[np.ix_(order, order)] for array in table[1:])
    return Table(wanted, *arrays)


def _completeness(counts: np.ndarray) -> float:
    above = np.triu_indices(len(counts), 1)
    return float(np.mean((counts + counts.T)[above] > 0))


def _checked_prior(prior: float) -> float:
    if isinstance(prior, bool) or not isinstance(prior, numbers.Real) or not 0 <= prior <= MAXIMUM_COUNT:
        raise InputError(f"prior is {shown(prior)}, but it is a finite number of observations >= 0, e.g. 0.5")
    return float(prior)


def _real_square(matrix: np.ndarray) -> np.ndarray:
    try:
        array = np.asarray(matrix)
    except ValueError:
        raise InputError("the rows differ in length; give a square matrix, [A, A]") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"the matrix has the type {array.dtype}; give real numbers")
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise InputError(f"the matrix has the shape {array.shape}; give a square one, [A, A]")
    if len(array) < MINIMUM_ACTIONS:
        raise InputError(f"the matrix has {len(array)} actions; a game needs at least {MINIMUM_ACTIONS}")
    with np.errstate(all="ignore"):  # what does not fit becomes infinite, and is refused as such
        return array.astype(np.float64)


def _entry(row: int, column: int, names: Sequence[str] | None) -> str:
    place = f"[{row}, {column}]"
    return place if names is None else f"{place} ({shown(names[row])} over {shown(names[column])})"


def _first(mask: np.ndarray) -> tuple[int, int]:
    row, column = np.argwhere(mask)[0]
    return int(row), int(column)


def _worst(distance: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(int(np.argmax(distance)), distance.shape)
    return int(row), int(column)
