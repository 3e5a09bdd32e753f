"""Separations: what methods do not do, as expected."""

import pytest

from proofs_checks.dynamics import separations
from proofs_checks.rows import Effort, decide


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", separations.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome
