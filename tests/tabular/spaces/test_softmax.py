import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import InputError, logspace
from nlhf.base import Comparisons, Feedback
from nlhf.losses import logistic
from nlhf.targets import explicit
from tabular.bandits import make_bandit, value
from tabular.spaces.softmax import softmax_space

BANDIT = make_bandit([[0.9, 0.1, 0.5], [0.2, 0.7, 0.0]], np.log([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]), 0.3)
START = logspace.normalise(jax.random.normal(jax.random.key(0), (2, 3)))


def test_one_step_of_a_projection_is_the_policy_gradient():
    """On E_π[r] - β KL(π‖π_ref) in each context, by finite differences of its value."""
    step_size, rate = 0.5, 0.01
    space = softmax_space(1, rate)(BANDIT)
    mirror = functools.partial(explicit, step_size=step_size, beta=BANDIT.beta)
    moved = jax.jit(space.project, static_argnums=1)(START, mirror, Feedback(None, BANDIT.reward))
    gradient = np.zeros((2, 3))
    for index in np.ndindex(2, 3):
        up, down = (logspace.normalise(START.at[index].add(sign * 1e-5)) for sign in (1, -1))
        gradient[index] = (value(BANDIT, up) - value(BANDIT, down)) / 2e-5
    expected = logspace.normalise(START + rate * step_size * 2 * gradient)  # contexts have probability 1/2
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_one_step_of_a_fit_is_gradient_descent_on_the_mean_loss():
    rows = Comparisons(
        jnp.array([0, 1, 1]),
        jnp.array([0, 1, 2]),
        jnp.array([1, 2, 0]),
        jnp.array([1.0, 0.0, 1.0]),
        jnp.ones(3),
    )
    space = softmax_space(1, 0.2)(BANDIT)
    fitted = space.fit(jax.random.key(0), START, lambda a, b, p: logistic(a, b, p, beta=0.3), rows)
    ratio = np.asarray(START - BANDIT.log_ref)
    slope = np.zeros((2, 3))
    for x, a, b, p in [(0, 0, 1, 1), (1, 1, 2, 0), (1, 2, 0, 1)]:
        margin = 0.3 * (ratio[x, a] - ratio[x, b])
        each = 0.3 * (1 / (1 + np.exp(-margin)) - p) / 3
        slope[x, a] += each
        slope[x, b] -= each
    np.testing.assert_allclose(fitted, logspace.normalise(START - 0.2 * jnp.asarray(slope)), rtol=1e-10)


@pytest.mark.parametrize("wrong", [{"num_updates": 0}, {"learning_rate": 0.0}])
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        softmax_space(**wrong)
