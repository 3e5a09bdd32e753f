import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, slic

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def test_fits_hinges_and_pulls_to_the_reference_once_a_comparison():
    world, _ = play(slic(0.4, 0.5, 0.1, recorder.replay()), num_steps=2)
    hinges = max(0, 1 - 0.4 * H[0]) + max(0, 1 + 0.4 * H[1])
    np.testing.assert_allclose([value for _, value, _ in world.fits], [hinges, 2 * hinges], rtol=1e-13)
    for number, (_, _, calibration) in enumerate(world.fits, 1):
        assert calibration.policy == "reference"
        np.testing.assert_allclose(calibration.weight, -0.1 * 2 * number, rtol=1e-13)


def test_refuses_a_negative_pull():
    with pytest.raises(InputError, match="regularisation is -1"):
        slic(0.4, 0.5, -1.0, recorder.replay())
