"""The ledger: every check of the referee in one list, and what one run of them all says, as JSON values.

The work is cut into entries, each judged on its own: the rows of the checks, and further evidence about a
claim (the tightest instance found, where it breaks, what interval arithmetic certifies). A run can be stopped
between any two entries and resumed.
"""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from proofs_checks import breaking, tightness
from proofs_checks.certificates import certify
from proofs_checks.rows import Check, Effort, Row, decide

FORMAT = 1
MODULES = tuple(
    importlib.import_module(f"proofs_checks.{name}")
    for name in [
        "claims",
        "lemmas.game",
        "lemmas.steps",
        "lemmas.extragradient",
        "lemmas.extragradient_bounds",
        "lemmas.omwu",
        "lemmas.proximal",
        "identities.steps",
        "identities.algorithms",
        "identities.game",
        "identities.losses",
        "identities.gradients",
        "identities.examples",
        "identities.bradley_terry",
        "lemmas.original_game",
        "identities.instruments",
        "certificates.lemmas",
        "dynamics.scaling",
        "dynamics.spectra",
        "dynamics.noise",
        "dynamics.floors",
        "dynamics.edges",
        "dynamics.separations",
        "dynamics.simulations",
        "learners.xpo_identities",
        "learners.xpo_lemmas",
        "learners.xpo_rates",
        "learners.xpo_bonus",
        "learners.xpo_bound",
        "learners.dpo_rates",
        "learners.vpo_identities",
        "learners.vpo_optimism",
        "learners.vpo_rates",
        "learners.fast_rates",
        "learners.cpl",
        "learners.cpl_fits",
        "learners.regret",
        "learners.others",
        "unchecked",
    ]
)
SECTIONS = ("tightness", "breaking", "certificates")


def certificate(name: str, effort: Effort) -> dict[str, Any]:
    """Judge a claim in ball arithmetic on small games; JSON values of ``certify.Summary``."""
    found = certify.certify_claim(name, seed=effort.seed, num_instances=effort.pick(2, 20))
    return found._asdict()


Measure = Callable[[str, Effort], Mapping[str, Any]]
EVIDENCE: tuple[tuple[str, Sequence[str], Measure], ...] = (
    ("tightness", tightness.NAMES, tightness.tightest),
    ("breaking", breaking.NAMES, breaking.breaking),
    ("certificates", tuple(certify.claimed()), certificate),
)
SEARCHES = ("tightness", "breaking")  # minutes of compilation, and no verdict: not in a quick run


class Entry(NamedTuple):
    """A unit of work."""

    section: str  # ``"rows"``, or one of ``SECTIONS``
    name: str  # of the check, or of what the further evidence is about; unique in its section
    # ``measure(effort) -> JSON values`` (NaN and infinities included)
    measure: Callable[[Effort], Mapping[str, Any]]


def collect() -> tuple[Check, ...]:
    """Return every check, claims of the algorithms first.

    Raises:
      ValueError: if two have the same name.
    """
    # a module may hand on the rows of another one
    checks = tuple({id(check): check for module in MODULES for check in module.CHECKS}.values())
    names = [check.name for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"checks share the names {twice}; give each its own")
    return checks


def entries(checks: Sequence[Check], effort: Effort) -> tuple[Entry, ...]:
    """Cut checks into units of work: their rows, and the evidence about the claims and methods among them.

    Args:
      effort: a quick run makes no searches for tight and for breaking instances.
    """
    rows = [Entry("rows", check.name, functools.partial(judge, check)) for check in checks]
    about = {check.name for check in checks} | {check.subject for check in checks}
    evidence = [
        Entry(section, name, functools.partial(measure, name))
        for section, names, measure in EVIDENCE
        for name in names
        if name in about and not (effort.quick and section in SEARCHES)
    ]
    return tuple(rows + evidence)


def judge(check: Check, effort: Effort) -> dict[str, Any]:
    """Judge one check and return its row as JSON values."""
    start = time.perf_counter()
    outcome = None if check.judge is None else check.judge(effort)
    return to_json(decide(check, outcome, time.perf_counter() - start))


def describe(check: Check) -> dict[str, Any]:
    """Return what a row says before it is judged, as JSON values."""
    fields = ("name", "subject", "kind", "status", "statement", "assumptions", "source", "refuted", "reason")
    return {field: getattr(check, field) for field in fields}


def to_json(row: Row) -> dict[str, Any]:
    """Return a judged row as JSON values."""
    judged = {
        **describe(row.check),
        "verdict": row.verdict,
        "as_expected": row.as_expected,
        "seconds": round(row.seconds, 3),
    }
    found = row.outcome
    if found is None:
        return judged
    return {
        **judged,
        "instances": int(found.instances),
        "worst": float(found.worst),
        "limit": float(found.limit),
        "control": found.control,
        "control_worst": float(found.control_worst),
        "control_fails": row.control_fails,
        "detail": dict(found.detail),
        "witness": dict(found.witness),
    }


def assemble(
    effort: Effort,
    provenance: Mapping[str, Any],
    values: Mapping[tuple[str, str], Mapping[str, Any]],
    part: bool = False,
) -> dict[str, Any]:
    """Put judged entries together.

    Args:
      effort: they were judged with.
      provenance: versions, platform and date.
      values: what each entry measured, by section and name, in the order of ``entries``.
      part: whether some of the checks were left out.
    """
    ledger: dict[str, Any] = {
        "format": FORMAT,
        "effort": "quick" if effort.quick else "full",
        "seed": effort.seed,
        "part": part,
        "provenance": dict(provenance),
        "rows": [value for (section, _), value in values.items() if section == "rows"],
    }
    for wanted in SECTIONS:
        ledger[wanted] = {name: value for (section, name), value in values.items() if section == wanted}
    return ledger


def unexpected(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows whose verdict, or whose control's, is not the one we stand for."""
    return [row for row in rows if not row["as_expected"]]
