"""The instances of the convergence figure are the games they are called."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.instances import LARGE_ACTIONS, MEDIUM_ACTIONS, TITLES, build
from nlhf import logspace
from tabular import families
from tabular.published import nash_md_table3

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


def test_the_planted_reference_makes_one_policy_the_equilibrium_at_every_beta():
    _, large = build(jax.random.key(1), 2, BETAS)
    # the fixed point of both betas is the same policy: log_ref(b) + A pi / b does not depend on b
    difference = large.log_ref[0, :, 0] - large.log_ref[0, :, 1]
    pull = -difference / (1 / BETAS[0] - 1 / BETAS[1])
    pull = pull - pull.mean(-1, keepdims=True)
    for seed in range(2):
        advantage = large.preference[0, seed] - 0.5
        log_nash = logspace.normalise(large.log_ref[0, seed, 0] + pull[seed] / BETAS[0])
        payoff = advantage @ jnp.exp(log_nash)
        np.testing.assert_allclose(payoff - payoff.mean(), pull[seed], atol=1e-12)
