"""Markdown tables, as ``table.txt`` of every figure has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return the lines of a table.

    >>> markdown(["β", "gap"], [(0.1, "0.25"), (1, "-")])
    ['| β | gap |', '|---|---|', '| 0.1 | 0.25 |', '| 1 | - |']
    """
    lines = [_line(header), "|" + "---|" * len(header)]
    return lines + [_line(row) for row in rows]


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def span(low: float, high: float, pattern: str = ".3f") -> str:
    """Return the ends of an interval.

    >>> span(0.1, 0.25, ".2f"), span(0, 0.5, ".0%")
    ('0.10 to 0.25', '0% to 50%')
    """
    return f"{low:{pattern}} to {high:{pattern}}"


def estimate(record: Any, index: int, pattern: str = ".3f") -> str:
    """Return ``middle (low to high)`` of a curve at one of its points."""
    return f"{record.middle[index]:{pattern}} ({span(record.low[index], record.high[index], pattern)})"
