"""The page: what it says, that it says it from the JSON alone, and that the committed one is fresh."""

import json
import pathlib

import pytest

from proofs_checks import ledger, report
from proofs_checks.rows import Effort

FOLDER = pathlib.Path(ledger.__file__).parent


def make_row(name="egpo.kl", **changes):
    row = {
        "name": name,
        "subject": name.split(".")[0],
        "kind": "claim",
        "status": "derived",
        "statement": "KL(π*‖π_t) <= |rate|^t KL_0",
        "assumptions": "β > 0",
        "source": "arXiv:0000.00000",
        "refuted": False,
        "reason": "",
        "verdict": "holds",
        "as_expected": True,
        "seconds": 1.5,
        "date": "2026-01-02T03:04:05+00:00",
        "instances": 160,
        "worst": 0.9876543,
        "limit": 1.000000001,
        "control": "a wrong sign",
        "control_worst": 123456.0,
        "control_fails": True,
        "detail": {"slowest fitted / proved rate": 1.25, "median fitted / proved rate": 2.0},
        "witness": {"game": "tournament", "actions": 3, "advantage": [[0.0]]},
    }
    return {**row, **changes}


UNJUDGED = {
    key: value
    for key, value in make_row("mpo.linear", verdict="not numerically checkable", kind="unchecked").items()
    if key
    not in ("instances", "worst", "limit", "control", "control_worst", "control_fails", "detail", "witness")
} | {"reason": "nobody wrote it down"}
POINT = {
    "actions": 3,
    "beta": 0.1,
    "proved_to": 2.0,
    "holds_to": 2.2,
    "violated_from": 2.5,
    "grid": [[8.0, 3.0]],
}


@pytest.fixture
def made():
    return {
        "format": 1,
        "effort": "quick",
        "seed": 7,
        "part": False,
        "provenance": {"versions": {"python": "3.11.1", "jax": "0.10.0", "optax": None}, "platform": "Linux"},
        "rows": [
            make_row(),
            make_row(
                "game.printed",
                refuted=True,
                verdict="fails",
                worst=31.5,
                control_worst=0.5,
                control="with a baseline",
            ),
            UNJUDGED,
        ],
        "tightness": {
            "egpo.kl": {
                "best": 0.99995,
                "searches": 96,
                "by_actions": [{"actions": 3, "best": 0.99995, "median": 0.9}],
                "instance": {"actions": 3, "beta": 0.1, "advantage": [[0.0]]},
            }
        },
        "breaking": {"egpo": {"claim": "egpo.kl", "points": [POINT], "instances": []}},
        "certificates": {
            "egpo.kl": {"proved": 20, "refuted": 0, "undecided": 0, "bits": 256, "worst": 0.9, "witness": {}}
        },
    }


def test_the_page_says_what_was_measured(made):
    page = report.render(made)
    assert "**3 rows: 1 hold, 1 are refuted, as known, 1 are not numerically checkable.**" in page
    assert "2026-01-02 with quick effort, seed 7; python 3.11.1, jax 0.10.0; Linux." in page
    (line,) = (line for line in page.splitlines() if line.startswith("| `egpo.kl` | holds"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [
        "holds", "160", "0.987654", "1", "fails, 1.2e+05", "1.250, 2.000", "1.25 × the range",
        "20 proved, 256 bits",
    ]  # fmt: skip
    assert "- `egpo.kl` (claim, derived): KL(π\\*‖π_t) <= |rate|^t KL_0. Assumes β > 0." in page
    assert "| `game.printed` | refuted |" in page
    assert "## Statements that are false as they stand" in page
    assert "Correction: with a baseline." in page
    assert "actions 3" in page
    assert "| `egpo.kl` | 3 | 0.1 | 2 | 2.2 | 2.5 |" in page
    assert "- `mpo.linear` (derived; arXiv:0000.00000):" in page
    assert "*nobody wrote it down.*" in page


def test_the_same_ledger_gives_the_same_page_also_after_json(made):
    again = json.loads(json.dumps(made))
    assert report.render(again) == report.render(made)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdict": "fails", "as_expected": False, "worst": 1.5}, "**NOT AS EXPECTED**: fails"),
        (
            {"as_expected": False, "control_fails": False, "control_worst": 0.5},
            "**NOT AS EXPECTED**: its control does not do its work",
        ),
        ({"verdict": "fails", "as_expected": False, "worst": None}, "nan"),
        ({"control_worst": "inf"}, "fails, ∞"),
    ],
)
def test_what_is_wrong_is_not_hidden(made, changes, says):
    made["rows"][0].update(changes)
    page = report.render(made)
    assert says in page
    assert ("1 are **not as expected**" in page) == ("as_expected" in changes)


def test_a_ledger_without_evidence_has_no_empty_sections(made):
    for section in ledger.SECTIONS:
        made[section] = {}
    page = report.render(made)
    assert "How tight" not in page
    assert "Where it breaks" not in page
    assert "certified" not in page


def test_where_no_violation_was_found_nothing_is_claimed(made):
    made["breaking"]["egpo"]["points"] = [{**POINT, "violated_from": None}]
    page = report.render(made)
    assert "not up to 4 × the range" in page
    assert "| none found |" in page


def test_the_committed_page_is_what_the_committed_ledger_gives():
    """Stale? Run ``nlhf check --full --out proofs_checks``."""
    stored = json.loads((FOLDER / "ledger.json").read_text(encoding="utf-8"))
    assert (FOLDER / "LEDGER.md").read_text(encoding="utf-8") == report.render(stored)


def test_the_committed_ledger_has_exactly_the_rows_of_the_code():
    """Stale? Run ``nlhf check --full --out proofs_checks``."""
    stored = json.loads((FOLDER / "ledger.json").read_text(encoding="utf-8"))
    assert not stored["part"]
    described = [ledger.describe(check) for check in ledger.collect()]
    assert [{key: row[key] for key in described[0]} for row in stored["rows"]] == described
    assert ledger.unexpected(stored["rows"]) == []
    for row in stored["rows"]:
        assert row["as_expected"] is True
    entries = ledger.entries(ledger.collect(), Effort(stored["seed"], stored["effort"] == "quick"))
    for section in ledger.SECTIONS:
        assert set(stored[section]) == {entry.name for entry in entries if entry.section == section}
    assert (FOLDER / "ledger.json").stat().st_size < 800_000
