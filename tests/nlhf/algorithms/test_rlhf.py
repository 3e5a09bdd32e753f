import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, rlhf

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def softplus(x):
    return np.log1p(np.exp(x))


LOGISTIC = softplus(-0.4 * H[0]) + softplus(0.4 * H[1])


def test_fits_the_reward_then_moves_the_policy_along_it():
    world, state = play(rlhf(0.5, 0.4, recorder.replay()), num_steps=2)
    assert world.duels == [("start", "start"), ("projection1", "projection1")]
    assert [start for start, _, _ in world.fits] == ["start", "fit1"]
    np.testing.assert_allclose(world.fits[0][1], LOGISTIC, rtol=1e-13)
    # the space says that every fit has probabilities 0.5, 0.3, 0.2, and the reference 0.2, 0.3, 0.5
    reward = 0.4 * np.log([[0.5 / 0.2, 1.0, 0.2 / 0.5]])
    start, moved, feedback = world.projections[0]
    assert start == "start"
    np.testing.assert_allclose(feedback.preference, reward, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(moved, 0.8 * 0.3 + 0.2 * 0.1 + 0.5 * reward, rtol=1e-12)
    assert (state.policy, state.reward) == ("projection2", "fit2")


def test_warns_of_a_step_beyond_the_reference():
    with pytest.warns(UserWarning, match="weight 1 - ηβ"):
        rlhf(3.0, 0.4, recorder.replay())
    with pytest.raises(InputError, match="step_size is -1"):
        rlhf(-1.0, 0.4, recorder.replay())
