"""The order of data: every example once an epoch, resumed from a number, shared out over processes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from nlhf.transformer.data import order
from nlhf.transformer.data.order import indices, permutation


def stream(seed, size, num, batch=1, start=0):
    return np.concatenate([indices(seed, at, size, batch) for at in range(start, start + num, batch)])


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_every_epoch_visits_every_example_once_whatever_the_batch(size, batch, seed):
    num = -(-3 * size // batch) * batch
    drawn = stream(seed, size, num, batch)
    for epoch in range(3):
        assert sorted(drawn[epoch * size : (epoch + 1) * size]) == list(range(size))
    np.testing.assert_array_equal(drawn, stream(seed, size, num))


def test_a_run_that_resumes_draws_what_it_would_have_drawn():
    whole = stream(3, 10, 40, batch=4)
    order.permutation.cache_clear()
    np.testing.assert_array_equal(stream(3, 10, 24, batch=4, start=16), whole[16:])


def test_epochs_and_seeds_differ():
    orders = {tuple(permutation(seed, epoch, 30)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert tuple(range(30)) not in orders


def philox(key, block):
    """Philox 4x64 with ten rounds (Salmon et al. 2011), in whole numbers; NumPy's first block is number 1."""
    words, keys = [block, 0, 0, 0], list(key)
    for _ in range(10):
        one, two = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        low = 2**64 - 1
        words = [two >> 64 ^ words[1] ^ keys[0], two & low, one >> 64 ^ words[3] ^ keys[1], one & low]
        keys = [keys[0] + 0x9E3779B97F4A7C15 & low, keys[1] + 0xBB67AE8584CAA73B & low]
    return words


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (7, 3), (2**63 - 1, 10**9)])
def test_the_order_does_not_depend_on_a_version_of_numpy(seed, epoch):
    bits = [word for block in (1, 2, 3) for word in philox((seed, epoch), block)][:10]
    assert permutation(seed, epoch, 10).tolist() == sorted(range(10), key=bits.__getitem__)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_processes_take_consecutive_slices_of_the_batch(num_processes, share, position):
    batch = num_processes * share
    parts = [
        indices(1, position, 13, batch, process=i, num_processes=num_processes) for i in range(num_processes)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), indices(1, position, 13, batch))


def test_first_places_are_uniform():
    first = [permutation(seed, 0, 8)[0] for seed in range(4000)]
    counts = np.bincount(first, minlength=8)
    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 7 / 8)


def test_orders_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, 4)[0] = 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"position": -1}, "position is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808, but it must be less than 2.63"),
        ({"num_processes": 3}, "batch is 4, but 3 processes take equal parts"),
        ({"num_processes": 2, "process": 2}, "process is 2 of 2"),
    ],
)
def test_numbers_outside_their_range(wrong, message):
    with pytest.raises(InputError, match=message):
        indices(**{"seed": 0, "position": 0, "size": 5, "batch": 4, **wrong})
