"""Readers of preference data: one file per format, one table out of each.

The kind of a file is decided by its extension, and for ``.csv`` and ``.tsv`` by the first row. Text files
may be compressed (``.csv.gz``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from nlhf.errors import InputError
from tabular.readers.arrays import read_npy, read_npz
from tabular.readers.cells import find_separator, split_row
from tabular.readers.comparisons import (
    LABEL_FIELDS,
    WINNER_FIELDS,
    comparison_fields,
    read_comparisons_csv,
    read_comparisons_jsonl,
)
from tabular.readers.lines import Lines, existing_file, file_kind, read_lines
from tabular.readers.matrices import read_matrix
from tabular.readers.preflib import read_graph, read_orders
from tabular.readers.table import Table, shown, shown_path

ARRAY_KINDS = (".npy", ".npz")
ORDER_KINDS = (".soc", ".soi", ".toc", ".toi")
TEXT_KINDS = (".csv", ".tsv", ".jsonl", *ORDER_KINDS, ".wmd")


def read_table(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> Table:
    """Read a file of preferences of any known kind.

    Args:
      path: a file with one of the extensions ``.csv .tsv .jsonl .soc .soi .toc .toi .wmd`` (also with
        ``.gz``), ``.npy`` or ``.npz``.
      names: for files of single comparisons, the only names allowed and their order.

    Returns:
      What stands in the file; the rules for a preference matrix are not applied yet.

    Raises:
      InputError: if the file is missing, of an unknown kind, damaged, or breaks the rules of its kind.
    """
    file = existing_file(path)
    kind = file_kind(file, TEXT_KINDS, ARRAY_KINDS)
    if kind == ".npy":
        return read_npy(file)
    if kind == ".npz":
        return read_npz(file)
    with contextlib.closing(read_lines(file)) as lines:
        return _read_text(shown_path(file), kind, lines, names)


def _read_text(file: str, kind: str, lines: Lines, names: Sequence[str] | None) -> Table:
    if kind == ".jsonl":
        return read_comparisons_jsonl(file, lines, names)
    first = next(lines)  # there is one: read_lines refuses a blank file
    if kind in ORDER_KINDS:
        return read_orders(file, first, lines, kind)
    if kind == ".wmd":
        return read_graph(file, first, lines)
    return _read_csv(file, first, lines, names)


def _read_csv(file: str, first: tuple[int, str], lines: Lines, names: Sequence[str] | None) -> Table:
    place = f"{file}:{first[0]}"
    separator = find_separator(first[1])
    header = [cell.lower() for cell in split_row(first[1], separator, place)]
    if header[0] == "":  # the corner of a matrix, whatever its actions are called
        return read_matrix(file, first, lines, separator)
    if comparison_fields(header) is not None:
        return read_comparisons_csv(file, first, lines, separator, names)
    hints = set(header) & {*WINNER_FIELDS, *LABEL_FIELDS}
    if hints:
        raise InputError(
            f"{place}: has the columns {shown(sorted(hints))}, but comparisons need either "
            f"{','.join(WINNER_FIELDS)} or {','.join(LABEL_FIELDS)} (0.5 is a tie), and may have count"
        )
    return read_matrix(file, first, lines, separator)
