from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from proofs_checks.identities import bradley_terry, examples
from proofs_checks.rows import Effort, decide
from tabular import families
from tabular.rational import solve_exact

QUICK = Effort(0, True)
CHECKS = (*examples.CHECKS, *bradley_terry.CHECKS)


def solve(preference, log_ref, beta):
    return np.log(reference.regularised_nash(preference, np.exp(log_ref), beta))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_row_is_as_expected(check):
    row = decide(check, check.judge(QUICK))
    assert row.as_expected, (row.verdict, row.outcome.worst, row.outcome.control_worst, row.outcome.witness)


@pytest.mark.parametrize("epsilon", [Fraction(1, 10), Fraction(-1, 7), Fraction(1, 4)])
def test_the_exact_solver_finds_the_policy_of_the_three_types(epsilon):
    solution = solve_exact(np.array(examples.three_types(epsilon), object))
    expected = (Fraction(1, 3) + epsilon / 2, Fraction(1, 3) + epsilon / 2, Fraction(1, 3) - epsilon)
    assert solution.fractions == expected


def test_a_fit_recovers_the_scores_of_a_bradley_terry_model():
    score = np.array([0.3, -1.0, 2.0, 0.5])
    preference = np.asarray(families.bradley_terry(jnp.asarray(score)))
    fitted = examples.bradley_terry_fit(preference, np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(fitted, score - score.mean(), atol=1e-13)


def test_the_order_of_the_best_reward_is_that_of_mean_win_rates_under_uniform_pairs():
    preference = examples._inner(np.random.default_rng(0), 6, False)
    fitted = examples.bradley_terry_fit(preference, np.full(6, 1 / 6))
    assert (np.argsort(fitted) == np.argsort(preference.sum(1))).all()


@pytest.mark.parametrize("beta", [0.05, 0.4])
def test_the_solver_agrees_with_the_closed_forms(beta):
    score, log_ref = np.array([0.4, -0.1, 0.25]), np.log([0.2, 0.5, 0.3])
    additive = 0.5 + (score[:, None] - score[None, :]) / 2
    solved = solve(additive, log_ref, beta)
    expected = log_ref + score / (2 * beta)
    np.testing.assert_allclose(solved, expected - np.log(np.exp(expected).sum()), atol=1e-12)
    fitted = np.asarray(families.bradley_terry(jnp.asarray(1e-5 * score)))
    small = log_ref + 1e-5 * score / (4 * beta)
    np.testing.assert_allclose(solve(fitted, log_ref, beta), small - np.log(np.exp(small).sum()), atol=1e-12)


def test_scores_that_are_not_small_have_another_nash_policy():
    score, log_ref = np.array([2.0, -1.0, 0.5]), np.log([0.2, 0.5, 0.3])
    preference = np.asarray(families.bradley_terry(jnp.asarray(score)))
    ratio = solve(preference, log_ref, 0.1) - log_ref
    assert bradley_terry._nonlinearity(ratio, score) > 0.01
    assert (np.diff(ratio[np.argsort(score)]) > 0).all()
