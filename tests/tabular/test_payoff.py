import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tabular.payoff import BradleyTerry, LowRank, dense, payoff

KEYS = jax.random.split(jax.random.key(0), 4)
LOG_POLICY = jax.nn.log_softmax(3 * jax.random.normal(KEYS[0], (2, 6)))
SKEW = jax.random.uniform(KEYS[1], (2, 6, 6)) - 0.5
STRUCTURES = {
    "matrix": 0.5 * (SKEW - SKEW.swapaxes(1, 2)),
    "low_rank": LowRank(
        0.3 * jax.random.normal(KEYS[2], (2, 6, 2)), 0.3 * jax.random.normal(KEYS[3], (2, 6, 2))
    ),
    "bradley_terry": BradleyTerry(2 * jax.random.normal(KEYS[2], (2, 6))),
}
EACH = pytest.mark.parametrize("name", STRUCTURES)


@EACH
def test_payoff_equals_the_dense_product(name):
    matrix = np.asarray(dense(STRUCTURES[name]))
    expected = np.stack([matrix[x] @ np.exp(LOG_POLICY[x]) for x in range(2)])
    np.testing.assert_allclose(payoff(STRUCTURES[name], LOG_POLICY), expected, rtol=1e-12, atol=1e-15)


@EACH
def test_dense_is_skew(name):
    matrix = np.asarray(dense(STRUCTURES[name]))
    assert matrix.shape == (2, 6, 6)
    np.testing.assert_array_equal(matrix, -matrix.swapaxes(1, 2))


@EACH
def test_a_policy_has_no_advantage_over_itself(name):
    own = jnp.sum(jnp.exp(LOG_POLICY) * payoff(STRUCTURES[name], LOG_POLICY), -1)
    np.testing.assert_allclose(own, 0, atol=1e-16)


def test_dense_values():
    left, right = np.asarray(STRUCTURES["low_rank"].left[0]), np.asarray(STRUCTURES["low_rank"].right[0])
    np.testing.assert_allclose(
        dense(STRUCTURES["low_rank"])[0], left @ right.T - right @ left.T, rtol=1e-13, atol=1e-16
    )
    scores = np.asarray(STRUCTURES["bradley_terry"].scores[1])
    sigmoid = 1 / (1 + np.exp(scores[None, :] - scores[:, None]))
    np.testing.assert_allclose(dense(STRUCTURES["bradley_terry"])[1], sigmoid - 0.5, rtol=0, atol=1e-15)


def test_small_score_differences_do_not_cancel():
    advantage = BradleyTerry(jnp.array([[0.0, 4e-13]]))
    np.testing.assert_allclose(dense(advantage)[0, 1, 0], 1e-13, rtol=1e-12)


@EACH
def test_payoff_batches_under_vmap(name):
    policies = jnp.stack([LOG_POLICY, LOG_POLICY[:, ::-1]])
    together = jax.vmap(payoff, (None, 0))(STRUCTURES[name], policies)
    for i in range(2):
        np.testing.assert_allclose(together[i], payoff(STRUCTURES[name], policies[i]), rtol=0, atol=1e-15)
