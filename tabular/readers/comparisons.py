"""Single comparisons, one a line, in CSV or JSONL.

Their fields are ``winner,loser[,count]`` or ``first,second,prefer_first[,count]``. Other columns (prompts,
texts, raters) are passed over. The labels are added up as they are read: memory depends on the number of
actions, never on the number of lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nlhf.errors import InputError
from tabular.readers.cells import count, probability, split_row, to_number
from tabular.readers.lines import Lines
from tabular.readers.table import MAXIMUM_ACTIONS, Table, check_number_of_actions, clean_name, shown

WINNER_FIELDS = ("winner", "loser")
LABEL_FIELDS = ("first", "second", "prefer_first")
LABEL_MEND = "write 1 if the first is preferred, 0 if the second, 0.5 for a tie, or leave the row out"


class Tally:
    """Wins between actions that are met one by one.

    Args:
      names: the only names allowed, in the order wanted; None admits every name, in order of appearance.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        self._open = names is None
        self._position = {name: position for position, name in enumerate(names or ())}
        self._wins = np.zeros((max(len(self._position), 8),) * 2)

    def add(self, winner: object, loser: object, wins: float, losses: float, place: str) -> None:
        """Add ``wins`` of the first action over the second, and ``losses`` the other way."""
        row, column = self._find(winner, place), self._find(loser, place)
        if row == column:
            raise InputError(
                f"{place}: {shown(winner)} is compared with itself; a comparison needs two actions"
            )
        self._wins[row, column] += wins
        self._wins[column, row] += losses

    def table(self) -> Table:
        """Return what was added up."""
        actions = len(self._position)
        return Table(tuple(self._position), None, self._wins[:actions, :actions].copy())

    def _find(self, text: object, place: str) -> int:
        name = clean_name(text, place)
        position = self._position.get(name)
        if position is not None:
            return position
        if not self._open:
            raise InputError(
                f"{place}: the name {shown(name)} is not among the {len(self._position)} names given; "
                "correct it or add it"
            )
        position = len(self._position)
        check_number_of_actions(position + 1, place, so_far=True)
        if position == len(self._wins):
            grown = min(2 * position, MAXIMUM_ACTIONS)  # doubled: copying stays a constant share
            self._wins = np.pad(self._wins, (0, grown - position))
        self._position[name] = position
        return position


def comparison_fields(fields: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the layout that column names announce, or None if they are not those of comparisons.

    >>> comparison_fields(["prompt", "winner", "loser"])
    ('winner', 'loser')
    """
    found = [layout for layout in (WINNER_FIELDS, LABEL_FIELDS) if set(layout) <= set(fields)]
    return found[0] if len(found) == 1 else None


def read_comparisons_csv(
    file: str, first: tuple[int, str], lines: Lines, separator: str, names: Sequence[str] | None
) -> Table:
    """Read comparisons from CSV with a header row.

    Args:
      file: the name of the file, for messages.
      names: the names allowed, or None.

    Returns:
      A table with ``counts``.

    Raises:
      InputError: if a column is named twice, a row is short or long, a cell is empty or breaks its rule, or
        an action is compared with itself or unknown.
    """
    number, text = first
    header = [cell.lower() for cell in split_row(text, separator, f"{file}:{number}")]
    _check_header(header, f"{file}:{number}")
    layout = comparison_fields(header)
    assert layout is not None  # the caller has looked
    tally, rows = Tally(names), 0
    for number, text in lines:
        place = f"{file}:{number}"
        cells = split_row(text, separator, place)
        if len(cells) != len(header):
            raise InputError(
                f"{place}: found {len(cells)} cells, but the header has {len(header)}; is the line cut off?"
            )
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        for field in ("prefer_first", "count"):
            if field in row:
                row[field] = _cell_value(row[field])
        _add(tally, layout, row, place)
        rows += 1
    return _finished(tally, rows, file)


def read_comparisons_jsonl(file: str, lines: Lines, names: Sequence[str] | None) -> Table:
    """Read comparisons from JSONL, one object a line; arguments, result and errors as for CSV.

    The first object decides between the two layouts. NaN, Infinity and a key that stands twice in an object
    are refused.
    """
    tally, rows = Tally(names), 0
    layout: tuple[str, ...] | None = None
    for number, text in lines:
        place = f"{file}:{number}"
        row = _json_object(text, place)
        found = comparison_fields(row)
        layout = layout or found
        if found is None or found != layout:
            wanted = " or ".join(
                ",".join(fields) for fields in ([layout] if layout else [WINNER_FIELDS, LABEL_FIELDS])
            )
            raise InputError(f"{place}: the fields are {shown(sorted(row))}, but a comparison needs {wanted}")
        _add(tally, layout, row, place)
        rows += 1
    return _finished(tally, rows, file)


def _add(tally: Tally, layout: tuple[str, ...], row: Mapping[str, Any], place: str) -> None:
    observations = count(row["count"], f"{place}: count") if "count" in row else 1.0
    share = 1.0
    if layout == LABEL_FIELDS:
        share = probability(row["prefer_first"], f"{place}: prefer_first", LABEL_MEND)
    tally.add(row[layout[0]], row[layout[1]], observations * share, observations * (1 - share), place)


def _finished(tally: Tally, rows: int, file: str) -> Table:
    if rows == 0:
        raise InputError(f"{file}: holds no comparison; was it written completely?")
    return tally.table()


def _check_header(header: Sequence[str], place: str) -> None:
    repeated = _repeated(field for field in header if field)
    if repeated is not None:
        raise InputError(f"{place}: the column {shown(repeated)} stands twice; column names must differ")


def _repeated(fields: Iterable[str]) -> str | None:
    """Return the first field that has stood before, in one pass, or None."""
    seen: set[str] = set()
    for field in fields:
        if field in seen:
            return field
        seen.add(field)
    return None


def _cell_value(cell: str) -> object:
    """Return what a cell means: a boolean, a number, or the text that a rule will refuse."""
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    number = to_number(cell)
    return cell if number is None else number


def _json_object(text: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{place}: not JSON ({reason}); if it is the last line, it may be cut off") from None
    if not isinstance(row, dict):
        raise InputError(f"{place}: holds {shown(row)}, but each line is one JSON object")
    return row


def _refuse_constant(word: str) -> float:
    raise InputError(f"{word} is not a value of JSON; leave the row out or give a number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = _repeated(key for key, _ in pairs)
    if repeated is not None:
        raise InputError(f"the field {shown(repeated)} stands twice; fields must differ")
    return dict(pairs)
