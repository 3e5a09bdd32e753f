import numpy as np

from proofs_checks.learners.mdp_bank import BETAS, bank, scale
from proofs_checks.rows import Effort


def test_the_bank_spreads_its_coefficients_and_its_optima_solve_their_equation():
    of = bank(Effort(quick=True))
    np.testing.assert_allclose((of.beta[0], of.beta[-1]), BETAS)
    assert 0.5 <= of.discount.min() < 0.6
    assert 0.9 < of.discount.max() < 1
    logits = of.q / of.beta[:, None, None]
    np.testing.assert_allclose(
        of.beta[:, None] * np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))
        + of.beta[:, None] * logits.max(-1),
        of.v,
        rtol=1e-11,
    )


def test_errors_are_relative_to_the_largest_value():
    np.testing.assert_array_equal(scale(np.array([[-2.0, 1.0]])), [3.0])
