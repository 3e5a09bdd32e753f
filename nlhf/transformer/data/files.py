"""Files of rows: JSON lines (also gzipped), Parquet, lists in JSON; read as a stream, row by row."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

from nlhf import extras
from nlhf.base import check_number
from nlhf.errors import InputError
from nlhf.transformer.data.rows import Check, Row, RowError, check_preference, check_prompt

LONGEST = 64 * 2**20  # bytes of a line, so that a file without line ends is not read into memory
REMEMBERED = 1_000_000  # rows whose digests are kept to find duplicates
FIELDS = ("prompt", "chosen", "rejected", "p", "id", "format", "completion", "label")
FAULTS = (EOFError, zlib.error, OSError)


@dataclasses.dataclass
class Report:
    """What was read and what was refused.

    Attributes:
      read: rows met, empty lines not counted.
      kept: rows of the normal form.
      refused: number of refused rows by the rule they broke.
      examples: messages of the first refused rows.
      duplicate_ids: kept rows whose id was met before.
      both_orders: kept rows whose pair was met before with chosen and rejected exchanged.
    """

    read: int = 0
    kept: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    examples: list[str] = dataclasses.field(default_factory=list)
    duplicate_ids: int = 0
    both_orders: int = 0

    def __str__(self) -> str:
        """One line for a log."""
        parts = [f"{self.kept} of {self.read} rows kept"]
        parts += [f"{count} refused: {reason}" for reason, count in self.refused.most_common()]
        parts += [f"{self.duplicate_ids} with an id met before"] if self.duplicate_ids else []
        parts += [f"{self.both_orders} pairs met in both orders"] if self.both_orders else []
        return "; ".join(parts)


def load(
    path: str | os.PathLike[str], check: Check = check_preference, *, skip_bad: float = 0.0, **options: Any
) -> tuple[list[Row], Report]:
    """Read all rows of a file into memory.

    Args:
      check: as ``read``.
      skip_bad: as ``read``.
      **options: as ``read``.

    Returns:
      The rows in order, and what was refused.

    Raises:
      InputError: as ``read``, and if there is no row at all.
    """
    report = Report()
    rows = list(read(path, check, skip_bad=skip_bad, report=report, **options))
    if not rows:
        raise InputError(f"{path}: holds no rows, but at least 1 is needed; give another file")
    return rows, report


def read(
    path: str | os.PathLike[str],
    check: Check = check_preference,
    *,
    skip_bad: float = 0.0,
    report: Report | None = None,
    **options: Any,
) -> Iterator[Row]:
    """Yield the normal form of every row of a file, in order, one row in memory at a time.

    Args:
      path: ``.jsonl`` (or ``.jsonl.gz``): one JSON object a line; ``.parquet``; ``.json``: one list of
        objects or texts, which is read whole.
      check: ``check_preference``, ``check_prompt``, or a function like them; where it gives None, the row is
        passed over.
      skip_bad: fraction of rows that may be refused, in [0, 1]; 0 refuses the file at its first bad row, a
        larger one is judged at the end of the file.
      report: filled in while rows are read.
      **options: of ``check``.

    Yields:
      Rows as ``check`` returns them.

    Raises:
      InputError: if the file cannot be read; naming the line, the field, the rule and the remedy, if a
        row is bad; if more rows are bad than ``skip_bad`` allows.
    """
    skip_bad = float(check_number("skip_bad", skip_bad, high=1.0))
    report = Report() if report is None else report
    seen = _Seen(report)
    ours = check in (check_preference, check_prompt)
    for where, row in raw_rows(path, FIELDS if ours else None):
        report.read += 1
        try:
            if isinstance(row, RowError):
                raise row
            found = check(row, **options)
        except RowError as error:
            message = f"{path}: {where}: {error}"
            if skip_bad == 0:
                raise InputError(message) from None
            report.refused[error.reason] += 1
            report.examples += [message] if len(report.examples) < 5 else []
            continue
        if found is not None:
            report.kept += 1
            seen.add(found)
            yield found
    bad = sum(report.refused.values())
    if bad > skip_bad * report.read:
        raise InputError(
            f"{path}: {bad} of {report.read} rows are bad, more than the fraction {skip_bad:g} that may be "
            f"skipped, the first: {report.examples[0].removeprefix(f'{path}: ')}"
        )


class _Seen:
    """Digests of the first ids and pairs, 8 bytes each; a collision miscounts a report and nothing else."""

    def __init__(self, report: Report) -> None:
        self.report, self.ids = report, set[bytes]()
        self.pairs = (
            set[bytes](),
            set[bytes](),
        )  # by which of the two answers was chosen, in some order of texts

    def add(self, row: Row) -> None:
        if row.get("id"):
            self.report.duplicate_ids += _met(row["id"], self.ids)
        if "chosen" in row:
            chosen, rejected = repr(row["chosen"]), repr(row["rejected"])
            pair = (row["prompt"], min(chosen, rejected), max(chosen, rejected))
            _met(pair, self.pairs[chosen < rejected])
            self.report.both_orders += chosen != rejected and _met(
                pair, self.pairs[rejected < chosen], keep=False
            )


def _met(value: Any, seen: set[bytes], keep: bool = True) -> bool:
    """Whether a value was met before; remember it from now on."""
    digest = hashlib.blake2b(repr(value).encode(), digest_size=8).digest()
    met = digest in seen
    if keep and len(seen) < REMEMBERED:
        seen.add(digest)
    return met


def raw_rows(path: str | os.PathLike[str], fields: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield ``(where, row)`` for every row of a file, a ``RowError`` in place of a row that is no JSON.

    Args:
      fields: which columns of a Parquet file to read; None for all.

    Raises:
      InputError: if the file cannot be read, or its name says no known kind.
    """
    path = pathlib.Path(path)
    names = path.name.lower()
    if names.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        return _json_lines(path)
    if names.endswith(".parquet"):
        return _parquet(path, fields)
    if names.endswith(".json"):
        return _json_list(path)
    raise InputError(
        f"{path}: rows are read from .jsonl, .jsonl.gz, .parquet or .json; convert the "
        "file, or rename it to end in one of these"
    )


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[IO[bytes]]:
    try:
        zipped = path.name.lower().endswith(".gz")
        file: IO[bytes] = gzip.open(path) if zipped else open(path, "rb")  # type: ignore[assignment] # noqa: SIM115
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file of rows") from None
    with file:
        yield file


