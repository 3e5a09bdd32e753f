"""The rows about related methods."""

import numpy as np
import pytest

from proofs_checks.learners import others
from proofs_checks.rows import Effort, decide

SLOW = ("rto.dense_reward", "maxmin.worst_group")  # compile solvers


def param(check):
    marks = [pytest.mark.slow] if check.name in SLOW else []
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in others.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in others.CHECKS]
    assert len(set(names)) == len(names)
    assert set(SLOW) <= set(names)


@pytest.mark.slow
def test_the_pooled_policy_loses_more_where_groups_are_less_equal():
    beta = np.array([0.2])
    losses = [others.group_loss(beta, share)[0] for share in (0.5, 0.7, 0.9)]
    assert losses[0] < losses[1] < losses[2]
