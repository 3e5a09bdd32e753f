import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nlhf.targets import explicit, implicit

LOG_PROB, LOG_REF, PREFERENCE = (
    jax.random.normal(key, (3, 4)) for key in jax.random.split(jax.random.key(0), 3)
)


def softmax(logits):
    return reference.softmax(np.asarray(logits))


def test_explicit_is_the_mirror_step_in_probabilities():
    ours = explicit(LOG_PROB, LOG_REF, PREFERENCE, step_size=0.7, beta=0.4)
    for x in range(3):
        step = reference.mirror(np.exp(LOG_PROB[x]), np.exp(LOG_REF[x]), np.asarray(PREFERENCE[x]), 0.7, 0.4)
        np.testing.assert_allclose(softmax(ours[x]), step, rtol=1e-13)


def test_implicit_maximises_the_proximal_objective():
    # stationarity of <P, u> - beta KL(u, ref) - KL(u, centre)/g at u: its gradient is constant over actions
    g, beta = 1.3, 0.4
    policy = softmax(implicit(LOG_PROB, LOG_REF, PREFERENCE, step_size=g, beta=beta))
    gradient = (
        np.asarray(PREFERENCE)
        - beta * (np.log(policy) - np.asarray(LOG_REF))
        - (np.log(policy) - np.asarray(LOG_PROB)) / g
    )
    np.testing.assert_allclose(gradient - gradient[:, :1], 0, atol=1e-13)


@pytest.mark.parametrize("g", [0.01, 1.0, 50.0])
def test_the_two_forms_agree_after_the_change_of_step_size(g):
    beta = 0.4
    one = implicit(LOG_PROB, LOG_REF, PREFERENCE, step_size=g, beta=beta)
    two = explicit(LOG_PROB, LOG_REF, PREFERENCE, step_size=g / (1 + g * beta), beta=beta)
    np.testing.assert_allclose(one, two, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("target", [explicit, implicit])
def test_limits(target):
    still = target(LOG_PROB, LOG_REF, PREFERENCE, step_size=0.0, beta=0.4)
    np.testing.assert_array_equal(still, LOG_PROB)
    free = target(LOG_PROB, LOG_REF, PREFERENCE, step_size=0.5, beta=0.0)
    np.testing.assert_allclose(free, LOG_PROB + 0.5 * PREFERENCE, rtol=0, atol=1e-15)
    if target is explicit:
        whole = explicit(LOG_PROB, LOG_REF, PREFERENCE, step_size=2.5, beta=0.4)
        np.testing.assert_allclose(whole, LOG_REF + PREFERENCE / 0.4, rtol=0, atol=1e-14)


@pytest.mark.parametrize("target", [explicit, implicit])
def test_elementwise_so_that_samples_follow_the_table(target):
    responses = jnp.array([[0, 0, 3], [1, 2, 3], [2, 2, 2]])

    def take(table):
        return jnp.take_along_axis(table, responses, axis=1)

    whole = target(LOG_PROB, LOG_REF, PREFERENCE, step_size=0.7, beta=0.4)
    some = target(take(LOG_PROB), take(LOG_REF), take(PREFERENCE), step_size=0.7, beta=0.4)
    np.testing.assert_allclose(take(whole), some, rtol=0, atol=1e-15)
