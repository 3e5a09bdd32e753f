import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import InputError
from nlhf.base import Comparisons
from tabular.replay import counts


def test_counts_hold_every_pair_in_order_with_both_labels():
    replay = counts(2, 3)
    answer = Comparisons(
        context=jnp.array([1, 1, 0, 1, 0]),
        first=jnp.array([0, 0, 2, 2, 1]),
        second=jnp.array([2, 2, 2, 0, 0]),
        prefer_first=jnp.array([1.0, 0.0, 1.0, 1.0, jnp.nan]),
        weight=jnp.array([1.0, 1.0, 1.0, 2.0, 0.0]),
    )
    memory = replay.append(replay.append(replay.empty(), answer), answer)
    rows = memory.comparisons
    assert rows.weight.shape == (2 * 3 * 3 * 2,)
    seen = {
        tuple(int(x) for x in row[:4]): float(row[4])
        for row in np.stack([np.asarray(column, float) for column in rows], 1)
        if row[4] > 0
    }
    expected = {(1, 0, 2, 1): 2.0, (1, 0, 2, 0): 2.0, (0, 2, 2, 1): 2.0, (1, 2, 0, 1): 4.0}
    assert seen == expected
    assert int(memory.appended) == 10


def test_a_soft_label_adds_to_both_counts():
    replay = counts(1, 2)
    one = jnp.array([0])
    answer = Comparisons(one, one, one + 1, jnp.array([0.25]), jnp.array([1.0]))
    weight = replay.append(replay.empty(), answer).comparisons.weight.reshape(2, 2, 2)
    np.testing.assert_allclose(weight[0, 1], [0.75, 0.25])


def test_refuses_sizes_that_are_no_sizes():
    with pytest.raises(InputError, match="num_actions is 0"):
        counts(1, 0)
