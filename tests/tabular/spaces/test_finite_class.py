import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import InputError
from nlhf.base import Comparisons
from nlhf.losses import logistic
from tabular.bandits import make_bandit
from tabular.spaces.finite_class import class_policies, finite_class

BANDIT = make_bandit([[0.9, 0.1, 0.5]], np.log([0.2, 0.3, 0.5]), 0.3)
REWARDS = np.random.default_rng(0).uniform(0, 1, (20, 1, 3))
ROWS = Comparisons(
    jnp.zeros(4, int),
    jnp.array([0, 1, 2, 0]),
    jnp.array([1, 2, 0, 2]),
    jnp.array([1.0, 0, 1, 1]),
    jnp.ones(4),
)


def loss(first, second, label):
    return logistic(first, second, label, beta=0.3)


def test_policies_are_tilts_of_the_reference():
    expected = np.array([0.2, 0.3, 0.5]) * np.exp(REWARDS[:, 0] / 0.3)
    expected = expected / expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        np.exp(class_policies(BANDIT, jnp.asarray(REWARDS)))[:, 0], expected, rtol=1e-12
    )


def test_fit_returns_the_best_of_the_class():
    fitted = finite_class(REWARDS)(BANDIT).fit(jax.random.key(0), BANDIT.log_ref, loss, ROWS)
    r = REWARDS[:, 0]
    margins = np.stack([r[:, 0] - r[:, 1], r[:, 2] - r[:, 1], r[:, 2] - r[:, 0], r[:, 0] - r[:, 2]], 1)
    best = np.argmin(np.log1p(np.exp(-margins)).sum(1))
    np.testing.assert_allclose(fitted, class_policies(BANDIT, jnp.asarray(REWARDS))[best], rtol=1e-12)


def test_ties_go_to_the_first():
    same = ROWS._replace(second=ROWS.first)  # says nothing about any reward
    for order in (REWARDS, REWARDS[::-1]):
        fitted = finite_class(order)(BANDIT).fit(jax.random.key(0), BANDIT.log_ref, loss, same)
        np.testing.assert_allclose(fitted, class_policies(BANDIT, jnp.asarray(order[:1]))[0], rtol=1e-12)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros((0, 1, 3)), np.full((1, 1, 3), np.inf)])
def test_refuses_what_is_no_class(wrong):
    with pytest.raises(InputError, match="class"):
        finite_class(wrong)
