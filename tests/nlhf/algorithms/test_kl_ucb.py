import jax.numpy as jnp
import numpy as np
import pytest
import recorder
from recorder import play

from nlhf import InputError, kl_ucb


def bonus(comparisons):
    return jnp.array([[1.0, 2.0, 3.0]]) * comparisons.weight.sum()


def test_adds_the_bonus_to_the_estimate_and_plays_the_sum():
    world, state = play(kl_ucb(0.3, 0.4, recorder.replay(), bonus), num_steps=2)
    assert world.duels == [("start", "reference"), ("projection1", "reference")]
    # the estimate is fitted from the estimate, not from the optimistic policy
    assert [start for start, _, _ in world.fits] == ["start", "fit1"]
    start, moved, _ = world.projections[1]
    assert start == "fit2"
    np.testing.assert_allclose(moved, 0.3 + 0.3 * 4 * np.array([[1.0, 2.0, 3.0]]) / 0.4, rtol=1e-13)
    assert (state.policy, state.estimate) == ("projection2", "fit2")


def test_refuses_numbers_out_of_range():
    with pytest.raises(InputError, match="width is -1"):
        kl_ucb(-1.0, 0.4, recorder.replay(), bonus)
