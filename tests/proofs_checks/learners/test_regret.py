"""The regret model: the rows (those that compile a walk are slow), and the measurement of counterexamples."""

import numpy as np
import pytest

from proofs_checks.learners import regret
from proofs_checks.rows import Effort, decide
from tabular.mdps.mdp import with_reward

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


def test_every_segment_that_can_happen_is_listed_once():
    mdp = regret._gamble(-1.0)
    found = regret.all_segments(mdp, 2, ended=True)
    # from the choice 2 actions into 1 + 2 places, 2 actions there; from the other four into the end
    assert found.states.shape == (2 * 3 + 4 * 2 * 2, 2)
    listed = np.concatenate([found.states, found.actions], 1)
    assert len(np.unique(listed, axis=0)) == len(listed)
    assert not (np.asarray(regret.all_segments(mdp, 2, ended=False).states) == 4).any()


def test_an_mdp_and_its_double_are_no_counterexample():
    mdp = regret._wait(0.5)
    pair = regret.Pair((mdp, mdp), 1, sure=False, ended=True)
    assert regret.counterexamples([pair], regret._return) == 0


def test_other_optima_that_preferences_show_are_no_counterexample():
    mdp = regret._wait(0.5)
    other = with_reward(mdp, mdp.reward.at[0, 0].set(-5.0))
    pair = regret.Pair((mdp, other), 1, sure=False, ended=True)
    assert regret.difference(pair, regret._return) > 0.1
    assert regret.counterexamples([pair], regret._return) == 0


def test_a_discount_that_preferences_do_not_show_is_one():
    pair = regret.Pair((regret._wait(0.5), regret._wait(0.95)), 1, sure=False, ended=True)
    assert regret.difference(pair, regret._return) == 0
    assert regret.counterexamples([pair], regret._return) == 1
    assert regret.counterexamples([pair], regret._regret) == 0
