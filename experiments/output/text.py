"""Plain text for terminals of 80 columns, logs and ``table.txt``: aligned tables, short numbers, hints."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

MAXIMUM_CELL = 32


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes: wide letters two, combining marks none.

    >>> width("rock"), width("石"), width("e\u0301")
    (4, 2, 1)
    """
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")
        for letter in text
    )


def shorten(text: str, maximum: int = MAXIMUM_CELL) -> str:
    """Cut a text to a width, marked by three dots.

    >>> shorten("a very long name of an action", 12)
    'a very lo...'
    """
    if width(text) <= maximum:
        return text
    size = 0
    for position, letter in enumerate(text):
        size += width(letter)
        if size > maximum - 3:
            return text[:position] + "..."
    return text + "..."


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Lay out a table with a rule under its header.

    Args:
      header: one title a column.
      rows: cells as text, as many as titles.
      align: one letter a column, ``<`` or ``>``.

    Returns:
      Lines without trailing spaces, joined by newlines.

    >>> print(table(["name", "n"], [["rock", "12"]], "<>"))
    name   n
    ----  --
    rock  12
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(width(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * size for size in widths])
    columns = tuple(zip(widths, align, strict=True))
    return "\n".join(
        "  ".join(_pad(cell, *column) for cell, column in zip(line, columns, strict=True)).rstrip()
        for line in lines
    )


def pairs(items: Sequence[tuple[str, str]]) -> str:
    """Lay out labels and values in two columns.

    >>> print(pairs([("value", "1/2"), ("duality gap", "0")]))
    value        1/2
    duality gap  0
    """
    size = max(width(label) for label, _ in items)
    return "\n".join(f"{_pad(label, size, '<')}  {value}".rstrip() for label, value in items)


def probability(value: float) -> str:
    """Show a probability: 0 exactly as 0, six decimals, and small ones in powers of ten.

    >>> [probability(x) for x in (0.0, 0.25, 3e-9)]
    ['0', '0.250000', '3.0e-09']
    """
    if value == 0:
        return "0"
    return f"{value:.6f}" if value >= 5e-5 else f"{value:.1e}"


def small(value: float) -> str:
    """Show a distance from zero in two digits.

    >>> small(1.234e-17), small(0.0)
    ('1.2e-17', '0')
    """
    return "0" if value == 0 else f"{value:.1e}"


def _pad(text: str, size: int, side: str) -> str:
    space = " " * (size - width(text))
    return space + text if side == ">" else text + space
