"""Reference policies from a file: one positive probability for each action of a game."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np

from nlhf.errors import InputError
from tabular.readers.arrays import NAMES_KEYS, load_npy, load_npz, npz_keys, real, text_list
from tabular.readers.cells import find_separator, split_row, to_number
from tabular.readers.lines import Lines, existing_file, file_kind, read_lines
from tabular.readers.table import clean_name, clean_names, shown, shown_path

UNIFORM = "uniform"
ARRAY_KINDS = (".npy", ".npz")
TEXT_KINDS = (".csv", ".tsv", ".txt")
SUM_TOLERANCE = 1e-9
ROUNDED_SUM_TOLERANCE = 1e-6


def load_reference(
    source: str | os.PathLike[str], names: Sequence[str], key: str = "reference"
) -> np.ndarray:
    """Load the log-probabilities of a reference policy.

    The file is CSV with the columns ``name,probability`` in any order of rows; or CSV with one row or one
    column of numbers in the order of ``names``; or ``.npy`` with a vector; or ``.npz`` with a vector ``key``
    (and optionally ``names`` or ``items``, by which it is then arranged).

    Every action needs a positive probability: where the reference is 0, the KL divergence to it is infinite
    for every policy that tries the action.

    Args:
      source: a file, or the word ``uniform`` (a file of that name is ``./uniform``).
      names: the A actions of the game.
      key: the array to take from a ``.npz`` file.

    Returns:
      ``log_ref`` ``[A]`` in float64, normalised to rounding.

    Raises:
      InputError: if an entry is not a positive finite number, a name is unknown, missing or repeated, the
        length is wrong, or the sum differs from 1 by more than 1e-6. Between 1e-9 and 1e-6 the probabilities
        are normalised with a ``UserWarning``.

    >>> load_reference("uniform", ["rock", "paper"])
    array([-0.69314718, -0.69314718])
    """
    actions = clean_names(names, "the names of the actions")
    if source == UNIFORM:
        return np.full(len(actions), -math.log(len(actions)))
    file = existing_file(source)
    if file_kind(file, TEXT_KINDS, ARRAY_KINDS) in ARRAY_KINDS:
        weights = _from_arrays(file, actions, key)
    else:
        with contextlib.closing(read_lines(file)) as lines:
            weights = _from_text(shown_path(file), lines, actions)
    for name, weight in zip(actions, weights, strict=True):
        _check_weight(name, weight, shown_path(file))
    total = math.fsum(weights)
    if abs(total - 1) > ROUNDED_SUM_TOLERANCE:
        raise InputError(
            f"{shown_path(file)}: the probabilities sum to {total!r}, not 1; divide each by the sum"
        )
    if abs(total - 1) > SUM_TOLERANCE:
        warnings.warn(
            f"{shown_path(file)}: the probabilities sum to {total!r}; each was divided by the sum",
            UserWarning,
            stacklevel=2,
        )
    return np.log(np.array(weights)) - math.log(total)


def _check_weight(name: str, weight: float, file: str) -> None:
    if weight == 0:
        raise InputError(
            f"{file}: the probability of {shown(name)} is 0; give it a small mass, "
            "or remove that action from the game"
        )
    if not 0 < weight <= 1 + ROUNDED_SUM_TOLERANCE:
        raise InputError(
            f"{file}: the probability of {shown(name)} is {weight!r}, but it lies in (0, 1]; "
            "give positive shares of 1"
        )


def _from_arrays(file: pathlib.Path, actions: tuple[str, ...], key: str) -> list[float]:
    if file.suffix.lower() == ".npy":
        return _vector(load_npy(file), len(actions), shown_path(file))
    keys, place = npz_keys(file), shown_path(file)
    if key not in keys:
        raise InputError(f"{place}: has no array {shown(key)}, only {shown(sorted(keys))}; name one of them")
    weights = _vector(load_npz(file, key), len(actions), f"{place}: {key}")
    for names_key in NAMES_KEYS:
        if names_key in keys:
            names_place = f"{place}: {names_key}"
            listed = clean_names(text_list(load_npz(file, names_key), names_place), names_place)
            if len(listed) != len(weights):
                raise InputError(
                    f"{names_place}: has {len(listed)} names for {len(weights)} probabilities; save one each"
                )
            return _arranged(dict(zip(listed, weights, strict=True)), actions, place)
    return weights


def _vector(array: np.ndarray, actions: int, place: str) -> list[float]:
    if array.ndim not in (1, 2) or array.size != max(array.shape):
        raise InputError(
            f"{place}: has the shape {array.shape}, but a reference is a vector; save [{actions}]"
        )
    return _complete([float(weight) for weight in real(array, place).ravel()], actions, place)


def _from_text(file: str, lines: Lines, actions: tuple[str, ...]) -> list[float]:
    first = next(lines)
    place = f"{file}:{first[0]}"
    separator = find_separator(first[1])
    cells = split_row(first[1], separator, place)
    if [cell.lower() for cell in cells] == ["name", "probability"]:
        return _named(file, lines, actions, separator)
    if len(cells) > 1:
        weights = [_number(cell, place) for cell in cells]
        if (extra := next(lines, None)) is not None:
            raise InputError(
                f"{file}:{extra[0]}: a second row; a reference is one row, one column, or has the header "
                "name,probability"
            )
        return _complete(weights, len(actions), file)
    weights = []
    for number, text in itertools.chain([first], lines):
        weights.append(_number(text.strip(), f"{file}:{number}"))
        if len(weights) > len(actions):
            raise InputError(
                f"{file}:{number}: more numbers than the {len(actions)} actions of the game; give one each"
            )
    return _complete(weights, len(actions), file)


def _named(file: str, lines: Lines, actions: tuple[str, ...], separator: str) -> list[float]:
    weight_of: dict[str, float] = {}
    known = frozenset(actions)
    for number, text in lines:
        place = f"{file}:{number}"
        cells = split_row(text, separator, place)
        if len(cells) != 2:
            raise InputError(f"{place}: found {len(cells)} cells, but the header has 2; is the line cut off?")
        name = clean_name(cells[0], place)
        if name in weight_of:
            raise InputError(
                f"{place}: the name {shown(name)} stands twice; give each action one probability"
            )
        if name not in known:
            raise InputError(
                f"{place}: the name {shown(name)} is not an action of the game; remove or correct it"
            )
        weight_of[name] = _number(cells[1], place)
    return _arranged(weight_of, actions, file)


def _arranged(weight_of: dict[str, float], actions: tuple[str, ...], file: str) -> list[float]:
    """Return the weights in the order of the game's actions."""
    known = frozenset(actions)
    for name in weight_of:
        if name not in known:
            raise InputError(
                f"{file}: the name {shown(name)} is not an action of the game; remove or correct it"
            )
    for name in actions:
        if name not in weight_of:
            raise InputError(
                f"{file}: the action {shown(name)} of the game is missing; give it a probability"
            )
    return [weight_of[name] for name in actions]


def _complete(weights: list[float], actions: int, place: str) -> list[float]:
    if len(weights) != actions:
        raise InputError(
            f"{place}: holds {len(weights)} probabilities, but the game has {actions} actions; give one each"
        )
    return weights


def _number(cell: str, place: str) -> float:
    number = to_number(cell)
    if number is None:
        raise InputError(f"{place}: {shown(cell)} is not a number; write probabilities with a decimal point")
    return number
