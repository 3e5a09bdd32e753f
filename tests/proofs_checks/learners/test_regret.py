"""The rows about the regret model; those that compile a walk are slow."""

import pytest

from proofs_checks.learners import regret
from proofs_checks.rows import Effort, decide

CHEAP = ("optimal_set", "only_the_order", "logistic_identifies_advantage", "partial_return.discount")


def param(check):
    marks = [] if check.name.removeprefix("regret_model.") in CHEAP else [pytest.mark.slow]
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in regret.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in regret.CHECKS]
    assert len(set(names)) == len(names)
    assert {f"regret_model.{name}" for name in CHEAP} <= set(names)
