"""NumPy files: ``.npy`` with a matrix, ``.npz`` with a matrix or counts, and names.

Nothing in them is unpickled, and the shape in an array's header is checked before memory is given to it: a
header of eighty bytes can claim a terabyte.
"""

from __future__ import annotations

import math
import pathlib
import warnings
import zipfile
from typing import IO

import numpy as np

from nlhf.errors import InputError
from tabular.readers.table import (
    MAXIMUM_ACTIONS,
    Table,
    check_number_of_actions,
    clean_names,
    shown,
    shown_path,
)

PREFERENCE_KEYS = ("P", "preference")
NAMES_KEYS = ("items", "names")
MAXIMUM_ENTRIES = MAXIMUM_ACTIONS**2
MAXIMUM_BYTES = 8 * MAXIMUM_ENTRIES
REAL_KINDS = "biuf"
TEXT_KINDS = "US"


def read_npy(path: pathlib.Path) -> Table:
    """Read a matrix of probabilities ``[A, A]`` from a ``.npy`` file; its actions have no names."""
    return Table(None, square(load_npy(path), shown_path(path)), None)


def read_npz(path: pathlib.Path) -> Table:
    """Read a matrix or counts, and names, from a ``.npz`` file.

    The matrix is the array ``P`` or ``preference``. Counts are ``wins`` (strict wins of the row over the
    column) with ``games`` (observations of the pair, symmetric); what is left of ``games`` are ties, half a
    win to each. Where there are both, the matrix is the preference and the counts are kept beside it. Names
    are ``items`` or ``names``; other arrays are not opened.

    Returns:
      A table; complementarity of the matrix is not checked here.

    Raises:
      InputError: if the file is broken, or an array is missing, of the wrong shape or type, or pickled.
    """
    keys, place = npz_keys(path), shown_path(path)
    names, preference, counts = None, None, None
    for key in NAMES_KEYS:
        if key in keys and names is None:
            names = clean_names(text_list(load_npz(path, key), f"{place}: {key}"), f"{place}: {key}")
    for key in PREFERENCE_KEYS:
        if key in keys and preference is None:
            preference = square(load_npz(path, key), f"{place}: {key}")
    if "wins" in keys and "games" in keys:
        wins = square(load_npz(path, "wins"), f"{place}: wins")
        games = square(load_npz(path, "games"), f"{place}: games")
        counts = _with_half_ties(wins, games, place)
    if preference is None and counts is None:
        raise InputError(
            f"{place}: holds {shown(sorted(keys))}, but a game needs an array P or preference, "
            "or both wins and games"
        )
    return Table(names, preference, counts)


def npz_keys(path: pathlib.Path) -> frozenset[str]:
    """Return the names of the arrays in a ``.npz`` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except Exception as error:  # zipfile answers hostile bytes with a dozen types of exception
        raise _broken(shown_path(path), error) from None


def load_npz(path: pathlib.Path, key: str) -> np.ndarray:
    """Load one array of a ``.npz`` file, without unpickling."""
    place = f"{shown_path(path)}: {key}"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(key + ".npy") as file:
            return _load(file, place)
    except InputError:
        raise
    except Exception as error:  # as above; and a truncated member shows itself only here
        raise _broken(place, error) from None


def load_npy(path: pathlib.Path) -> np.ndarray:
    """Load the array of a ``.npy`` file, without unpickling."""
    try:
        with open(path, "rb") as file:
            return _load(file, shown_path(path))
    except InputError:
        raise
    except Exception as error:  # numpy's header parser raises what Python's own parser raises
        raise _broken(shown_path(path), error) from None


def square(array: np.ndarray, place: str) -> np.ndarray:
    """Return a square array of real numbers as float64 ``[A, A]``."""
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise InputError(f"{place}: has the shape {array.shape}, but a game is square; save [A, A]")
    check_number_of_actions(array.shape[0], place)
    return real(array, place)


def real(array: np.ndarray, place: str) -> np.ndarray:
    """Return an array of real numbers as float64."""
    if array.dtype.kind not in REAL_KINDS:
        raise InputError(f"{place}: has the type {array.dtype}, but real numbers are needed; save floats")
    with np.errstate(all="ignore"):  # what does not fit becomes infinite, and is refused as such
        return array.astype(np.float64)


def text_list(array: np.ndarray, place: str) -> list[str]:
    """Return a vector of strings as a list."""
    if array.ndim != 1 or array.dtype.kind not in TEXT_KINDS:
        raise InputError(
            f"{place}: has the shape {array.shape} and type {array.dtype}, but names are a vector of "
            "strings; save one each"
        )
    try:
        texts = array.tolist()
        return [text.decode("utf-8") if isinstance(text, bytes) else text for text in texts]
    except ValueError as error:
        raise InputError(f"{place}: is not valid Unicode ({error}); store str arrays") from None


def _load(file: IO[bytes], place: str) -> np.ndarray:
    version = np.lib.format.read_magic(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a header written by Python 2 is no news to the user
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise InputError(f"{place}: is in version {version} of the npy format; save it with plain types")
    if dtype.hasobject:
        raise InputError(f"{place}: holds Python objects, which are never unpickled; save numbers or str")
    if dtype.kind not in REAL_KINDS + TEXT_KINDS:
        raise InputError(f"{place}: has the type {dtype}, but real numbers or strings are needed")
    entries = math.prod(shape)
    size = entries * dtype.itemsize
    if any(length < 0 for length in shape) or entries > MAXIMUM_ENTRIES or size > MAXIMUM_BYTES:
        raise InputError(
            f"{place}: claims the shape {shown(shape)}, more than {MAXIMUM_ACTIONS} actions need"
        )
    data = file.read(size)
    if len(data) < size:
        raise InputError(f"{place}: is cut off: {len(data)} of {size} bytes of data; fetch or save it again")
    flat = np.frombuffer(data, dtype) if size else np.zeros(entries, dtype)
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _with_half_ties(wins: np.ndarray, games: np.ndarray, place: str) -> np.ndarray:
    """Return strict wins plus half of the ties, ``[A, A]``."""
    if wins.shape != games.shape:
        raise InputError(
            f"{place}: wins has the shape {wins.shape}, but games {games.shape}; save both as [A, A]"
        )
    with np.errstate(all="ignore"):
        ties = games - wins - wins.T
        rules = (
            (np.isfinite(wins) & (wins >= 0), wins, "wins", "is not a count; save finite numbers >= 0"),
            (np.isfinite(games) & (games >= 0), games, "games", "is not a count; save finite numbers >= 0"),
            (games == games.T, games, "games", "differs from its mirror entry; save games symmetric"),
            (ties >= -1e-9, wins, "wins", "and its mirror entry exceed the games of the pair; correct them"),
        )
    for holds, array, name, fault in rules:
        if not holds.all():
            row, column = np.argwhere(~holds)[0].tolist()
            raise InputError(f"{place}: {name}[{row}, {column}] = {array[row, column]} {fault}")
    if np.diagonal(wins).any():
        row = int(np.flatnonzero(np.diagonal(wins))[0])
        raise InputError(
            f"{place}: wins[{row}, {row}] is not 0, but nothing wins against itself; set it to 0"
        )
    counts = wins + np.maximum(ties, 0) / 2
    np.fill_diagonal(counts, 0.0)
    return counts


def _broken(place: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"{place}: is not a readable NumPy file ({type(error).__name__}: {reason[:120]}); "
        "fetch it again, or save it with numpy.save or numpy.savez and plain types"
    )
