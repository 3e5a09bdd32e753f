"""The rows about what CPL learns: one fitting program for them all, so one of them stands for the costs."""

import jax
import numpy as np
import pytest

from proofs_checks.learners import cpl_fits
from proofs_checks.rows import Effort, decide

CHEAP = ("cpl.consistency", "cpl.partial_return.myopic")


def param(check):
    marks = [] if check.name in CHEAP else [pytest.mark.slow]
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.slow
@pytest.mark.parametrize("check", [param(check) for check in cpl_fits.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_single_steps_fill_up_with_steps_at_the_end_that_count_nothing():
    first, second, weight = cpl_fits._every_pair_of_actions()
    num_states, num_actions = cpl_fits.SIZE
    assert int(weight.sum()) == num_states * num_actions**2
    np.testing.assert_array_equal(first.states, second.states)
    np.testing.assert_array_equal(first.states[:, 1:], num_states)
    columns = (first.states[:, 0], first.actions[:, 0], second.actions[:, 0])
    shown = set(zip(*(np.asarray(column).tolist() for column in columns), strict=True))
    assert len(shown - {(num_states, 0, 0)}) == num_states * num_actions**2


def test_nothing_leads_to_the_end_that_is_appended():
    of = cpl_fits.problems(Effort(quick=True), "cpl.consistency")
    mdp = jax.tree.map(np.asarray, of.mdp)
    assert not mdp.transition[:, :-1, :, -1].any()
    np.testing.assert_allclose(mdp.transition.sum(-1), 1, rtol=1e-12)
    assert mdp.terminal[:, -1].all()
    assert not mdp.terminal[:, :-1].any()
