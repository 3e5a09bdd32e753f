"""The instances of the convergence figure are the games they are called."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.convergence.games import LARGE_ACTIONS, MEDIUM_ACTIONS, TITLES, build
from tabular import families
from tabular.nash import solve_regularised
from tabular.published import nash_md_table3
from tabular.rational import solve_exact

BETAS = jnp.array([0.3, 0.03])


def test_shapes_names_and_normalisation():
    medium, large = build(jax.random.key(0), 4, BETAS)
    assert (*medium.names, *large.names) == tuple(TITLES)
    assert medium.preference.shape == (5, 4, MEDIUM_ACTIONS, MEDIUM_ACTIONS)
    assert large.log_ref.shape == (1, 4, 2, LARGE_ACTIONS)
    for group in (medium, large):
        np.testing.assert_allclose(group.preference + group.preference.mT, 1.0, atol=1e-15)
        np.testing.assert_allclose(jnp.exp(group.log_ref).sum(-1), 1.0, atol=1e-12)


def test_fixed_games_are_padded_with_excluded_actions():
    medium, _ = build(jax.random.key(0), 2, BETAS)
    np.testing.assert_array_equal(medium.preference[0, 1], nash_md_table3()[1])
    np.testing.assert_array_equal(medium.preference[2, 0, :3, :3], families.dice())
    assert np.isneginf(medium.log_ref[2, :, :, 3:]).all()
    assert np.isfinite(medium.log_ref[2, :, :, :3]).all()


def test_the_planted_policy_is_the_equilibrium_at_every_beta():
    _, large = build(jax.random.key(1), 2, BETAS)
    for seed in range(2):
        for b, beta in enumerate(BETAS):
            solution = solve_regularised(large.preference[0, seed], large.log_ref[0, seed, b], beta)
            np.testing.assert_allclose(solution.log_policy, large.log_nash[0, seed], atol=1e-11)


def test_the_planted_matrix_has_an_unregularised_equilibrium_of_full_support():
    _, large = build(jax.random.key(1), 2, BETAS)
    for matrix in np.asarray(large.preference[0]):
        solution = solve_exact(matrix)
        assert solution.support.all()
        assert solution.exploitability < 1e-12
