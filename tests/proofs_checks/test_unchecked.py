import pytest

from nlhf import ALGORITHMS
from proofs_checks.rows import KINDS, UNCHECKED, decide
from proofs_checks.unchecked import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_row_that_numbers_cannot_decide_says_why(check):
    assert check.judge is None
    assert not check.refuted
    assert check.kind == "unchecked"
    assert check.kind in KINDS
    assert check.status in ("theorem", "derived", "empirical", "published, not read")
    for text in (check.name, check.statement, check.source, check.assumptions, check.reason):
        assert text.strip() == text
        assert text
        assert "\n" not in text
    row = decide(check, None)
    assert row.verdict == UNCHECKED
    assert row.as_expected


def test_rows_are_about_what_the_ledger_is_about():
    assert {check.subject for check in CHECKS} <= {*ALGORITHMS, "game", "loss", "proximal_point"}
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_counterpart_that_a_reason_names_is_a_row_that_is_judged():
    from proofs_checks import ledger

    judged = {check.name for check in ledger.collect() if check.judge is not None}
    kinds = {check.kind for check in ledger.collect()}
    words = {word.strip(".,;") for check in CHECKS for word in check.reason.split()}
    named = {word for word in words if word.split(".")[0] in ALGORITHMS and "." in word}
    assert {"egpo.kl", "nash_mirror_prox.kl", "nash_prox.kl", "omwu.average"} <= named
    assert named <= judged
    assert {"noise", "scaling"} <= kinds
