"""Square tables of probabilities in CSV: with row and column names, with column names, or bare numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlhf.errors import InputError
from tabular.readers.cells import probability, split_row, to_number
from tabular.readers.lines import Lines
from tabular.readers.table import Table, check_number_of_actions, clean_name, clean_names, shown

MEND = "divide counts by totals, and use 0.5 for a pair without observations"


def read_matrix(file: str, first: tuple[int, str], lines: Lines, separator: str) -> Table:
    """Read a square table of probabilities, row preferred to column.

    The first row decides the layout: an empty first cell announces row names, which must repeat the column
    names in the same order; a row of numbers is already data, and the actions have no names; anything else
    is a row of column names. (So names that are numbers need the layout with row names.)

    Args:
      file: the name of the file, for messages.

    Returns:
      A table with ``preference`` ``[A, A]``, entries in [0, 1]; complementarity is not checked here.

    Raises:
      InputError: if the table is not square, a cell is not a probability, or the names do not fit.
    """
    number, text = first
    place = f"{file}:{number}"
    cells = split_row(text, separator, place)
    names: tuple[str, ...] | None = None
    named_rows = cells[0] == ""
    rows: list[np.ndarray] = []
    if named_rows:
        names = clean_names(cells[1:], place)
    elif any(to_number(cell) is None for cell in cells):
        if len(cells) == 1:
            raise InputError(
                f"{place}: found one cell {shown(cells[0])}; a table needs a header and a square of numbers, "
                "comparisons need the columns winner,loser or first,second,prefer_first"
            )
        names = clean_names(cells, place)
    else:
        check_number_of_actions(len(cells), place)
        rows.append(_numbers(cells, 0, [str(column) for column in range(len(cells))], place))
    labels = names or tuple(str(column) for column in range(len(cells)))
    actions = len(labels)
    for number, text in lines:
        place = f"{file}:{number}"
        if len(rows) == actions:
            raise InputError(
                f"{place}: one row more than the {actions} columns; remove it (if the first row holds "
                "names that are numbers, begin it with an empty cell, and each row with its name)"
            )
        cells = split_row(text, separator, place)
        if named_rows:
            _check_row_name(cells[0], labels[len(rows)], place)
            cells = cells[1:]
        if len(cells) != actions:
            raise InputError(
                f"{place}: found {len(cells)} number{'' if len(cells) == 1 else 's'}, but there are "
                f"{actions} columns; give each row one number a column"
            )
        rows.append(_numbers(cells, len(rows), labels, place))
    if len(rows) != actions:
        raise InputError(
            f"{file}: found {len(rows)} rows of numbers for {actions} columns; is the file cut off? "
            "(Comparisons need the columns winner,loser or first,second,prefer_first.)"
        )
    return Table(names, np.stack(rows), None)


def _check_row_name(cell: str, expected: str, place: str) -> None:
    if clean_name(cell, place) != expected:
        raise InputError(
            f"{place}: the row is called {shown(cell)}, but the column at this place {shown(expected)}; "
            "rows and columns need the same names in the same order"
        )


def _numbers(cells: list[str], position: int, labels: Sequence[str], place: str) -> np.ndarray:
    row = np.empty(len(cells))
    place = f"{place}: the entry in row {shown(labels[position])}, column"
    for column, cell in enumerate(cells):
        number = to_number(cell)
        row[column] = probability(
            cell if number is None else number, f"{place} {shown(labels[column])}", MEND
        )
    return row
