"""PrefLib data: rankings (``.soc .soi .toc .toi``) and weighted directed graphs (``.wmd``) become counts.

A ranking counts, as often as it was submitted, one win for each pair that it orders and half a win to each
of a tied pair. An alternative that a ranking leaves out is compared with nothing: placing it last would be
an assumption about the voter, and the library ships the ``.toc`` file where somebody has made it.

The weight of an edge from i to j is read as the number of times i was preferred to j. PrefLib itself gives
the weights no single meaning. If they are margins (wins minus losses), the number of comparisons is lost
and no probability can be had from them: the preferences then say who is ahead, not by how much.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from nlhf.errors import InputError
from tabular.readers.cells import count, to_number
from tabular.readers.lines import Lines
from tabular.readers.preflib_header import alternative, read_header
from tabular.readers.table import Table, shown


def read_orders(file: str, first: tuple[int, str], lines: Lines, kind: str) -> Table:
    """Read rankings.

    Args:
      file: the name of the file, for messages.
      kind: ``.soc``, ``.soi`` (no ties), ``.toc`` or ``.toi``; the first and third rank every alternative.

    Returns:
      A table with ``counts``.

    Raises:
      InputError: if the head or a ranking is malformed, a ranking breaks the rules of the kind, or the
        multiplicities do not add up to the number that the head declares.
    """
    header = read_header(file, first, lines, graph=False)
    actions = len(header.names)
    counts = np.zeros((actions, actions))
    total, pairs = 0.0, 0
    for number, text in _data(header.first, lines):
        place = f"{file}:{number}"
        multiplicity, _, order = text.partition("," if header.earlier else ":")
        voters = _count(multiplicity, f"{place}: the number of voters")
        levels = _levels(order, actions, kind, place)
        ranked = np.fromiter(levels.keys(), int, len(levels))
        level = np.fromiter(levels.values(), int, len(levels))
        share = np.sign(level[None, :] - level[:, None]) / 2 + 0.5
        counts[np.ix_(ranked, ranked)] += voters * share
        total += voters
        pairs += len(ranked) * (len(ranked) - 1)
    if pairs == 0:
        raise InputError(f"{file}: no ranking orders a pair of alternatives; was it written completely?")
    _check_total(file, header.total, total, "rankings were submitted")
    np.fill_diagonal(counts, 0.0)
    return Table(header.names, None, counts)


def read_graph(file: str, first: tuple[int, str], lines: Lines) -> Table:
    """Read a weighted directed graph, lines ``source,destination,weight``.

    Args:
      file: the name of the file, for messages.

    Returns:
      A table with ``counts``: the weights as numbers of times the source was preferred.

    Raises:
      InputError: if the head or an edge is malformed, an edge stands twice or joins an alternative to
        itself, a weight is negative or not finite, or the number of edges is not the declared one.
    """
    header = read_header(file, first, lines, graph=True)
    actions = len(header.names)
    counts = np.zeros((actions, actions))
    seen = np.zeros((actions, actions), bool)
    for number, text in _data(header.first, lines):
        place = f"{file}:{number}"
        cells = text.split(",")
        if len(cells) != 3:
            raise InputError(f"{place}: expected 'source,destination,weight', found {shown(text)}")
        source, destination = (alternative(cell, actions, place) for cell in cells[:2])
        if source == destination:
            raise InputError(f"{place}: an edge from {source + 1} to itself; a comparison needs two actions")
        if seen[source, destination]:
            raise InputError(f"{place}: the edge {source + 1},{destination + 1} stands twice; add them up")
        seen[source, destination] = True
        counts[source, destination] = _count(cells[2], f"{place}: the weight")
    if not seen.any():
        raise InputError(f"{file}: holds no edge; was it written completely?")
    _check_total(file, header.total, float(seen.sum()), "edges stand in it")
    return Table(header.names, None, counts)


def _data(first: tuple[int, str] | None, lines: Lines) -> Iterable[tuple[int, str]]:
    return itertools.chain([] if first is None else [first], lines)


def _levels(order: str, actions: int, kind: str, place: str) -> dict[int, int]:
    """Return the rank of each alternative in a ranking, 0 the best; tied alternatives share a rank."""
    levels: dict[int, int] = {}
    for level, part in enumerate(_classes(order, place)):
        members = part.strip("{}").split(",")
        if len(members) > 1 and kind in (".soc", ".soi"):
            raise InputError(
                f"{place}: {shown(part)} is a tie, but {kind} files hold none; name it .to{kind[-1]}"
            )
        for member in members:
            position = alternative(member, actions, place)
            if position in levels:
                raise InputError(f"{place}: alternative {position + 1} stands twice in one ranking")
            levels[position] = level
    if kind in (".soc", ".toc") and len(levels) != actions:
        raise InputError(
            f"{place}: {len(levels)} of {actions} alternatives are ranked, but {kind} files rank all; "
            f"name it {kind[:-1]}i if that is meant"
        )
    return levels


def _classes(order: str, place: str) -> list[str]:
    """Split a ranking at the commas outside braces, in one pass: a line of braces must not cost more."""
    parts, inside, start = [], False, 0
    for position, letter in enumerate(order):
        if letter in "{}" and inside == (letter == "{"):
            break  # opened twice, or closed without being open
        inside = inside if letter not in "{}" else not inside
        if letter == "," and not inside:
            parts.append(order[start:position].strip())
            start = position + 1
    else:
        parts.append(order[start:].strip())
        if not inside and all(_is_class(part) for part in parts):
            return parts
    raise InputError(f"{place}: {shown(order)} is not a ranking such as '3,{{1,2}},4'")


def _is_class(part: str) -> bool:
    braces = part.count("{")
    return braces == 0 or (braces == 1 and part.startswith("{") and part.endswith("}"))


def _count(text: str, place: str) -> float:
    number = to_number(text.strip())
    return count(text.strip() if number is None else number, place)


def _check_total(file: str, declared: float | None, found: float, what: str) -> None:
    if declared is not None and abs(declared - found) > 1e-9 * max(found, 1.0):
        raise InputError(
            f"{file}: by its head {declared:.15g} {what}, but the lines make {found:.15g}; "
            "is it cut off? If not, correct the head"
        )
