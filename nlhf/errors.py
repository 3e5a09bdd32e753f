"""The one exception and the one warning that users of this project are expected to meet."""

from __future__ import annotations


class InputError(ValueError):
    """Input that breaks a stated rule; its message names the value, the rule and the mend.

    The command line turns it into one line on stderr and exit code 2; in a program it is an ordinary
    ``ValueError``.

    >>> raise InputError("entry [0, 1] is 1.2, but a probability lies in [0, 1]; divide counts by totals")
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: entry [0, 1] is 1.2, but a probability lies in [0, 1]; divide counts by totals
    """


class RangeWarning(UserWarning):
    """A hyper-parameter outside the range that a theorem covers: the run goes on, its bound is void."""
