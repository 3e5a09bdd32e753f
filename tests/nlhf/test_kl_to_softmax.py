"""The KL divergence to a softmax is that to its normalised logits, at every distance and support."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import logspace


@pytest.mark.parametrize("distance", [1e-12, 1e-6, 0.05, 1.0, 50.0, 800.0])
def test_equals_kl_to_the_normalised_logits(distance):
    policy_key, logits_key = jax.random.split(jax.random.key(0))
    log_policy = logspace.normalise(jax.random.normal(policy_key, (20, 6)))
    logits = log_policy + distance * jax.random.normal(logits_key, (20, 6)) + 900.0
    # a shift as large as this rounds the logits, alike for both sides
    other = logspace.normalise(logits)
    ours, theirs = logspace.kl_to_softmax(log_policy, logits), logspace.kl(log_policy, other)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-25)
    assert bool((ours >= 0).all())


def test_excluded_actions_count_nothing_on_both_sides_and_infinity_on_one():
    empty = jnp.log(jnp.array([0.5, 0.5, 0.0]))
    full = jnp.array([3.0, 1.0, 2.0])
    without = full.at[2].set(-jnp.inf)
    np.testing.assert_allclose(
        logspace.kl_to_softmax(empty, without),
        logspace.kl(empty[:2], logspace.normalise(full[:2])),
        rtol=1e-14,
    )
    assert float(logspace.kl_to_softmax(logspace.normalise(full), without)) == np.inf
