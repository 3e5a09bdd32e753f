import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from nlhf import InputError, logspace
from tabular.bandits import (
    make_bandit,
    optimal_value,
    optimum,
    suboptimality,
    value,
)
from tabular.metrics import measure
from tabular.payoff import dense

REWARD = np.array([[0.9, 0.1, 0.5], [0.2, -0.8, 0.0]])
REFERENCE = np.array([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
BANDIT = make_bandit(REWARD, np.log(REFERENCE), 0.3, [0.7, 0.3])


def objective(policy):
    """J, by plain sums."""
    divergence = np.sum(policy * np.log(policy / REFERENCE), -1)
    return np.array([0.7, 0.3]) @ (np.sum(policy * REWARD, -1) - 0.3 * divergence)


def test_preferences_are_bradley_terry():
    expected = 1 / (1 + np.exp(REWARD[:, None, :] - REWARD[:, :, None]))
    np.testing.assert_allclose(dense(BANDIT.advantage) + 0.5, expected, rtol=1e-13)


def test_optimum_and_its_value_against_scipy():
    def loss(flat):
        policy = np.exp(flat.reshape(2, 3))
        return -objective(policy / policy.sum(-1, keepdims=True))

    found = scipy.optimize.minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-10})
    np.testing.assert_allclose(optimal_value(BANDIT), -found.fun, rtol=1e-10)
    np.testing.assert_allclose(objective(np.exp(np.asarray(optimum(BANDIT)))), -found.fun, rtol=1e-10)


def test_value_and_gap_of_any_policy():
    for seed in range(5):
        log_policy = logspace.normalise(2 * jax.random.normal(jax.random.key(seed), (2, 3)))
        np.testing.assert_allclose(value(BANDIT, log_policy), objective(np.exp(log_policy)), rtol=1e-12)
        gap = float(optimal_value(BANDIT)) - objective(np.exp(log_policy))
        np.testing.assert_allclose(suboptimality(BANDIT, log_policy), gap, rtol=1e-10)
        np.testing.assert_allclose(measure("suboptimality", BANDIT, log_policy), gap, rtol=1e-10)


def test_gap_keeps_its_digits_near_the_optimum():
    near = logspace.normalise(optimum(BANDIT) + 1e-9 * jnp.array([[1.0, -1.0, 0.5], [0.0, 1.0, 0.0]]))
    star = np.exp(np.asarray(optimum(BANDIT)))
    direction = np.array([[1.0, -1.0, 0.5], [0.0, 1.0, 0.0]])
    variance = np.sum(star * direction**2, -1) - np.sum(star * direction, -1) ** 2
    expected = 0.3 * np.array([0.7, 0.3]) @ variance / 2 * 1e-18
    np.testing.assert_allclose(suboptimality(BANDIT, near), expected, rtol=1e-5)


def test_top_gap_is_what_the_likeliest_action_loses():
    log_policy = jnp.log(jnp.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]))
    np.testing.assert_allclose(measure("top_gap", BANDIT, log_policy), 0.7 * 0.4 + 0.3 * 1.0, rtol=1e-13)


def test_metrics_say_what_they_are_for():
    with pytest.raises(InputError, match=r"'soft_value_gap' is not a metric of this Bandit"):
        measure("soft_value_gap", BANDIT, BANDIT.log_ref)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reward": [[1.0, np.nan]]}, "reward holds nan"),
        ({"reward": []}, "must be"),
        ({"log_ref": np.log([0.5, 0.4])}, "log_ref sums to 0.9"),
        ({"log_ref": np.log([0.5, 0.3, 0.2])}, "log_ref has shape"),
        ({"beta": 0.0}, "beta is 0"),
        ({"context_prob": [0.5, 0.5]}, "context_prob is"),
        ({"context_prob": [0.9]}, "context_prob sums to 0.9"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(InputError, match=message):
        make_bandit(**{"reward": [1.0, 0.5], "beta": 0.1, **wrong})
