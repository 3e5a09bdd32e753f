"""Spectra at the equilibrium: known ones come out, and rows are as expected."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from proofs_checks.dynamics import spectra
from proofs_checks.dynamics.noise import plant
from proofs_checks.rows import Effort, decide
from tabular.families import rock_paper_scissors


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", spectra.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


@pytest.mark.parametrize("size", [3, 51, 201])
def test_spin_of_a_circle(size):
    # the circulant's eigenvalues are a geometric sum: cot(π/(2A))/(2A), which tends to 1/π
    largest = spectra.spin(rock_paper_scissors(size) - 0.5, np.full(size, 1 / size))[0]
    assert largest == pytest.approx(1 / (2 * size * np.tan(np.pi / (2 * size))), rel=1e-9)
    assert largest < 1 / np.pi


def test_spin_is_the_imaginary_part_of_the_fixed_point_map():
    game, log_nash = plant(np.random.default_rng(0), np.array([0.3]), 5)
    advantage, policy = np.asarray(game.advantage[0, 0]), np.exp(np.asarray(log_nash[0, 0]))
    spread = np.diag(policy) - np.outer(policy, policy)
    plain = np.sort(np.abs(np.linalg.eigvals(advantage @ spread).imag))[::-1]
    np.testing.assert_allclose(spectra.spin(advantage, policy), plain, atol=1e-12)


def test_jacobian_of_the_online_ipo_step():
    game, log_nash = plant(np.random.default_rng(1), np.array([0.3]), 4)
    one = jax.tree.map(lambda leaf: leaf[0], game)
    point, small = log_nash[0, 0], 1e-5
    # by differences: the weights of the pairs move with the policy, which stop_gradient hides from autodiff
    step = jax.jit(jax.vmap(lambda logits: spectra.ascent(one, logits, jnp.asarray(0.1))))
    shifts = small * jnp.eye(4)
    move = np.asarray(step(point[None] + shifts) - step(point[None] - shifts)).T / (2 * small)
    values = np.linalg.eigvals(move)
    expected = 1 - 0.1 * spectra.gradient_spectrum(
        np.asarray(one.advantage[0]), np.exp(np.asarray(log_nash[0, 0])), 0.3
    )
    for value in expected:
        assert np.abs(values - value).min() < 1e-8


def test_optimistic_factor_at_small_spin():
    # the expansion to second order: log|z| = -(ηs)²/2, and two modes are judged by the slower one
    factor = spectra.optimistic_factor(0.5, np.array([0.2, 0.02, 0.0]))
    assert np.log(factor) == pytest.approx(-0.5 * 0.01**2, rel=1e-3)
