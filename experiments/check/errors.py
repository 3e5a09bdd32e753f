"""What ``nlhf check`` says of a claim that does not exist, and of a verdict that is not the expected one."""

from __future__ import annotations

import difflib

NEAR = 5  # names that a message about an unknown claim suggests


class UnexpectedVerdictError(ArithmeticError):
    """A row's verdict, or its control's, is not the one that the ledger stands for."""


def unknown_claim(claim: str, names: list[str]) -> str:
    """Return the message about a claim that does not exist, with the near matches.

    >>> unknown_claim("egpo.lk", ["egpo.kl", "omwu.kl", "game.skew"])
    "'egpo.lk' is not a claim; did you mean egpo.kl? `nlhf check` prints all their names"
    """
    lower = claim.lower()
    near = difflib.get_close_matches(lower, names, n=NEAR)
    near += [name for name in names if lower in name and name not in near][: NEAR - len(near)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{claim[:60]!r} is not a claim; {hint}`nlhf check` prints all their names"
