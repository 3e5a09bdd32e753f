"""Implicit values and XPO's identities: the rows are as expected, and so are the instruments they use."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from proofs_checks.learners import xpo_bonus, xpo_identities
from proofs_checks.learners.xpo_identities import Walks
from proofs_checks.rows import Effort, decide
from tabular.bandits import make_bandit

CHECKS = (*xpo_identities.CHECKS, *xpo_bonus.CHECKS)


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 11


def small(certain):
    """A root, two states and an end; the optimum by hand from V = β log Σ ref exp(Q/β)."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 1] = transition[0, 1, 2] = 1
    if not certain:
        transition[0] = [[0, 0.5, 0.5, 0], [0, 0.2, 0.8, 0]]
    transition[1:, :, 3] = 1
    reward = np.array([[0.1, -0.4], [1.0, 0.3], [-0.5, 0.8], [0, 0]])
    log_ref, beta = np.log(np.array([[0.3, 0.7], [0.6, 0.4], [0.5, 0.5], [0.5, 0.5]])), 0.4
    value, log_policy = np.zeros(4), np.zeros((4, 2))
    for state in (2, 1, 0, 3):
        weight = np.exp(log_ref[state]) * np.exp((reward[state] + transition[state] @ value) / beta)
        value[state] = beta * np.log(weight.sum()) if state != 3 else 0.0
        log_policy[state] = np.log(weight / weight.sum())
    action = np.array(list(itertools.product(range(2), repeat=2)))
    rng = np.random.default_rng(0)
    state = xpo_identities._walk(transition, np.zeros(4, int), action, rng)
    return Walks(transition, reward, log_ref, beta, log_policy, state, action), value


@pytest.mark.parametrize("certain", [True, False])
def test_the_backward_sweep_is_the_optimum_by_hand(certain):
    walks, value = small(certain)
    np.testing.assert_allclose(walks.backward(), value, atol=1e-14)


def test_values_of_whole_trajectories_are_those_of_the_sweep():
    walks, value = small(True)
    np.testing.assert_allclose(walks.whole(), value[0], atol=1e-14)
    assert walks.error(walks.along(walks.reward) - walks.whole()) < 1e-14
    assert np.abs(walks.surprise(value)).max() == 0


def test_uncertain_moves_break_the_identity_and_the_martingale_restores_it():
    walks, value = small(False)
    plain = walks.along(walks.reward) - value[0]
    assert walks.error(plain) > 0.01
    assert walks.error(plain + walks.surprise(value)) < 1e-14


def test_walks_follow_the_transitions():
    transition = np.zeros((3, 1, 3))
    transition[0, 0] = 0.0, 0.25, 0.75
    transition[1:, 0] = np.eye(3)[1:]
    state = xpo_identities._walk(
        transition, np.zeros(20000, int), np.zeros((20000, 1), int), np.random.default_rng(0)
    )
    assert abs((state[:, 1] == 1).mean() - 0.25) < 0.015
    assert set(state[:, 1]) == {1, 2}


def test_the_bonus_is_minus_the_forward_divergence():
    bandit = make_bandit([[0.3, 1.0, 0.0]], np.log([[0.2, 0.5, 0.3]]), 0.1)
    log_policy = log_softmax(np.array([[1.0, 0.0, -1.0]]), axis=-1)
    expected = np.exp(bandit.log_ref) @ (log_policy - np.asarray(bandit.log_ref)).T
    measured = jax.jit(xpo_bonus.bonus)(bandit, jnp.asarray(log_policy), bandit.log_ref)
    np.testing.assert_allclose(measured, expected[0, 0], rtol=1e-14)


def test_the_first_pick_is_worth_most_at_the_stated_mass():
    for beta in (0.05, 0.3):
        mass = beta - 1 / np.expm1(1 / beta)
        assert abs(xpo_bonus._best_mass(beta) - mass) < 1e-6
        assert xpo_bonus._first_value(mass, beta) > xpo_bonus._first_value(0.5 * mass, beta)


def test_information_about_a_direct_pair_is_that_of_its_label():
    found = xpo_bonus._information((1, 0), np.array([3.0]))
    p = 1 / (1 + np.exp(-0.5))
    np.testing.assert_allclose(found, p * (1 - p), rtol=1e-10)
