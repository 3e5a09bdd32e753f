import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf import losses

RATIO = st.floats(-20, 20)
SHARE = st.floats(0, 1)


@settings(max_examples=30, deadline=None)
@given(RATIO, RATIO, SHARE, st.floats(0.01, 5))
def test_values_against_numpy(first, second, prefer, beta):
    margin = first - second
    logistic = -prefer * scipy.special.log_expit(beta * margin) - (1 - prefer) * scipy.special.log_expit(
        -beta * margin
    )
    squared = prefer * (margin - 1 / (2 * beta)) ** 2 + (1 - prefer) * (margin + 1 / (2 * beta)) ** 2
    np.testing.assert_allclose(losses.logistic(first, second, prefer, beta=beta), logistic, rtol=1e-12)
    np.testing.assert_allclose(losses.squared(first, second, prefer, beta=beta), squared, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(RATIO, RATIO, SHARE)
def test_swapping_the_responses_and_the_label_changes_nothing(first, second, prefer):
    for loss in (losses.logistic, losses.squared):
        np.testing.assert_allclose(
            loss(first, second, prefer, beta=0.3), loss(second, first, 1 - prefer, beta=0.3), rtol=1e-12
        )


@pytest.mark.parametrize("loss", [losses.logistic, losses.squared])
def test_gradients_against_finite_differences(loss):
    first, second, prefer, beta = 0.7, -0.4, 0.8, 0.3
    gradient = jax.grad(loss, argnums=(0, 1))(first, second, prefer, beta=beta)
    for i, ours in enumerate(gradient):
        shift = np.eye(2)[i] * 1e-6
        up = loss(first + shift[0], second + shift[1], prefer, beta=beta)
        down = loss(first - shift[0], second - shift[1], prefer, beta=beta)
        np.testing.assert_allclose(ours, (up - down) / 2e-6, rtol=1e-8)


def test_logistic_is_finite_at_large_margins():
    value, gradient = jax.value_and_grad(losses.logistic)(2000.0, 0.0, 0.0, beta=1.0)
    assert float(value) == 2000.0
    assert float(gradient) == 1.0
    assert float(losses.logistic(2000.0, 0.0, 1.0, beta=1.0)) == 0.0


@pytest.mark.parametrize("prefer", [0.1, 0.5, 0.9])
def test_minimisers_over_the_margin(prefer):
    beta = 0.3
    best = scipy.optimize.minimize_scalar(
        lambda h: float(losses.squared(h, 0.0, prefer, beta=beta)), options={"xtol": 1e-12}
    ).x
    np.testing.assert_allclose(best, (2 * prefer - 1) / (2 * beta), atol=1e-7)
    best = scipy.optimize.minimize_scalar(
        lambda h: float(losses.logistic(h, 0.0, prefer, beta=beta)), options={"xtol": 1e-12}
    ).x
    np.testing.assert_allclose(best, scipy.special.logit(prefer) / beta, atol=1e-6)


def population(loss, log_policy, log_ref, sampling, preference, beta):
    ratio = log_policy - log_ref
    each = loss(ratio[:, None], ratio[None, :], preference, beta=beta)
    return jnp.sum(sampling[:, None] * sampling[None, :] * each)


def test_population_minimiser_of_the_squared_loss():
    # pairs from one policy: log_ratio(y) = P(y > policy)/beta + constant minimises; the gradient vanishes
    # there, and is 4 D (theta - log_ref - P policy / beta) elsewhere, D = diag(pi) - pi pi^T
    beta = 0.4
    key, other = jax.random.split(jax.random.key(0))
    upper = jnp.triu(jax.random.uniform(key, (5, 5)), 1)
    preference = upper + jnp.tril(1 - upper.T, -1) + 0.5 * jnp.eye(5)
    log_ref = jax.nn.log_softmax(jax.random.normal(other, (5,)))
    nash = reference.regularised_nash(np.asarray(preference), np.exp(log_ref), beta)

    def gradient(logits, sampling):
        def objective(theta):
            return population(losses.squared, jax.nn.log_softmax(theta), log_ref, sampling, preference, beta)

        return np.asarray(jax.grad(objective)(logits))

    np.testing.assert_allclose(gradient(jnp.log(nash), jnp.asarray(nash)), 0, atol=1e-13)
    logits = jnp.array([0.3, -1.0, 0.2, 0.0, 0.9])
    policy = reference.softmax(np.asarray(logits))
    matrix = np.diag(policy) - np.outer(policy, policy)
    expected = 4 * matrix @ np.asarray(logits - log_ref - preference @ jnp.asarray(policy) / beta)
    np.testing.assert_allclose(gradient(logits, jnp.asarray(policy)), expected, rtol=1e-12, atol=1e-13)
    # uniform pairs and a fixed opponent: gradient (4/A)(theta - log_ref - P policy/beta - mean), so that a
    # gradient step of length eta beta A / 4 is the mirror step eta; here through ``contrast``
    target = log_ref + preference @ jnp.asarray(policy) / beta
    slope = jax.grad(lambda theta: losses.contrast(jax.nn.log_softmax(theta), target))(logits)
    inside = np.asarray(logits - target)
    np.testing.assert_allclose(slope, 4 / 5 * (inside - inside.mean()), rtol=1e-12, atol=1e-13)


def test_population_minimiser_of_the_logistic_loss_under_bradley_terry():
    # labels sigmoid(r - r'): log_ratio = r / beta is stationary whatever pairs are drawn
    beta, reward = 0.7, jnp.array([0.0, 1.0, -0.5])
    preference = jax.nn.sigmoid(reward[:, None] - reward[None, :])
    sampling = jnp.array([0.5, 0.2, 0.3])
    log_ref = jnp.log(jnp.array([0.2, 0.2, 0.6]))
    gradient = jax.grad(
        lambda theta: population(
            losses.logistic, jax.nn.log_softmax(theta), log_ref, sampling, preference, beta
        )
    )(log_ref + reward / beta)
    np.testing.assert_allclose(gradient, 0, atol=1e-15)


def test_contrast_is_the_mean_over_all_pairs():
    key = jax.random.key(1)
    log_prob, target = jax.random.normal(key, (2, 3, 5))
    weight = jax.nn.softmax(jax.random.normal(jax.random.key(2), (3, 5)))
    difference = np.asarray(log_prob - target)
    squares = (difference[:, :, None] - difference[:, None, :]) ** 2
    np.testing.assert_allclose(losses.contrast(log_prob, target), squares.mean((1, 2)), rtol=1e-12)
    pairs = np.asarray(weight)[:, :, None] * np.asarray(weight)[:, None, :]
    np.testing.assert_allclose(
        losses.contrast(log_prob, target, weight), (pairs * squares).sum((1, 2)), rtol=1e-12
    )
    shifted = losses.contrast(log_prob + 7.0, target - 3.0, weight)
    np.testing.assert_allclose(shifted, losses.contrast(log_prob, target, weight), rtol=1e-12)
    uniform = losses.contrast(log_prob, target, jnp.full((3, 5), 0.2))
    np.testing.assert_allclose(uniform, losses.contrast(log_prob, target), rtol=1e-12)


def test_no_gradient_flows_into_the_target():
    gradient = jax.grad(lambda target: losses.contrast(jnp.arange(3.0), target))(jnp.ones(3))
    np.testing.assert_array_equal(gradient, 0)
