"""The one exception and the one warning that users of this project are expected to meet."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class InputError(ValueError):
    """Input that breaks a stated rule; its message names the value, the rule and the remedy.

    The command line turns it into one line on stderr and exit code 2; in a program it is an ordinary
    ``ValueError``.

    >>> raise InputError("entry [0, 1] is 1.2, but a probability lies in [0, 1]; divide counts by totals")
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: entry [0, 1] is 1.2, but a probability lies in [0, 1]; divide counts by totals
    """


class RangeWarning(UserWarning):
    """A hyper-parameter outside the range that a theorem covers: the run continues, its bound is void."""


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """Return the message about a name that does not exist, with the nearest one that does.

    Args:
      name: as it was typed.
      known: the names there are.
      what: they are names of.

    >>> unknown("egop", ("egpo", "omwu"), "algorithm")
    "'egop' is not an algorithm; did you mean egpo? known are egpo, omwu"
    """
    article = "an" if what[0] in "aeiou" else "a"
    typed = name.lower().replace("-", "_")
    near = difflib.get_close_matches(typed, [each for each in known if each != name], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name[:60]!r} is not {article} {what}; {hint}known are {', '.join(known)}"
