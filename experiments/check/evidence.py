"""Contradictions between a ledger's rows and its other evidence: searches, breaking points, certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXCESS = 1e-6  # of a ratio found by a search: beyond what rounding can add


def contradictions(ledger: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each contradiction of a claim; empty where all evidence agrees.

    A claim is contradicted by an instance on which ball arithmetic refutes it, by a search that brings
    measured/bound above 1 in its range, or by a violation at a step size that it covers.

    Args:
      ledger: as ``proofs_checks.ledger.assemble`` makes it.

    >>> contradictions({"certificates": {"mine.kl": {"refuted": 2}}, "tightness": {}, "breaking": {}})
    ['mine.kl: refuted on 2 instances in ball arithmetic']
    """
    said = [
        f"{name}: refuted on {found['refuted']} instances in ball arithmetic"
        for name, found in ledger["certificates"].items()
        if found["refuted"]
    ]
    said += [
        f"{name}: a search in its range reaches measured/bound {found['best']}"
        for name, found in ledger["tightness"].items()
        if float(found["best"]) > 1 + EXCESS
    ]
    for found in ledger["breaking"].values():
        for point in found["points"]:
            covered = point["proved_to"] * (1 + 1e-12)
            worst = max((float(ratio) for step, ratio in point["grid"] if step <= covered), default=0.0)
            if worst > 1 + EXCESS:
                said.append(
                    f"{found['claim']}: violated in its range with {point['actions']} actions at beta = "
                    f"{point['beta']:g}"
                )
    return said
