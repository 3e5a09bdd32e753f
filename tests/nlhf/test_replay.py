import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import InputError
from nlhf.base import Comparisons
from nlhf.replay import buffer, latest, no_comparisons


def answer(*actions):
    first = jnp.array(actions)
    return Comparisons(0 * first, first, first + 10, jnp.ones(len(actions)), jnp.ones(len(actions)))


def test_a_buffer_keeps_rows_in_order_and_leaves_the_rest_absent():
    replay = buffer(5)
    memory = replay.append(replay.append(replay.empty(), answer(1, 2)), answer(3))
    np.testing.assert_array_equal(memory.comparisons.first[:3], [1, 2, 3])
    np.testing.assert_array_equal(memory.comparisons.second[:3], [11, 12, 13])
    np.testing.assert_array_equal(memory.comparisons.weight, [1, 1, 1, 0, 0])
    assert int(memory.appended) == 3


def test_a_full_buffer_forgets_the_oldest():
    replay = buffer(3)
    memory = replay.append(replay.append(replay.empty(), answer(1, 2)), answer(3, 4))
    np.testing.assert_array_equal(np.sort(memory.comparisons.first), [2, 3, 4])
    assert float(memory.comparisons.weight.sum()) == 3


def test_responses_may_be_pytrees():
    response = {"states": jnp.zeros((4, 2)), "actions": jnp.zeros(4, int)}
    replay = buffer(3, response)
    rows = jax.tree.map(lambda leaf: jnp.ones((2, *leaf.shape), leaf.dtype), response)
    memory = replay.append(replay.empty(), answer(1, 2)._replace(first=rows, second=rows))
    assert memory.comparisons.first["states"].shape == (3, 4, 2)
    np.testing.assert_array_equal(memory.comparisons.second["actions"][:, 0], [1, 1, 0])


def test_latest_keeps_one_answer():
    replay = latest(answer(1, 2))
    assert float(replay.empty().comparisons.weight.sum()) == 0
    memory = replay.append(replay.append(replay.empty(), answer(1, 2)), answer(3, 4))
    np.testing.assert_array_equal(memory.comparisons.first, [3, 4])
    assert int(memory.appended) == 4


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="capacity is 0"):
        buffer(0)
    with pytest.raises(InputError, match="capacity"):
        no_comparisons(2.5)
    replay = buffer(2)
    with pytest.raises(InputError, match="the buffer holds 2"):
        replay.append(replay.empty(), answer(1, 2, 3))
