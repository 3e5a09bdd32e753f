import jax.numpy as jnp
import numpy as np
import pytest
import recorder
from recorder import RATIO, play

from nlhf import InputError, xpo

H = np.array([RATIO[1] - RATIO[0], RATIO[2] - RATIO[1]])  # of the answer's two rows; labels 1, 0


def softplus(x):
    return np.log1p(np.exp(x))


LOGISTIC = softplus(-0.4 * H[0]) + softplus(0.4 * H[1])


def test_second_draw_is_the_references_and_carries_the_bonus():
    world, state = play(xpo(0.05, 0.4, recorder.replay()), num_steps=2)
    assert world.duels == [("start", "reference"), ("fit1", "reference")]
    bonus = 0.05 * float(RATIO[0] + RATIO[1])  # the second responses are 0 and 1
    np.testing.assert_allclose(
        [value for _, value, _ in world.fits], [LOGISTIC + bonus, 2 * (LOGISTIC + bonus)], rtol=1e-13
    )
    assert [calibration for _, _, calibration in world.fits] == [None, None]
    assert state.policy == "fit2"


def test_the_sign_of_the_bonus_moves_mass_off_the_second_response():
    # two policies that explain the labels equally well: the one with less mass on the second responses wins
    less, more = (float(xpo_loss(ratio)) for ratio in (RATIO - 1, RATIO + 1))
    assert less < more


def xpo_loss(ratio):
    step = xpo(0.05, 0.4, recorder.replay()).step
    seen = {}
    world = recorder.World()
    space = world.space._replace(fit=lambda key, policy, loss, data, calibration=None: seen.update(loss=loss))
    step(recorder.KEY, xpo(0.05, 0.4, recorder.replay()).init("start"), world.oracle, space)
    return seen["loss"](ratio[1], ratio[0], jnp.array(1.0))


def test_without_optimism_it_is_dpo_with_a_draw_of_the_reference():
    plain, _ = play(xpo(0.0, 0.4, recorder.replay()))
    np.testing.assert_allclose(plain.fits[0][1], LOGISTIC, rtol=1e-13)


def test_refuses_numbers_out_of_range():
    with pytest.raises(InputError, match=r"optimism is -0\.1"):
        xpo(-0.1, 0.4, recorder.replay())
    with pytest.raises(InputError, match="beta is 0"):
        xpo(0.1, 0.0, recorder.replay())
