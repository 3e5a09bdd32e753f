import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, ipo

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def test_fits_squared_distances_of_the_margin():
    world, state = play(ipo(0.4, 0.0, recorder.replay()))
    assert world.duels == [("start", ("start", "reference", 0.0))]
    expected = (H[0] - 1.25) ** 2 + (H[1] + 1.25) ** 2
    np.testing.assert_allclose(world.fits[0][1], expected, rtol=1e-13)
    assert state.policy == "fit1"


def test_refuses_numbers_out_of_range():
    with pytest.raises(InputError, match="beta is 0"):
        ipo(0.0, 0.0, recorder.replay())
    with pytest.raises(InputError, match="mixture is 2"):
        ipo(0.4, 2.0, recorder.replay())
