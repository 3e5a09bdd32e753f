"""What exploration costs: rows as expected, the simulation against a plain loop, runs as asked for."""

import jax
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from nlhf import xpo
from proofs_checks.learners import rare, xpo_bound, xpo_rates
from proofs_checks.rows import Effort, decide
from tabular.replay import counts

CHECKS = (*xpo_rates.CHECKS, *xpo_bound.CHECKS)


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 12


def loop(rng, inverse_beta, cap):
    """Online DPO on two responses, comparison by comparison."""
    beta, values = 1 / inverse_beta, rare.CLASSES["grid"]
    rewards = np.stack([values, 0 * values], 1)
    log_ref = xpo_bound.rare_log_ref(np.array([inverse_beta]))
    log_policy = log_softmax(log_ref + rewards / beta, axis=-1)
    best = log_softmax(log_ref + np.array([[1.0, 0.5]]) / beta, axis=-1)
    gap = beta * (np.exp(log_policy) * (log_policy - best)).sum(-1)
    loss, policy = np.zeros(len(values)), 0
    for step in range(cap):
        if gap[policy] < rare.SOLVED:
            return step
        first, second = rng.random(2) < np.exp(log_policy[policy, 0])
        if first != second:
            won = rng.random() < expit(0.5)
            loss += np.logaddexp(0, -values if won else values)
            policy = int(np.round(loss, 12).argmin())
    return cap


def test_the_simulation_jumps_over_what_a_loop_walks_through():
    rng, cap = np.random.default_rng(0), 300
    walked = np.array([loop(rng, 16.0, cap) for _ in range(400)])
    jumped = np.minimum(rare.jump(rng, 16.0, 20000, cap), cap)
    for quantile in (0.1, 0.25, 0.5):
        share = (walked <= np.quantile(jumped, quantile)).mean()
        expected = (jumped <= np.quantile(jumped, quantile)).mean()
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)


def test_the_first_label_decides_over_a_wide_class():
    stuck = rare.jump(np.random.default_rng(1), 60.0, 4000, 1e12) >= 1e12
    assert abs(stuck.mean() - (1 - expit(0.5))) < 0.03
    free = rare.jump(np.random.default_rng(1), 60.0, 4000, 1e12, "one-sided") >= 1e12
    assert free.mean() == 0


def test_the_reference_comes_first_in_every_class():
    assert all(values[0] == 0 for values in rare.CLASSES.values())
    assert sorted(rare.CLASSES["grid"]) == list(np.linspace(-1, 1, 9))


def test_hitting_times_by_hand():
    gaps = np.array([[0.3, 0.2, 0.1, 0.3], [0.3, 0.3, 0.3, 0.3], [0.1, 0.3, 0.3, 0.3]])
    np.testing.assert_array_equal(rare.hitting(gaps), [2, 3, 0])


def test_exponents_and_regret_by_hand():
    horizon = np.array([10, 100, 1000])
    np.testing.assert_allclose(xpo_rates.exponent(3 * horizon[:, None] ** -0.5, horizon), 0.5, rtol=1e-12)
    gaps = np.arange(8.0).reshape(1, 1, 1, 2, 4)
    np.testing.assert_allclose(xpo_rates.regret(gaps, np.array([1, 2, 4]))[:, 0], [2, 2.5, 3.5])


def test_a_batch_is_the_runs_it_was_asked_for():
    batch = rare.Batch()
    batch.add(jax.random.key(0), "first", [0.01, 0.1], 60.0, rare.GOOD, 3)
    batch.add(jax.random.key(0), "second", 0.1, [60.0, 200.0], rare.BAD, 2)
    parts = batch.play("xpo", 50)
    assert {name: part.shape for name, part in parts.items()} == {
        "first": (2, 1, 1, 3, 51),
        "second": (1, 2, 1, 2, 51),
    }
    # settings reach their runs: the bad response is left alone, the good one is found with optimism alone
    assert (parts["first"][0] != parts["first"][1]).any()
    assert parts["first"][..., 0].min() > 0.37
    assert parts["second"][..., 0].max() < 0.01


def test_the_method_that_is_run_is_xpo():
    mine, library = rare.METHODS["xpo"](0.1, 0.02), xpo(0.1 * 0.02, 0.02, counts(1, 2))
    assert jax.tree.structure(mine) == jax.tree.structure(library)
    assert jax.tree.leaves(mine) == jax.tree.leaves(library)


def test_the_constants_of_a_class_by_hand():
    # β log π/π_ref of the rewards (0, 0) and (1, 0) under a uniform reference
    known = xpo_bound.constants(
        np.log(np.full((1, 2), 0.5)), np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([1.0])
    )
    normaliser = np.log((np.e + 1) / 2)
    np.testing.assert_allclose(known.scale, 1 + max(normaliser, 1 - normaliser))
    np.testing.assert_allclose(known.coverability, np.e / (1 + np.e) + 0.5)
    # optimism times the bound, over β, is the logarithmic terms over T
    horizon = np.array([[100.0]])
    expected = known.log_term(horizon) * np.log(horizon) / horizon
    np.testing.assert_allclose(known.optimism(horizon) * known.bound(horizon), expected, rtol=1e-12)
