import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf import logspace

INF = np.inf


def exact_kl(log_policy, log_other):
    """The sum p (r - 1) + q over the numbers given, at 50 digits."""
    with mpmath.workdps(50):
        first, second = ([mpmath.mpf(float(entry)) for entry in table] for table in (log_policy, log_other))
        pairs = zip(first, second, strict=True)
        return mpmath.fsum(mpmath.exp(p) * (p - q - 1) + mpmath.exp(q) for p, q in pairs)


kl = jax.jit(logspace.kl)


@functools.partial(jax.jit, static_argnames="dtype")
def perturbed(seed, scale, spread, dtype=jnp.float64):
    scale, spread = jnp.asarray(scale, dtype), jnp.asarray(spread, dtype)
    keys = jax.random.split(jax.random.key(seed))
    logits = spread * jax.random.normal(keys[0], (6,), dtype)
    moved = logits + scale * jax.random.normal(keys[1], (6,), dtype)
    return logspace.normalise(logits), logspace.normalise(moved)


@pytest.mark.parametrize("spread", [0.5, 3.0, 30.0])
@pytest.mark.parametrize("scale", [1e-15, 1e-12, 1e-8, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 1.0, 10.0, 300.0])
def test_kl_against_fifty_digits(scale, spread):
    for seed in range(10):
        log_policy, log_other = perturbed(seed, scale, spread)
        ours, exact = float(kl(log_policy, log_other)), exact_kl(log_policy, log_other)
        assert ours >= 0
        assert abs(ours - exact) <= 1e-13 * exact


@pytest.mark.parametrize("scale", [1e-3, 0.01, 0.1, 0.3, 1.0])
def test_kl_in_single_precision(scale):
    for seed in range(10):
        log_policy, log_other = perturbed(seed, scale, 1.0, jnp.float32)
        ours, exact = kl(log_policy, log_other), exact_kl(log_policy, log_other)
        assert ours.dtype == jnp.float32
        assert abs(float(ours) - exact) <= 1e-4 * exact


def test_kl_is_positive_down_to_1e_30_where_the_naive_sum_is_noise():
    naive_negative = 0
    for seed in range(40):
        log_policy, log_other = perturbed(seed, 1e-15, 1.0)
        value = float(kl(log_policy, log_other))
        assert 0 <= value < 1e-28
        naive_negative += float(jnp.sum(jnp.exp(log_policy) * (log_policy - log_other))) < 0
    assert naive_negative > 5


def test_kl_at_the_edge_of_the_support():
    half = jnp.log(jnp.array([0.5, 0.5]))
    one = jnp.array([-INF, 0.0])
    assert float(logspace.kl(one, one)) == 0
    np.testing.assert_allclose(logspace.kl(one, half), np.log(2), rtol=1e-15)
    assert float(logspace.kl(half, one)) == INF
    # mass that underflows is mass all the same
    assert float(logspace.kl(jnp.array([-800.0, 0.0]), one)) == INF
    assert float(logspace.kl(one, jnp.array([-800.0, 0.0]))) == 0


def test_kl_batches_over_leading_axes():
    log_policy, log_other = logspace.normalise(jax.random.normal(jax.random.key(0), (2, 2, 3, 4)))
    together = logspace.kl(log_policy, log_other)
    assert together.shape == (2, 3)
    np.testing.assert_allclose(together[1, 2], logspace.kl(log_policy[1, 2], log_other[1, 2]), rtol=1e-14)


@pytest.mark.parametrize("move", [0.0, 1e-5, 0.0999, 0.1001, 2.0])
def test_kl_gradient_is_finite_and_right(move):
    target = logspace.normalise(jnp.array([-INF, 0.3, -1.0, 0.2]))
    direction = jnp.array([0.0, 1.0, -2.0, 0.5])
    logits = jnp.where(jnp.isneginf(target), 0.0, target) + move * direction

    def policy_of(theta):
        return logspace.normalise(jnp.where(jnp.isneginf(target), -INF, theta))

    # d KL(target, softmax theta) = softmax theta - target; d KL(softmax theta, target) = p (r - sum p r)
    towards = jax.grad(lambda theta: logspace.kl(target, policy_of(theta)))(logits)
    policy = np.exp(np.asarray(policy_of(logits)))
    np.testing.assert_allclose(towards, policy - np.exp(np.asarray(target)), rtol=0, atol=1e-13)
    away = jax.grad(lambda theta: logspace.kl(policy_of(theta), target))(logits)
    ratio = np.zeros(4)
    ratio[1:] = np.asarray(policy_of(logits))[1:] - np.asarray(target)[1:]
    np.testing.assert_allclose(away, policy * (ratio - policy @ ratio), rtol=0, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=4, max_size=4))
def test_normalise_against_fifty_digits(logits):
    ours = np.asarray(logspace.normalise(jnp.array(logits)))
    with mpmath.workdps(50):
        total = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(v)) for v in logits))
        exact = [float(mpmath.mpf(v) - total) for v in logits]
    np.testing.assert_allclose(ours, exact, rtol=1e-14, atol=3e-13)


def test_normalise_keeps_excluded_entries():
    ours = logspace.normalise(jnp.array([[-INF, 1.0, 1.0], [5.0, -INF, -INF]]))
    np.testing.assert_allclose(ours, [[-INF, -np.log(2), -np.log(2)], [0, -INF, -INF]], rtol=1e-15)


def test_geometric_mixture():
    policy, other = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])
    for weight in (0.25, 0.9):
        exact = policy ** (1 - weight) * other**weight
        ours = logspace.geometric_mixture(jnp.log(policy), jnp.log(other), weight)
        np.testing.assert_allclose(np.exp(ours), exact / exact.sum(), rtol=1e-14)
    np.testing.assert_allclose(
        logspace.geometric_mixture(jnp.log(policy), jnp.log(other), 0.0), np.log(policy)
    )
    np.testing.assert_allclose(
        logspace.geometric_mixture(jnp.log(policy), jnp.log(other), 1.0), np.log(other)
    )


def test_geometric_mixture_on_different_supports():
    one, two = jnp.array([-INF, -np.log(2), -np.log(2)]), jnp.array([-np.log(2), -np.log(2), -INF])
    np.testing.assert_allclose(logspace.geometric_mixture(one, two, 0.5), [-INF, 0, -INF])
    # a weight of exactly 0 or 1 gives back one of the two, also when it is traced
    mixture = jax.jit(logspace.geometric_mixture)
    np.testing.assert_allclose(mixture(one, two, 0.0), one)
    np.testing.assert_allclose(mixture(one, two, 1.0), two)


def test_scale_reads_zero_times_minus_infinity_as_zero():
    np.testing.assert_array_equal(logspace.scale(0.0, jnp.array([-INF, -1.0])), [0, 0])
    np.testing.assert_array_equal(logspace.scale(0.5, jnp.array([-INF, -1.0])), [-INF, -0.5])


def test_span_and_uniform():
    assert float(logspace.span(jnp.array([3.0, -1.0, 0.0]))) == 4
    np.testing.assert_array_equal(
        logspace.span(jnp.array([[3.0, -INF, np.nan, 1.0], [2.0, 2.0, 2.0, INF]])), [2, 0]
    )
    np.testing.assert_allclose(np.exp(logspace.uniform(5)), 0.2, rtol=1e-15)
    assert logspace.uniform(5).shape == (5,)
