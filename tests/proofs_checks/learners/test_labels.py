"""Bandits with data sets: the reward space in numpy against finite differences, and the offline fit."""

import jax.numpy as jnp
import numpy as np

from nlhf import dpo
from proofs_checks.learners.labels import draw, fit_once
from proofs_checks.rows import Effort
from tabular.replay import counts
from tabular.spaces.finite_class import finite_class

DATA = draw(Effort(quick=True), "test", 5)


def test_pull_is_minus_the_gradient_of_the_likelihood():
    direction = np.random.default_rng(0).normal(size=DATA.reward.shape)
    step = 1e-5
    slope = (
        DATA.likelihood(DATA.reward + step * direction) - DATA.likelihood(DATA.reward - step * direction)
    ) / (2 * step)
    np.testing.assert_allclose(-(DATA.pull(DATA.reward) * direction).sum((1, 2)), slope, atol=1e-8)


def test_centred_rewards_have_mean_zero_under_the_calibration_policy():
    mean = np.einsum("nx,nxa,nxa->n", DATA.prob, np.exp(DATA.log_cal), DATA.centred(DATA.reward))
    np.testing.assert_allclose(mean, 0, atol=1e-14)


def test_value_of_the_reference_gauge_is_zero():
    implicit = DATA.beta[:, None, None] * (DATA.tilted(DATA.reward) - DATA.log_ref)
    np.testing.assert_allclose(DATA.reward_value(implicit), 0, atol=1e-14)


def test_a_response_against_itself_is_not_seen():
    alone = DATA._replace(second=DATA.first)
    assert alone.seen().sum() == 0
    assert DATA.seen().sum() == 2 * (DATA.first != DATA.second).sum()


CLASS = np.array([[[0.0, 0, 0, 0]] * 3, [[1.0, 0, 0, 0]] * 3])
SPACE = finite_class(CLASS)


def _dpo(settings, bandit):
    return dpo(bandit.beta, settings, counts(3, 4))


def test_one_step_is_the_fit_to_the_data_set():
    fitted = fit_once(_dpo, jnp.zeros(5), DATA.bandit, DATA.comparisons, SPACE)
    losses = np.stack([DATA.likelihood(np.broadcast_to(each, DATA.reward.shape)) for each in CLASS])
    wanted = DATA.tilted(CLASS[losses.argmin(0)])
    np.testing.assert_allclose(fitted, wanted, atol=1e-12)
