import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, behaviour_cloning


@pytest.mark.parametrize("preferred", [0.0, 0.4, 1.0])
def test_clones_both_or_the_preferred_response(preferred):
    world, _ = play(behaviour_cloning(preferred, recorder.replay()))
    s = np.asarray(RATIO)
    both = (s[1] + s[0]) / 2 + (s[2] + s[1]) / 2
    better = s[1] + s[1]  # response 1 won twice
    expected = -(1 - preferred) * both - preferred * better
    np.testing.assert_allclose(world.fits[0][1], expected, rtol=1e-13)


def test_refuses_a_share_beyond_one():
    with pytest.raises(InputError, match="preferred is 2"):
        behaviour_cloning(2.0, recorder.replay())