def _json_lines(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    with _opened(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(LONGEST)
                long = len(line) == LONGEST and not line.endswith(b"\n")
                rest = line if long else b""
                while rest and not rest.endswith(b"\n"):
                    rest = file.readline(LONGEST)
            except FAULTS as error:
                raise InputError(
                    f"{path}: line {number}: the file is damaged here ({error}); fetch or write it again"
                ) from None
            if not line:
                return
            if long:
                yield (
                    f"line {number}",
                    RowError(f"the line is longer than {LONGEST // 2**20} MiB", "", "shorten it"),
                )
                continue
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield f"line {number}", _parse(line, "line")


def _parse(data: bytes, what: str) -> Any:
    """Return the value of a JSON text, or the error it is."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        return RowError(f"the {what} is not UTF-8", f"byte {error.start}", "write it as UTF-8")
    except RowError as error:
        return error
    except RecursionError:
        return RowError(f"the {what} is nested too deeply", "", "give texts, or lists of messages")
    except ValueError as error:  # also of whole numbers with more digits than Python converts
        return RowError(f"the {what} is not JSON", str(error)[:80], "give one whole JSON object a line")


def _refuse_constant(name: str) -> Any:
    raise RowError("the row holds a number that is not finite", name, "give finite numbers")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = collections.Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RowError("the row holds a field twice", ascii(twice)[:40], "give each once")
    return fields


def _json_list(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    with _opened(path) as file:
        data = file.read(16 * LONGEST + 1)
    if len(data) > 16 * LONGEST:
        raise InputError(f"{path}: is longer than 1 GiB; write it as .jsonl, which is read row by row")
    rows = _parse(data.removeprefix(b"\xef\xbb\xbf"), "file")
    if isinstance(rows, RowError):
        raise InputError(f"{path}: {rows}")
    if not isinstance(rows, list):
        raise InputError(
            f"{path}: holds {type(rows).__name__}, but a .json of rows is a list; write it as .jsonl"
        )
    for number, row in enumerate(rows, 1):
        yield f"row {number}", row


def _parquet(path: pathlib.Path, fields: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
    arrow, parquet = (extras.load(name, f"{path}: a Parquet file") for name in ("pyarrow", "pyarrow.parquet"))
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if fields is None or name in fields]
            for batch in file.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (arrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"{path}: cannot be read as Parquet after row {number} ({reason}); write it again"
        ) from None
