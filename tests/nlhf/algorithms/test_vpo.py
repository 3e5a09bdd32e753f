import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, vpo

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def softplus(x):
    return np.log1p(np.exp(x))


LOGISTIC = softplus(-0.4 * H[0]) + softplus(0.4 * H[1])


def test_both_draws_are_the_policys_and_the_value_counts_once():
    world, _ = play(vpo(1.5, 0.4, recorder.replay()), num_steps=2)
    assert world.duels == [("start", "start"), ("fit1", "fit1")]
    for number, (_, value, calibration) in enumerate(world.fits, 1):
        np.testing.assert_allclose(value, number * LOGISTIC, rtol=1e-13)
        assert calibration.policy == "reference"
        np.testing.assert_allclose(calibration.weight, 1.5 * 0.4, rtol=1e-13)


def test_pessimism_is_a_negative_weight_on_the_calibration_policy():
    world, _ = play(vpo(-2.0, 0.4, recorder.replay(), calibration="behaviour"))
    calibration = world.fits[0][2]
    assert calibration.policy == "behaviour"
    np.testing.assert_allclose(calibration.weight, -0.8, rtol=1e-13)


def test_refuses_numbers_out_of_range():
    with pytest.raises(InputError, match="optimism is nan"):
        vpo(np.nan, 0.4, recorder.replay())
    with pytest.raises(InputError, match="beta is -1"):
        vpo(1.0, -1.0, recorder.replay())
