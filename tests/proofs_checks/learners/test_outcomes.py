import jax.numpy as jnp
import numpy as np

from proofs_checks.learners.outcomes import judged, log_slope


def test_the_worst_instance_is_shown_and_nan_is_worse_than_anything():
    error = np.zeros((8, 2))
    error[3, 1] = 7
    shown = {"instance": np.arange(8), "beta": jnp.linspace(0.0, 7.0, 8), "rewards": [1, 0]}
    found = judged(error, "another", [1.0, 2.0], 0.5, detail={"mean": error.mean()}, **shown)
    assert (found.instances, found.worst, found.control_worst) == (8, 7, 2)
    assert found.witness == {"instance": 3, "beta": 3.0, "rewards": [1, 0]}
    assert found.detail == {"mean": 7 / 16}
    error[5, 0] = np.nan
    assert np.isnan(judged(error, "another", 1.0, **shown).worst)
    assert judged(error, "another", 1.0, **shown).witness["instance"] == 5


def test_one_number_is_an_outcome_too():
    found = judged(0.25, "another", 2.0, instances=9)
    assert (found.instances, found.worst, found.witness) == (9, 0.25, {})


def test_the_slope_is_the_exponent():
    numbers = np.array([10, 100, 1000])
    assert abs(log_slope(numbers, 3.0 * numbers**-0.5) + 0.5) < 1e-12
