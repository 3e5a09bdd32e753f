"""VPO's bonus: without data, without end, and in online runs."""

import pytest

from proofs_checks.learners import vpo_identities, vpo_optimism
from proofs_checks.rows import Effort, decide

SLOW = ("vpo.bounded_class", "vpo.online_choice")  # compile fits


def param(check):
    marks = [pytest.mark.slow] if check.name in SLOW else []
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in vpo_optimism.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in (*vpo_optimism.CHECKS, *vpo_identities.CHECKS)]
    assert len(set(names)) == len(names)
    assert set(SLOW) <= set(names)
