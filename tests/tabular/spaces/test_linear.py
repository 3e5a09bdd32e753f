"""The class of linear rewards: its fit against SciPy, its bounds, its start, its refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial

from nlhf.base import Calibration, Comparisons
from nlhf.errors import InputError
from nlhf.losses import logistic
from tabular.bandits import make_bandit
from tabular.spaces.linear import linear_rewards_space

BETA = 0.3
RNG = np.random.default_rng(0)
FEATURES = RNG.uniform(size=(3, 4, 2))
BANDIT = make_bandit(RNG.uniform(size=(3, 4)), beta=BETA)
DATA = Comparisons(
    context=jnp.asarray(RNG.integers(3, size=40)),
    first=jnp.asarray(RNG.integers(4, size=40)),
    second=jnp.asarray(RNG.integers(4, size=40)),
    prefer_first=jnp.asarray(RNG.integers(2, size=40).astype(float)),
    weight=jnp.asarray(RNG.integers(3, size=40).astype(float)),
)


@pytest.fixture(scope="module")
def fit():
    space = linear_rewards_space(FEATURES)(BANDIT)

    @jax.jit
    def call(policy, weight):
        pull = Calibration(BANDIT.log_ref, weight)
        return space.fit(jax.random.key(0), policy, Partial(logistic, beta=BETA), DATA, pull)

    return call


def objective(theta, weight):
    """Written anew: Bradley-Terry on φ·θ, and the mean log-ratio under the uniform reference."""
    rows = [np.asarray(column) for column in DATA]
    reward = FEATURES @ theta
    margin = reward[rows[0], rows[1]] - reward[rows[0], rows[2]]
    sign = 2 * rows[3] - 1
    likelihood = (rows[4] * np.log1p(np.exp(-sign * margin))).sum()
    scaled = reward / BETA
    log_mean = np.log(np.exp(scaled).mean(-1))
    return likelihood + weight * (scaled.mean(-1) - log_mean).mean()


@pytest.mark.parametrize("weight", [0.0, -1.5])
def test_the_fit_is_scipys(fit, weight):
    policy = fit(BANDIT.log_ref, weight)
    best = scipy.optimize.minimize(
        objective, np.full(2, 0.5), (weight,), method="L-BFGS-B", bounds=[(0, 1)] * 2, options={"ftol": 1e-15}
    )
    logits = FEATURES @ best.x / BETA
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(policy, expected, atol=2e-5)
    wrong = objective(np.asarray([0.5, 0.5]), weight)
    assert best.fun < wrong - 1e-6  # the data decide: not every θ is as good


def test_a_fit_stays_where_it_is(fit):
    policy = fit(BANDIT.log_ref, 0.0)
    np.testing.assert_allclose(fit(policy, 0.0), policy, atol=1e-9)


def test_the_policy_is_of_the_class(fit):
    policy = fit(BANDIT.log_ref, 20.0)  # much optimism: at a corner of the box
    reward = BETA * np.asarray(policy - BANDIT.log_ref)
    columns = [FEATURES[..., index].reshape(-1) for index in range(2)]
    columns += [np.repeat(np.eye(3)[index], 4) for index in range(3)]  # a constant a context
    solved, residual, *_ = np.linalg.lstsq(np.stack(columns, 1), reward.reshape(-1), rcond=None)
    assert residual[0] < 1e-18
    assert np.isclose(solved[:2], 0, atol=1e-7).any() or np.isclose(solved[:2], 1, atol=1e-7).any()
    assert (solved[:2] > -1e-7).all()
    assert (solved[:2] < 1 + 1e-7).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [(np.ones((2, 3)), r"shape \(2, 3\)"), (np.full((1, 2, 1), np.inf), "not finite")],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(InputError, match=message):
        linear_rewards_space(features)


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="bound is 0"):
        linear_rewards_space(FEATURES, bound=0.0)
