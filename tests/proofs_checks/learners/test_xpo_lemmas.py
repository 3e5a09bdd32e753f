"""Coverage, lemmas and constants: rows as expected, and the instruments on cases known by hand."""

import numpy as np
import pytest

from proofs_checks.learners import xpo_lemmas
from proofs_checks.rows import Effort, decide


@pytest.mark.parametrize("check", xpo_lemmas.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_the_best_cover_of_certain_policies_is_uniform():
    value, cover = xpo_lemmas.best_cover(np.eye(4)[:, None])
    assert abs(value - 4) < 1e-9
    np.testing.assert_allclose(cover, np.full((1, 4), 0.25), atol=1e-9)


def test_the_worst_context_decides():
    policies = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    assert abs(xpo_lemmas.best_cover(policies)[0] - 2) < 1e-9


def test_the_exploration_sum_of_one_policy_by_hand():
    policies, sampler = np.array([[0.9, 0.1]]), np.array([0.2, 0.8])
    value = np.array([[1.0, 0.0]])
    mean, spread = 0.9 * 0.8 - 0.1 * 0.2, 0.9 * 0.8 + 0.1 * 0.2
    expected = sum(mean**2 / max(1.0, t * spread) for t in range(5))
    assert abs(xpo_lemmas.exploration(policies, sampler, value, 5) - expected) < 1e-14
    forgetful = mean**2 * 5
    assert abs(xpo_lemmas.exploration(policies, sampler, value, 5, remember=False) - forgetful) < 1e-14


def test_the_rare_reference_is_a_distribution():
    log_ref = xpo_lemmas.rare_log_ref(np.array([8.0, 80.0]))
    np.testing.assert_allclose(np.exp(log_ref).sum(-1), 1, rtol=1e-15)
    np.testing.assert_allclose(log_ref[:, 0], [-1, -10])


def test_stretches_find_the_extreme_of_two_large_numbers():
    # σ(X) - σ(Y) is about exp(-Y): the factor over X + Y approaches exp(Y) (X - Y)/(X + Y) from below
    first, second, factor = xpo_lemmas.stretches(Effort(quick=True), 1.0, 6.0)
    far = first > second + 3
    least = np.exp(second) * (first - second) / (first + second)
    assert (factor[far] >= least[far]).all()
