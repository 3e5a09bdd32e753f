"""The head of a PrefLib file, in the present format and in the one used before 2022.

Present: lines ``# KEY: value``, among them ``NUMBER ALTERNATIVES`` and one ``ALTERNATIVE NAME i`` each.
Earlier: the number of alternatives (for ``.wmd`` also the number of edges), then ``i,name`` lines, then (not
for ``.wmd``) ``voters,sum of counts,orders``. Alternatives are numbered from 1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nlhf.errors import InputError
from tabular.readers.cells import to_number
from tabular.readers.lines import Lines
from tabular.readers.table import check_number_of_actions, clean_name, clean_names, shown

_NAME_KEY = re.compile(r"ALTERNATIVE NAME ([0-9]{1,9})")


class Header(NamedTuple):
    """What the head of a PrefLib file says.

    Attributes:
      names: the alternatives, in the order of their numbers.
      total: declared sum of the multiplicities (orders) or number of edges (graphs), None if not declared.
      first: number and text of the first line of data, None if there is none.
      earlier: whether the file is in the earlier format.
    """

    names: tuple[str, ...]
    total: float | None
    first: tuple[int, str] | None
    earlier: bool


def read_header(file: str, first: tuple[int, str], lines: Lines, graph: bool) -> Header:
    """Read the head of a PrefLib file, leaving ``lines`` after the first line of data.

    Args:
      file: the name of the file, for messages.
      graph: True for ``.wmd``, False for orders.

    Returns:
      The header.

    Raises:
      InputError: if a number or a name is missing or malformed, or a name stands twice.
    """
    if first[1].startswith("#"):
        return _present(file, first, lines, "NUMBER EDGES" if graph else "NUMBER VOTERS")
    return _earlier(file, first, lines, graph)


def alternative(text: str, actions: int, place: str) -> int:
    """Return the position, from 0, of an alternative written as its number, from 1."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and 1 <= int(digits) <= actions):
        raise InputError(f"{place}: {shown(text)} is not the number of an alternative, 1 to {actions}")
    return int(digits) - 1


def _present(file: str, first: tuple[int, str], lines: Lines, total_key: str) -> Header:
    name_of: dict[int, str] = {}
    declared: dict[str, int] = {}
    line: tuple[int, str] | None = first
    while line is not None and line[1].startswith("#"):
        place = f"{file}:{line[0]}"
        key, colon, value = line[1][1:].partition(":")
        key = key.strip().upper()
        if not colon:
            raise InputError(f"{place}: {shown(line[1])} is not a metadata line '# KEY: value'")
        if name_key := _NAME_KEY.fullmatch(key):
            number = int(name_key[1])
            if number in name_of:
                raise InputError(f"{place}: alternative {number} is named twice; number them 1, 2, ...")
            name_of[number] = clean_name(value, place)
            check_number_of_actions(len(name_of), place, so_far=True)
        elif key in ("NUMBER ALTERNATIVES", total_key):
            declared[key] = _integer(value, f"{place}: {key}")
        line = next(lines, None)
    actions = declared.get("NUMBER ALTERNATIVES")
    if actions is None:
        raise InputError(f"{file}: the line '# NUMBER ALTERNATIVES: ...' is missing; is this a PrefLib file?")
    check_number_of_actions(actions, f"{file}: NUMBER ALTERNATIVES")
    for number in range(1, actions + 1):
        if number not in name_of:
            raise InputError(f"{file}: the line '# ALTERNATIVE NAME {number}: ...' is missing; add it")
    if len(name_of) != actions:
        raise InputError(
            f"{file}: {len(name_of)} alternatives are named, but NUMBER ALTERNATIVES is {actions}"
        )
    names = clean_names((name_of[number] for number in range(1, actions + 1)), file)
    total = declared.get(total_key)
    return Header(names, None if total is None else float(total), line, earlier=False)


def _earlier(file: str, first: tuple[int, str], lines: Lines, graph: bool) -> Header:
    place = f"{file}:{first[0]}"
    head = first[1].split(",")
    if len(head) != (2 if graph else 1):
        raise InputError(
            f"{place}: {shown(first[1])} begins neither the present PrefLib format ('# KEY: value') "
            "nor the earlier one (a number of alternatives)"
        )
    actions = _integer(head[0], f"{place}: the number of alternatives")
    check_number_of_actions(actions, place)
    total: float | None = float(_integer(head[1], f"{place}: the number of edges")) if graph else None
    texts = []
    for number in range(1, actions + 1):
        place, text = _next(file, lines, f"the name of alternative {number}")
        label, comma, name = text.partition(",")
        if not comma or label.strip() != str(number):
            raise InputError(f"{place}: expected '{number},name', found {shown(text)}")
        texts.append(clean_name(name, place))
    names = clean_names(texts, file)
    if not graph:
        place, text = _next(file, lines, "the line 'voters,sum of counts,orders'")
        totals = [to_number(cell.strip()) for cell in text.split(",")]
        if len(totals) != 3 or None in totals:
            raise InputError(f"{place}: expected 'voters,sum of counts,orders', found {shown(text)}")
        total = totals[1]
    return Header(names, total, next(lines, None), earlier=True)


def _next(file: str, lines: Lines, wanted: str) -> tuple[str, str]:
    line = next(lines, None)
    if line is None:
        raise InputError(f"{file}: ends before {wanted}; is it cut off?")
    return f"{file}:{line[0]}", line[1]


def _integer(text: str, place: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise InputError(f"{place} is {shown(digits)}, not a whole number")
    return int(digits)
