"""The ledger: every check of the referee in one list, and what one run of them all says, as JSON values.

The work is cut into entries, each judged on its own: the row of a check, and beside the rows the further
evidence about a claim (the tightest instance found, where it breaks, what interval arithmetic certifies).
Whoever runs them may stop between any two.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from proofs_checks import breaking, claims, tightness, unchecked
from proofs_checks.certificates import certify
from proofs_checks.certificates import lemmas as certified_lemmas
from proofs_checks.dynamics import edges, floors, noise, scaling, separations, simulations, spectra
from proofs_checks.identities import algorithms as identities
from proofs_checks.identities import bradley_terry, examples, instruments
from proofs_checks.identities import game as game_identities
from proofs_checks.identities import gradients as gradient_identities
from proofs_checks.identities import losses as loss_identities
from proofs_checks.identities import steps as step_rows
from proofs_checks.learners import (
    cpl,
    cpl_fits,
    dpo_offline,
    fast_rates,
    others,
    partial_return,
    regret,
    samplers,
    vpo_identities,
    vpo_optimism,
    vpo_rates,
    xpo_bonus,
    xpo_bound,
    xpo_identities,
    xpo_lemmas,
    xpo_rates,
)
from proofs_checks.lemmas import extragradient as extragradient_lemmas
from proofs_checks.lemmas import extragradient_bounds, original_game, proximal
from proofs_checks.lemmas import game as lemmas
from proofs_checks.lemmas import omwu as omwu_lemmas
from proofs_checks.lemmas import steps as step_lemmas
from proofs_checks.rows import Check, Effort, Row, decide

FORMAT = 1
MODULES = (
    *(claims, lemmas, step_lemmas, extragradient_lemmas, extragradient_bounds, omwu_lemmas, proximal),
    *(step_rows, identities, game_identities, loss_identities, gradient_identities),
    *(examples, bradley_terry, original_game, instruments, certified_lemmas),
    *(scaling, spectra, noise, floors, edges, separations, simulations),
    *(xpo_identities, xpo_lemmas, xpo_rates, xpo_bonus, xpo_bound, samplers, dpo_offline),
    *(vpo_identities, vpo_optimism, vpo_rates, fast_rates),
    *(cpl, cpl_fits, regret, partial_return, others),
    unchecked,
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
    """A unit of work.

    Attributes:
      section: ``"rows"``, or one of ``SECTIONS``.
      name: of the check, or of what the further evidence is about; unique in its section.
      measure: ``measure(effort) -> JSON values`` (NaN and infinities included).
    """

    section: str
    name: str
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
      checks: what to judge.
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
    return {
        "name": check.name,
        "subject": check.subject,
        "kind": check.kind,
        "status": check.status,
        "statement": check.statement,
        "assumptions": check.assumptions,
        "source": check.source,
        "refuted": check.refuted,
        "reason": check.reason,
    }


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
