"""Samplers of online DPO and offline DPO: rows as expected, and the instruments on cases known by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from proofs_checks.learners import dpo_rates
from proofs_checks.learners.labels import counted
from proofs_checks.rows import Effort, decide

CHECKS = dpo_rates.CHECKS


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 6


def test_pairs_weigh_what_the_step_size_says():
    bandit = jax.tree.map(lambda leaf: leaf[1], dpo_rates.instances(Effort(quick=True), 4))
    size = int(np.isfinite(np.asarray(bandit.log_ref)).sum())
    ask = jax.jit(dpo_rates._pairs)
    for sampler in range(3):
        pairs = ask(bandit, jnp.asarray(sampler), jnp.asarray(1.0), bandit.log_ref)
        total = 2 * float(bandit.beta) ** 2 * size * dpo_rates.RATE
        np.testing.assert_allclose(np.asarray(pairs.weight).sum(), total, rtol=1e-12)
        weight = np.asarray(pairs.weight)
        assert weight.min() >= 0
        different = (np.asarray(pairs.first) != np.asarray(pairs.second)) & (weight > 0)
        assert different.sum() == size * (size - 1)


def test_the_reward_is_where_the_published_update_rests():
    bandit = dpo_rates.three_arms()
    for sampler in range(3):
        theta = dpo_rates.published(bandit, 0, sampler, 60)[-1]
        np.testing.assert_allclose(theta - theta[0], [0, 1 / 3, 1], atol=1e-8)


def test_the_slowest_factor_of_two_responses():
    # one mode, (1, -1)/√2, of curvature 2σ'(d)
    slope = expit(0.7) * expit(-0.7)
    np.testing.assert_allclose(dpo_rates.slowest_factor(np.array([0.0, 0.7])), 1 - 4 * slope, rtol=1e-12)


def test_a_data_set_counts_its_pairs():
    reward, behaviour = np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.5, 0.0])
    number = dpo_rates.data(np.random.default_rng(0), reward, behaviour, 5000)
    found = jax.tree.map(lambda column: np.asarray(column)[0], counted(number[None]))
    assert float(found.weight.sum()) == 5000
    assert float(found.weight[(found.first == 2) | (found.second == 2)].sum()) == 0
    chosen = (found.first == 1) & (found.second == 0)
    won = float(found.weight[chosen] @ found.prefer_first[chosen]) / float(found.weight[chosen].sum())
    assert abs(won - expit(1.0)) < 0.05


def test_unlimited_data_leave_the_predicted_gap():
    """Descent on the population loss in numpy and SciPy, from equal logits."""
    reward, beta = np.array([0.1, 0.9, 0.5, 1.6]), 0.3
    covered = np.array([True, True, True, False])

    def loss(theta):
        seen, true = beta * theta[:3], reward[:3]
        margin, label = seen[:, None] - seen, expit(true[:, None] - true)
        pull = label - expit(margin)
        return (np.logaddexp(0, margin) - label * margin).sum(), np.append(-2 * beta * pull.sum(1), 0.0)

    theta = minimize(loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-10}).x
    found, best = log_softmax(theta), log_softmax(reward / beta)
    gap = beta * np.exp(found) @ (found - best)
    predicted = dpo_rates.limits(reward[None], covered[None], np.array([beta]))[0]
    np.testing.assert_allclose(gap, predicted, rtol=1e-6)
    everything = dpo_rates.limits(reward[None], np.ones((1, 4), bool), np.array([beta]))[0]
    assert abs(everything) < 1e-15
