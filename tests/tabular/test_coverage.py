import jax.numpy as jnp
import numpy as np
import scipy.optimize

from tabular.coverage import concentrability, coverability


def test_concentrability_is_the_largest_ratio_and_infinite_off_the_support():
    policy, cover = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]]), np.array([[0.1, 0.9, 0.0], [0.3, 0.3, 0.4]])
    with np.errstate(divide="ignore"):
        log_policy, log_cover = jnp.log(policy), jnp.log(cover)
    np.testing.assert_allclose(concentrability(log_policy, log_cover), 5, rtol=1e-14)
    assert concentrability(log_cover, log_policy) < 5
    missing = log_cover.at[0].set(jnp.log(jnp.array([0.0, 0.5, 0.5])))
    assert concentrability(log_policy, missing) == np.inf


def test_coverability_against_a_linear_programme():
    policies = np.random.default_rng(0).dirichlet(0.4 * np.ones(6), size=5)
    # minimise C = Σ w over w >= π for every policy: w = C μ
    found = scipy.optimize.linprog(np.ones(6), A_ub=-np.tile(np.eye(6), (5, 1)), b_ub=-policies.ravel())
    np.testing.assert_allclose(coverability(jnp.log(policies)[:, None], jnp.ones(1)), found.fun, rtol=1e-9)


def test_coverability_is_a_mean_over_contexts():
    policies = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(coverability(jnp.log(policies), jnp.array([0.25, 0.75])), 1.25)
