import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, dpo

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def softplus(x):
    return np.log1p(np.exp(x))


LOGISTIC = softplus(-0.4 * H[0]) + softplus(0.4 * H[1])


def test_asks_against_the_mixture_and_fits_all_so_far():
    world, state = play(dpo(0.4, 0.25, recorder.replay()), num_steps=2)
    assert world.duels == [("start", ("start", "reference", 0.25)), ("fit1", ("fit1", "reference", 0.25))]
    assert [start for start, _, _ in world.fits] == ["start", "fit1"]
    np.testing.assert_allclose([value for _, value, _ in world.fits], [LOGISTIC, 2 * LOGISTIC], rtol=1e-13)
    assert [calibration for _, _, calibration in world.fits] == [None, None]
    assert state.policy == "fit2"
    assert int(state.memory.appended) == 4


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta": np.nan}, {"mixture": 1.5}, {"mixture": -0.1}])
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        dpo(**{"beta": 0.4, "mixture": 0.0, "replay": recorder.replay(), **wrong})
