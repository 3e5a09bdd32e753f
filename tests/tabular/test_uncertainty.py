import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import InputError
from nlhf.base import Comparisons
from tabular.bandits import make_bandit
from tabular.uncertainty import elliptic

BANDIT = make_bandit(np.zeros((2, 3)), np.log([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]), 0.3)
ROWS = Comparisons(
    jnp.array([0, 0, 1, 1]),
    jnp.array([0, 1, 2, 0]),
    jnp.array([1, 2, 0, 0]),
    jnp.array([1.0, 0.0, 1.0, jnp.nan]),
    jnp.array([1.0, 5.0, 2.0, 0.0]),
)


@pytest.mark.parametrize("dimension", [None, 4])
def test_width_is_the_elliptic_norm(dimension):
    rng = np.random.default_rng(0)
    features = np.eye(6).reshape(2, 3, 6) if dimension is None else rng.normal(size=(2, 3, dimension))
    given = None if dimension is None else jnp.asarray(features)
    covariance = 0.7 * np.eye(features.shape[-1])
    for x, a, b, _, count in np.stack([np.asarray(column, float) for column in ROWS], 1)[:3]:
        v = features[int(x), int(a)] - features[int(x), int(b)]
        covariance += count * np.outer(v, v)
    inverse = np.linalg.inv(covariance)
    widths = elliptic(BANDIT, 0.7, given)(ROWS)
    for x in range(2):
        centre = np.exp(np.asarray(BANDIT.log_ref))[x] @ features[x]
        for a in range(3):
            v = features[x, a] - centre
            np.testing.assert_allclose(widths[x, a], np.sqrt(v @ inverse @ v), rtol=1e-10)


def test_width_falls_as_the_root_of_the_count():
    few, many = (elliptic(BANDIT, 1e-9)(ROWS._replace(weight=n * ROWS.weight)) for n in (1, 100))
    np.testing.assert_allclose(few[0], 10 * many[0], rtol=1e-6)


def test_refuses_a_ridge_of_zero():
    with pytest.raises(InputError, match="ridge is 0"):
        elliptic(BANDIT, 0.0)
