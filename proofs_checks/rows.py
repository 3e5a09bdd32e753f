"""What the ledger is made of: a check asks one question, and its outcome is one row.

A check is data and a function. The function draws its instances from a key, measures, and lets a wrong
version of the same thing (the negative control) run through the same measurement: a row whose control passes
is no evidence.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

HOLDS, FAILS, UNCHECKED = "holds", "fails", "not numerically checkable"
KINDS = ("claim", "lemma", "identity", "scaling", "noise", "separation", "unchecked")
ROUNDING = 1e-9  # relative: what one evaluation of both sides of an inequality may be off by


class Effort(NamedTuple):
    """How much to try."""

    seed: int = 0  # root of all random draws
    quick: bool = False  # a smaller run of the same checks

    def key(self, name: str) -> jax.Array:
        """Return the key of one check; it depends on the seed and the name, not on what else runs."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(name.encode()))

    def rng(self, name: str) -> np.random.Generator:
        """Return a numpy generator for one check, likewise."""
        return np.random.default_rng((self.seed, zlib.crc32(name.encode())))

    def pick(self, quick: Any, full: Any) -> Any:
        """Return one of two sizes."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Outcome:
    """What a check measured."""

    instances: int  # how many were judged
    worst: float  # the largest of measured / allowed for an inequality, of the error for an identity
    control: str  # which wrong version went through the same measurement
    control_worst: float  # what it reached
    limit: float = 1 + ROUNDING  # the row holds if ``worst <= limit``; the control must exceed it
    # the instance that reached ``worst``, as JSON values; small arrays only
    witness: Mapping[str, Any] = field(default_factory=dict)
    # further figures by name, for example a fitted rate
    detail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One line of the ledger, before it is judged."""

    name: str  # unique, ``<subject>.<what>``
    subject: str  # an algorithm's name, or ``"game"``, ``"loss"``, ``"proximal_point"``: what it is about
    kind: str  # one of ``KINDS``
    source: str  # arXiv id and statement where its text was read, else how it was derived
    status: str  # ``"theorem"``, ``"derived"`` or ``"empirical"``, as in ``nlhf.base.Claim``
    statement: str  # the inequality or equality in one line
    assumptions: str  # under which it is meant
    # ``judge(effort) -> Outcome``; ``None`` where numbers cannot decide it
    judge: Callable[[Effort], Outcome] | None
    # True for a statement that is false as it stands (printed so, or suggesting itself): the row must find a
    # counterexample, and the corrected statement is its control
    refuted: bool = False
    reason: str = ""  # why ``judge`` is ``None``


def check_of(
    name: str,
    statement: str,
    assumptions: str,
    judge: Callable[[Effort], Outcome] | None,
    status: str = "derived",
    source: str = "derived",
    *,
    kind: str,
    subject: str = "",
    refuted: bool = False,
    reason: str = "",
) -> Check:
    """Return a ``Check``, by default derived here and about what its name begins with."""
    subject = subject or name.split(".")[0]
    return Check(name, subject, kind, source, status, statement, assumptions, judge, refuted, reason)


def outcome_of(
    errors: np.ndarray,
    control: str,
    wrong: np.ndarray,
    witness: Callable[[int], Mapping[str, Any]],
    limit: float = 1 + ROUNDING,
    detail: Mapping[str, float] | None = None,
) -> Outcome:
    """Return the outcome of one number an instance ``[N]``, right and wrong.

    Args:
      errors: ``[N]`` of the statement.
      control: what the wrong version is.
      wrong: ``[N]`` of the wrong version.
      witness: ``witness(index)`` describes the instance with the largest error.
      limit: as in ``Outcome``.
    """
    index = int(np.argmax(errors))
    return Outcome(
        len(errors),
        float(np.max(errors)),
        control,
        float(np.max(wrong)),
        limit,
        witness(index),
        detail or {},
    )


@dataclass(frozen=True)
class Row:
    """One line of the ledger, judged."""

    check: Check  # what was asked, without its function
    verdict: str  # ``HOLDS``, ``FAILS`` or ``UNCHECKED``
    # whether the negative control exceeded the limit (for a refuted statement: whether its correction stays
    # within it)
    control_fails: bool
    as_expected: bool  # whether the verdict is the one we stand for and the control did its work
    outcome: Outcome | None  # the measurement, ``None`` if unchecked
    seconds: float  # wall time


def decide(check: Check, outcome: Outcome | None, seconds: float = 0.0) -> Row:
    """Turn a measurement into a row; NaN never holds."""
    if outcome is None:
        return Row(check, UNCHECKED, True, True, None, seconds)
    holds = bool(outcome.worst <= outcome.limit)
    beyond = bool(outcome.control_worst > outcome.limit)
    control = bool(outcome.control_worst <= outcome.limit) if check.refuted else beyond
    return Row(
        check, HOLDS if holds else FAILS, control, (holds != check.refuted) and control, outcome, seconds
    )
