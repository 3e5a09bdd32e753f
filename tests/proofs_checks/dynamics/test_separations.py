"""Separations: what methods do not do, as expected."""

import pytest

from proofs_checks.dynamics import separations
from proofs_checks.rows import Effort, decide

FAST = {"game.two_actions", "online_mirror_descent.drift"}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=check.name, marks=() if check.name in FAST else pytest.mark.slow)
        for check in separations.CHECKS
    ],
)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome
