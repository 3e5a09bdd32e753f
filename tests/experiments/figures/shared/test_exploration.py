"""What the figures on exploration share: the instance and lanes of runs."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared import exploration
from nlhf import dpo
from tabular import bandits
from tabular.replay import counts


def test_the_separation_instance_has_the_constants_of_its_proposition():
    inverse_beta = np.array([10.0, 40.0, 96.0])
    stacked = exploration.rare_arm(inverse_beta, exploration.GOOD)
    rare = np.exp(-inverse_beta / 8)
    np.testing.assert_allclose(np.exp(np.asarray(stacked.log_ref))[:, 0], np.stack([rare, 1 - rare], 1))
    # J(π*) = β log(ε e^{1/β} + (1-ε) e^{1/(2β)}), and the reference lacks at least 1/8
    best = np.log(rare * np.exp(inverse_beta) + (1 - rare) * np.exp(inverse_beta / 2)) / inverse_beta
    mean = rare + (1 - rare) / 2
    gap = jax.vmap(bandits.suboptimality)(stacked, stacked.log_ref)
    np.testing.assert_allclose(gap, best - mean, rtol=1e-9)
    assert (np.asarray(gap) >= 1 / 8).all()
    bad = exploration.rare_arm(inverse_beta, exploration.BAD)
    assert (np.asarray(jax.vmap(bandits.suboptimality)(bad, bad.log_ref)) < 1 / 8).all()


def test_lanes_are_their_seeds_and_share_random_numbers():
    inverse_beta = np.repeat([8.0, 200.0], 3)
    stacked = exploration.rare_arm(inverse_beta, exploration.GOOD)
    method = jax.vmap(lambda beta: dpo(beta, 0.0, counts(1, 2)))(stacked.beta)
    keys = exploration.keys(0, [0, 1, 1, 0, 1, 1])
    gap = exploration.gaps(method, stacked, keys, 40, exploration.nine_differences())
    assert gap.shape == (6, 41)
    np.testing.assert_array_equal(gap[1], gap[2])
    assert (gap[0] != gap[1]).any()
    # exp(-25): the arm is not drawn in 40 rounds, so that the policy stays the reference
    np.testing.assert_allclose(gap[3:], 0.375, atol=1e-6)
    assert gap[:3, -1].min() < 1 / 8  # exp(-1): it is
    waste = exploration.wasted(gap, 1 / 8, 1)
    np.testing.assert_array_equal(waste[3:], 40)
    assert (waste[:3] < 40).any()


def test_wasted_rounds_are_counted_on_a_stride():
    gap = np.array([[1.0, 0.2, 0.1, 0.9], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(exploration.wasted(gap, 0.2, 5), [10, 0])


def test_random_bandits_do_not_depend_on_their_number():
    few, many = (exploration.random_bandits(count, 3, 2.0, 7) for count in (2, 5))
    for left, right in zip(few, many, strict=True):
        np.testing.assert_array_equal(left, right[:2])
    np.testing.assert_allclose(np.exp(many[1]).sum(-1), 1)
    assert np.ptp(many[1]) <= 4 + 1e-12  # references differ by skew at the most, from uniform both ways


def test_lanes_take_bandits_of_one_context():
    stacked = exploration.lane_bandits(np.ones((2, 3)), np.full((2, 3), -np.log(3)), np.array([0.1, 0.2]))
    assert stacked.reward.shape == (2, 1, 3)
    assert stacked.context_prob.shape == (2, 1)
    assert jnp.allclose(jax.vmap(bandits.optimal_value)(stacked), 1.0)
