"""The rows about what regret preferences say, in algebra; those that compile a walk are slow."""

import numpy as np
import pytest

from proofs_checks.learners import cpl, cpl_fits
from proofs_checks.rows import Effort, decide

CHEAP = ("cpl.advantage_identity", "cpl.any_policy_is_optimal", "cpl.conservative.shift", "cpl.dpo")


def param(check):
    marks = [] if check.name in CHEAP else [pytest.mark.slow]
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in cpl.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in (*cpl.CHECKS, *cpl_fits.CHECKS)]
    assert len(set(names)) == len(names)
    assert set(CHEAP) <= set(names)
    assert all(name.startswith("cpl.") for name in names)


def test_no_statement_number_is_cited_that_was_not_read():
    for check in (*cpl.CHECKS, *cpl_fits.CHECKS):
        assert "2310.13639" in check.source
        assert not {"Theorem", "Proposition", "Lemma"} & set(check.source.split())


def test_a_loss_of_another_temperature_is_not_dpos(monkeypatch):
    """The row sees a wrong loss, not only a wrong reference."""
    right = cpl.contrastive

    def colder(first, second, label, *, temperature, bias):
        return right(first, second, label, temperature=1.01 * temperature, bias=bias)

    monkeypatch.setattr(cpl, "contrastive", colder)
    check = next(check for check in cpl.CHECKS if check.name == "cpl.dpo")
    outcome = check.judge(Effort(quick=True))
    assert not decide(check, outcome).as_expected
    assert np.isfinite(outcome.worst)
