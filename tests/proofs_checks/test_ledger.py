import importlib
import pkgutil
import types

import pytest

import proofs_checks
from nlhf import ALGORITHMS
from nlhf.method import default
from proofs_checks import ledger
from proofs_checks.rows import FAILS, HOLDS, KINDS, UNCHECKED, Check, Effort, Outcome


def make_check(name, worst=0.5, control=2.0, refuted=False, subject="game", judged=True):
    return Check(
        name=name,
        subject=subject,
        kind="lemma" if judged else "unchecked",
        source="here",
        status="derived",
        statement=f"the statement of {name}",
        assumptions="none",
        judge=(lambda effort: Outcome(7, worst, "a wrong sign", control, 1.0)) if judged else None,
        refuted=refuted,
        reason="" if judged else "nobody can",
    )


def test_no_row_is_forgotten():
    """Whatever module of the package has rows, they are in the ledger."""
    collected = {id(check) for check in ledger.collect()}
    for found in pkgutil.walk_packages(proofs_checks.__path__, "proofs_checks."):
        module = importlib.import_module(found.name)
        for check in getattr(module, "CHECKS", ()):
            assert id(check) in collected, f"{check.name} of {found.name} is not collected"


def test_every_claim_of_every_algorithm_has_its_row():
    names = {check.name for check in ledger.collect()}
    # at a small step, and at the default, which may be a schedule
    claims = {
        claim.name
        for name in ALGORITHMS
        for step_size in (0.1, None)
        for claim in default(name, 0.1, step_size).claims
    }
    assert len(claims) > 20
    assert claims <= names


@pytest.mark.parametrize("check", ledger.collect(), ids=lambda check: check.name)
def test_a_row_says_all_it_must(check):
    assert check.kind in KINDS
    assert check.status in ("theorem", "derived", "empirical", "published, not read")
    for text in (check.name, check.subject, check.statement, check.source, check.assumptions):
        assert text
        assert "\n" not in text
    assert (check.judge is None) == (check.kind == "unchecked") == bool(check.reason)


def test_names_are_unique(monkeypatch):
    one, other = make_check("game.same"), make_check("game.same")
    modules = (types.SimpleNamespace(CHECKS=(one,)), types.SimpleNamespace(CHECKS=(one,)))
    monkeypatch.setattr(ledger, "MODULES", modules)
    assert ledger.collect() == (one,)  # handed on, not doubled
    monkeypatch.setattr(ledger, "MODULES", (*modules, types.SimpleNamespace(CHECKS=(other,))))
    with pytest.raises(ValueError, match=r"game\.same"):
        ledger.collect()


@pytest.mark.parametrize(
    ("check", "verdict", "as_expected"),
    [
        (make_check("a"), HOLDS, True),
        (make_check("a", worst=1.5), FAILS, False),
        (make_check("a", control=0.9), HOLDS, False),
        (make_check("a", worst=float("nan")), FAILS, False),
        (make_check("a", worst=1.5, control=0.9, refuted=True), FAILS, True),
        (make_check("a", worst=0.5, control=0.9, refuted=True), HOLDS, False),
        (make_check("a", worst=1.5, control=1.5, refuted=True), FAILS, False),
        (make_check("a", judged=False), UNCHECKED, True),
    ],
)
def test_verdicts(check, verdict, as_expected):
    row = ledger.judge(check, Effort())
    assert (row["verdict"], row["as_expected"]) == (verdict, as_expected)
    assert bool(ledger.unexpected([row])) == (not as_expected)
    assert row["statement"] == "the statement of a"
    if verdict != UNCHECKED:
        assert (row["instances"], row["limit"], row["control"]) == (7, 1.0, "a wrong sign")


def test_evidence_goes_with_what_it_is_about(monkeypatch):
    def measure(name, effort):
        return {"about": name, "quick": effort.quick}

    monkeypatch.setattr(
        ledger,
        "EVIDENCE",
        (("tightness", ("egpo.kl", "omwu.kl"), measure), ("breaking", ("egpo",), measure)),
    )
    checks = (make_check("egpo.kl", subject="egpo"), make_check("game.skew"))
    effort = Effort(3)
    entries = ledger.entries(checks, effort)
    assert [(entry.section, entry.name) for entry in entries] == [
        ("rows", "egpo.kl"),
        ("rows", "game.skew"),
        ("tightness", "egpo.kl"),
        ("breaking", "egpo"),
    ]
    values = {(entry.section, entry.name): entry.measure(effort) for entry in entries}
    whole = ledger.assemble(effort, {"versions": {}}, values)
    assert [row["name"] for row in whole["rows"]] == ["egpo.kl", "game.skew"]
    assert whole["tightness"] == {"egpo.kl": {"about": "egpo.kl", "quick": False}}
    assert whole["breaking"] == {"egpo": {"about": "egpo", "quick": False}}
    assert whole["certificates"] == {}
    assert (whole["effort"], whole["seed"], whole["part"]) == ("full", 3, False)
    quick = ledger.entries(checks, Effort(3, True))
    assert [entry.section for entry in quick] == ["rows", "rows"]  # the searches take minutes
