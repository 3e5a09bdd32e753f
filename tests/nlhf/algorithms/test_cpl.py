import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, cpl


def softplus(x):
    return np.log1p(np.exp(x))


def test_contrasts_segments_with_the_bias_on_the_loser():
    world, state = play(cpl(0.5, 0.7, recorder.replay()))
    s = np.asarray(RATIO)
    first = softplus(0.5 * (0.7 * s[0] - s[1]))  # response 1 beat response 0
    second = softplus(0.5 * (0.7 * s[2] - s[1]))  # response 1 beat response 2
    np.testing.assert_allclose(world.fits[0][1], first + second, rtol=1e-13)
    assert state.policy == "fit1"


def test_bias_on_the_winner_would_be_another_loss():
    world, _ = play(cpl(0.5, 0.7, recorder.replay()))
    s = np.asarray(RATIO)
    wrong = softplus(0.5 * (s[0] - 0.7 * s[1])) + softplus(0.5 * (s[2] - 0.7 * s[1]))
    assert abs(float(world.fits[0][1]) - wrong) > 0.01


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"bias": 0.0}, {"bias": 1.1}])
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        cpl(**{"temperature": 0.5, "bias": 0.7, "replay": recorder.replay(), **wrong})
