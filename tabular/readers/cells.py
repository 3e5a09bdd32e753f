"""The cells of a row: separators, numbers, probabilities and counts, each with its one rule."""

from __future__ import annotations

import csv
import math

from nlhf.errors import InputError
from tabular.readers.table import shown

SEPARATORS = (",", ";", "\t")
MAXIMUM_COUNT = 2.0**53  # beyond it adding one observation changes nothing in float64


def split_row(text: str, separator: str, place: str) -> list[str]:
    """Split one line of a CSV file into stripped cells; a quoted cell must end on its line.

    >>> split_row('a, "b, c",d', ",", "game.csv:1")
    ['a', 'b, c', 'd']
    """
    try:
        (row,) = csv.reader([text], delimiter=separator, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise InputError(f"{place}: not a row of cells ({error}); close every quote on its line") from None
    return [cell.strip() for cell in row]


def find_separator(text: str) -> str:
    """Return the separator that cuts the first line of a file into most cells: comma, semicolon or tab.

    A separator under which every quote is well placed goes before one under which they are not.

    >>> find_separator('"a;b",c,d'), find_separator('"0,5";"0,2";"0,8"')
    (',', ';')
    """

    def fitness(separator: str) -> tuple[bool, int]:
        cells = _count_cells(text, separator, strict=True)
        return cells > 1, cells if cells > 1 else _count_cells(text, separator, strict=False)

    return max(SEPARATORS, key=fitness)


def _count_cells(text: str, separator: str, strict: bool) -> int:
    try:
        return len(next(csv.reader([text], delimiter=separator, strict=strict, skipinitialspace=True)))
    except csv.Error:
        return 0


def to_number(text: str) -> float | None:
    """Return the number a cell holds, NaN and infinities included, or None if it holds something else.

    Stricter than ``float``, which reads "0_5" as 5.

    >>> to_number("1e-3"), to_number("0_5"), to_number("0,5")
    (0.001, None, None)
    """
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def probability(value: object, place: str, remedy: str) -> float:
    """Return a probability in [0, 1]; a boolean is 0 or 1. ``remedy`` says what to write otherwise.

    Raises:
      InputError: if the value is not a number, not finite or out of [0, 1].
    """
    if not isinstance(value, (bool, int, float)):
        raise InputError(f"{place} is {shown(value)}, not a number; write a probability with a decimal point")
    if not 0 <= value <= 1:  # NaN fails every comparison
        raise InputError(f"{place} is {shown(value)}, but a probability lies in [0, 1]; {remedy}")
    return float(value)


def count(value: object, place: str) -> float:
    """Return a number of observations in [0, 2**53], fractions allowed.

    Raises:
      InputError: if the value is not a number, negative, NaN or too large to be counted on in float64.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{place} is {shown(value)}, not a number; write how often it was observed")
    if not 0 <= value <= MAXIMUM_COUNT:
        rule = "finite" if isinstance(value, float) and not math.isfinite(value) else "in [0, 2**53]"
        raise InputError(
            f"{place} is {shown(value)}, but a number of observations is {rule}; correct it or leave it out"
        )
    return float(value)
