import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, xpo_previous

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def softplus(x):
    return np.log1p(np.exp(x))


LOGISTIC = softplus(-0.4 * H[0]) + softplus(0.4 * H[1])


def test_second_draw_and_bonus_follow_the_policy_one_step_behind():
    world, state = play(xpo_previous(0.05, 0.4, recorder.replay()), num_steps=3)
    assert world.duels == [("start", "start"), ("fit1", "start"), ("fit2", "fit1")]
    for number, (start, value, calibration) in enumerate(world.fits, 1):
        assert calibration.policy == start
        np.testing.assert_allclose(calibration.weight, 0.05 * 2 * number, rtol=1e-13)
        np.testing.assert_allclose(value, number * LOGISTIC, rtol=1e-13)
    assert (state.policy, state.previous) == ("fit3", "fit2")


def test_refuses_numbers_out_of_range():
    with pytest.raises(InputError, match=r"optimism is -0\.1"):
        xpo_previous(-0.1, 0.4, recorder.replay())
