"""Counterexamples: what is enumerated, and that the measurement finds nothing where there is nothing."""

import numpy as np

from proofs_checks.learners import partial_return as rows
from tabular.mdps.mdp import with_reward


def test_every_segment_that_can_happen_is_listed_once():
    mdp = rows._gamble(-1.0)
    found = rows.all_segments(mdp, 2, ended=True)
    # from the choice 2 actions into 1 + 2 places, 2 actions there; from the other four into the end
    assert found.states.shape == (2 * 3 + 4 * 2 * 2, 2)
    listed = np.concatenate([found.states, found.actions], 1)
    assert len(np.unique(listed, axis=0)) == len(listed)
    assert not (np.asarray(rows.all_segments(mdp, 2, ended=False).states) == 4).any()


def test_an_mdp_and_its_double_are_no_counterexample():
    mdp = rows._wait(0.5)
    pair = rows.Pair((mdp, mdp), 1, sure=False, ended=True)
    assert rows.counterexamples([pair], rows._return) == 0


def test_other_optima_that_preferences_show_are_no_counterexample():
    mdp = rows._wait(0.5)
    other = with_reward(mdp, mdp.reward.at[0, 0].set(-5.0))
    pair = rows.Pair((mdp, other), 1, sure=False, ended=True)
    assert rows.difference(pair, rows._return) > 0.1
    assert rows.counterexamples([pair], rows._return) == 0


def test_a_discount_that_preferences_do_not_show_is_one():
    pair = rows.Pair((rows._wait(0.5), rows._wait(0.95)), 1, sure=False, ended=True)
    assert rows.difference(pair, rows._return) == 0
    assert rows.counterexamples([pair], rows._return) == 1
    assert rows.counterexamples([pair], rows._regret) == 0
