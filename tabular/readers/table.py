"""What every reader returns, and the rules that hold for names and sizes in every kind of file."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from nlhf.errors import InputError

MINIMUM_ACTIONS = 2
# A game table is dense: 5000 actions are 200 MB in float64. The limit is what keeps a stray file with a new
# name on each of its lines from taking the whole memory before anyone notices.
MAXIMUM_ACTIONS = 5000
SHOWN_CHARACTERS = 60
MAXIMUM_NAME = 1000
JOINER = "\u200d"  # joins emoji; the other format characters hide or reorder what is printed


class Table(NamedTuple):
    """The content of one file, before the rules for a preference matrix are applied.

    Attributes:
      names: the A actions in the order of the rows, or None where the file does not name them.
      preference: ``[A, A]`` probabilities as written in the file, or None where it holds only counts.
      counts: ``[A, A]`` wins of the row over the column, a tie half a win to each, or None.
    """

    names: tuple[str, ...] | None
    preference: np.ndarray | None
    counts: np.ndarray | None


def shown(value: object) -> str:
    r"""Show a value from a file on one short line, whatever it holds.

    >>> shown("two\nlines"), len(shown("x" * 1000))
    ("'two\\nlines'", 60)
    """
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or lists a thousand deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def shown_path(path: str | os.PathLike[str]) -> str:
    r"""Show a path in full on one line: as it is where it can be printed, else escaped.

    >>> shown_path("game.csv"), shown_path("two\nlines.csv")
    ('game.csv', "'two\\nlines.csv'")
    """
    text = str(path)
    return text if text.isprintable() else ascii(text)


def clean_name(text: object, place: str) -> str:
    """Strip the name of an action, and refuse one that is empty or cannot be printed.

    Args:
      text: what stands in the file.
      place: the file and line for the message.

    Returns:
      The name without surrounding white space.

    Raises:
      InputError: if it is not text, is empty or longer than 1000 characters, or holds control characters
        (of format and line too) or half a surrogate pair.
    """
    if not isinstance(text, str):
        raise InputError(f"{place}: the name {shown(text)} is not text; write names as strings")
    name = text.strip()
    if not name:
        raise InputError(f"{place}: a name is empty; give every action a name")
    if len(name) > MAXIMUM_NAME:
        raise InputError(
            f"{place}: the name {shown(name)} has {len(name)} characters, but a name has at most "
            f"{MAXIMUM_NAME}; shorten it"
        )
    if not name.isprintable():
        for letter in name:
            if letter != JOINER and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
                raise InputError(
                    f"{place}: the name {shown(name)} holds a control character, "
                    f"U+{ord(letter):04X}; remove it"
                )
    return name


def clean_names(texts: Iterable[object], place: str) -> tuple[str, ...]:
    """Strip a list of names and check that there are enough, not too many, and none twice.

    >>> clean_names(["rock", " paper"], "game.csv:1")
    ('rock', 'paper')
    """
    if isinstance(texts, str):
        raise InputError(f"{place}: {shown(texts)} is one string; give a list of names")
    position_of: dict[str, int] = {}
    for position, text in enumerate(texts, start=1):
        name = clean_name(text, place)
        if name in position_of:
            raise InputError(
                f"{place}: the name {shown(name)} stands at positions {position_of[name]} and {position}; "
                "names must differ"
            )
        position_of[name] = position
        check_number_of_actions(position, place, so_far=True)
    check_number_of_actions(len(position_of), place)
    return tuple(position_of)


def check_number_of_actions(actions: int, place: str, so_far: bool = False) -> None:
    """Refuse a game with fewer than 2 or more than 5000 actions; ``so_far`` while they are still counted."""
    if actions < MINIMUM_ACTIONS and not so_far:
        raise InputError(
            f"{place}: found {actions} action{'' if actions == 1 else 's'}, but a game needs at least "
            f"{MINIMUM_ACTIONS}; check the file's kind and separator"
        )
    if actions > MAXIMUM_ACTIONS:
        raise InputError(
            f"{place}: found more than {MAXIMUM_ACTIONS} actions, too many for a dense table; "
            "check the file's kind, or keep fewer actions"
        )
