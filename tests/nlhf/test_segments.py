import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.segments import Segments, check_pair, discounted_sum, make_segments


def segments(num, length):
    return Segments(jnp.zeros((num, length), int), jnp.zeros((num, length), int))


def test_segments_of_vectors_are_stacked():
    made = make_segments(np.zeros((3, 4, 39)), np.zeros((3, 4, 2)))
    assert made.states.shape == (3, 4, 39)
    assert made.actions.shape == (3, 4, 2)
    assert check_pair(made, made) == 4


@pytest.mark.parametrize(
    ("states", "actions", "message"),
    [
        ([[0, 1], [0]], [[0, 1], [0]], "segment 1 has 1 steps, but segment 0 has 2; cut"),
        ([[0, 1, 2]], [[0, 1]], "3 states and 2 actions.*leave out the state after"),
        ([[], []], [[], []], "0 steps, but at least 1"),
    ],
)
def test_what_is_no_batch_of_segments_is_refused(states, actions, message):
    with pytest.raises(InputError, match=message):
        make_segments(states, actions)


def test_segments_of_different_length_are_not_compared():
    with pytest.raises(InputError, match=r"first segments have 3 steps and the second 2.*cut the longer"):
        check_pair(segments(5, 3), segments(5, 2))
    with pytest.raises(InputError, match="5 first and 4 second"):
        check_pair(segments(5, 3), segments(4, 3))
    with pytest.raises(InputError, match=r"must begin with \[N, T\]"):
        check_pair(Segments(jnp.zeros((5, 3)), jnp.zeros((5, 2))), segments(5, 3))


def test_the_discounted_sum_is_the_sum_that_it_says():
    values = np.random.default_rng(0).normal(size=(4, 2, 6))
    expected = sum(0.7**t * values[..., t] for t in range(6))
    np.testing.assert_allclose(discounted_sum(jnp.asarray(values), 0.7), expected, rtol=1e-13)
    np.testing.assert_allclose(discounted_sum(jnp.asarray(values), 1.0), values.sum(-1), rtol=1e-13)
