"""Lines of a text file, one at a time: nothing is read beyond the line that is asked for.

A file of preferences may be ten million lines of something else. So it is decoded line by line, with a limit
on the length of a line, and a reader that refuses line 1 has cost the memory of line 1.
"""

from __future__ import annotations

import gzip
import os
import pathlib
import stat
import zlib
from collections.abc import Generator, Iterator, Sequence
from typing import IO, TypeAlias, cast

from nlhf.errors import InputError
from tabular.readers.table import shown, shown_path

MAXIMUM_LINE_BYTES = 2**20  # a row of a 5000-action matrix at full precision has about 10^5 bytes
MAXIMUM_BLANK = 2**20  # characters of blank lines in a row; compressed, they shrink a thousandfold

Lines: TypeAlias = Iterator[tuple[int, str]]


def existing_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """Check that a path names a non-empty regular file (a symbolic link to one will do).

    Returns:
      The path.

    Raises:
      InputError: if the name is empty, there is no such file, or it is a folder, a device, or empty.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"{shown(path)} is not a path; give the name of a file")
    file = pathlib.Path(path)
    place = shown_path(file)
    if os.fspath(path) == "":  # to pathlib, the present folder
        raise InputError("'': the name of the file is empty; give the name of a file")
    try:
        status = file.stat()
    except FileNotFoundError:
        raise InputError(f"{place}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(str(file))}: cannot be looked up ({_reason(error)})") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{place}: is a folder; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{place}: is not a regular file; copy the data into one")
    if status.st_size == 0:
        raise InputError(f"{place}: is empty; was it written completely?")
    return file


def file_kind(file: pathlib.Path, text_kinds: Sequence[str], array_kinds: Sequence[str]) -> str:
    """Return the extension that decides how a file is read, in lower case and without ``.gz``.

    >>> file_kind(pathlib.Path("votes.CSV.gz"), [".csv"], [".npy"])
    '.csv'
    """
    kind = file.suffix.lower()
    if kind in array_kinds:
        return kind
    if kind == ".gz":
        kind = pathlib.Path(file.stem).suffix.lower()
    if kind in text_kinds:
        return kind
    raise InputError(
        f"{shown_path(file)}: the kind {shown(''.join(file.suffixes[-2:]))} is not known; known are "
        f"{' '.join(text_kinds)} (also with .gz) and {' '.join(array_kinds)}"
    )


def open_bytes(path: pathlib.Path) -> IO[bytes]:
    """Open a file for reading, through gzip where its name ends in ``.gz``."""
    if path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return open(path, "rb")


def read_lines(path: pathlib.Path) -> Generator[tuple[int, str], None, None]:
    """Yield the lines that are not blank, with their numbers, without their line ends.

    A byte order mark at the start and CRLF line ends are accepted.

    Args:
      path: the file, read through gzip where its name ends in ``.gz``.

    Yields:
      The number of the line, from 1, and its text.

    Raises:
      InputError: if the file cannot be read or decompressed, a line is too long or not UTF-8, a run of
        blank lines is too long, or there is no line that is not blank.
    """
    empty, blank = True, 0
    place = shown_path(path)
    try:
        with open_bytes(path) as file:
            for number, text in _decoded(place, file):
                if text and not text.isspace():
                    empty, blank = False, 0
                    yield number, text
                    continue
                blank += len(text) + 1
                if blank > MAXIMUM_BLANK:
                    raise InputError(
                        f"{place}:{number}: more than {MAXIMUM_BLANK} characters of blank lines in a row; "
                        "remove them, or write the file again"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{place}: cannot be read ({_reason(error)}); if it was copied or downloaded, fetch it again"
        ) from None
    if empty:
        raise InputError(f"{place}: holds only blank lines; was it written completely?")


def _decoded(place: str, file: IO[bytes]) -> Lines:
    number, offset = 0, 0
    while line := file.readline(MAXIMUM_LINE_BYTES + 1):
        number += 1
        if len(line) > MAXIMUM_LINE_BYTES:
            raise InputError(
                f"{place}:{number}: the line has more than {MAXIMUM_LINE_BYTES} bytes; "
                "is this a text file of preferences?"
            )
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{place}:{number}: byte {offset + error.start} (0x{line[error.start]:02x}) is not UTF-8; "
                "save the file as UTF-8"
            ) from None
        offset += len(line)
        if number == 1:
            text = text.removeprefix("\ufeff")
        text = text.removesuffix("\n").removesuffix("\r")
        if "\r" in text:
            raise InputError(
                f"{place}:{number}: a carriage return stands inside the line; end lines with LF or CRLF"
            )
        yield number, text


def _reason(error: BaseException) -> str:
    """Return the system's word for an error, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
