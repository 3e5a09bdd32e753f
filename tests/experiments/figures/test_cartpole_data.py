"""Segments obey the equations, labels their rules, and files that are no rollouts are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.cpl_cartpole import data as cartpole_data
from experiments.figures.cpl_cartpole import environment as cartpole
from experiments.figures.cpl_cartpole import value as cartpole_value
from nlhf.errors import InputError

LENGTH = 12


@pytest.fixture(scope="module")
def rollouts():
    return cartpole_data.own_rollouts(jax.random.key(0), 3)


@pytest.fixture(scope="module")
def grid():
    return cartpole_value.solve((5, 5, 7, 7), tolerance=1e-4)


@pytest.fixture(scope="module")
def segments(rollouts):
    return cartpole_data.draw_segments(jax.random.key(1), rollouts, 300, LENGTH, 1.0)


def test_own_rollouts_are_whole_episodes(rollouts):
    assert (rollouts.returns == cartpole.MAX_STEPS).all()
    assert rollouts.left[0] == 500
    assert rollouts.left[499] == 1
    assert rollouts.left[500] == 500


def test_segments_start_at_the_expert_and_obey_the_equations(rollouts, segments):
    starts = {tuple(state) for state in rollouts.states}
    assert all(tuple(state) for state in np.asarray(segments.states[:, 0]) if tuple(state) in starts)
    assert sum(tuple(state) in starts for state in np.asarray(segments.states[:, 0])) == 300
    after = jax.jit(jax.vmap(jax.vmap(cartpole.step)))(segments.states[:, :-1], segments.actions[:, :-1])
    np.testing.assert_allclose(after, segments.states[:, 1:], rtol=1e-12, atol=1e-14)
    assert not cartpole.failed(segments.states).any()


def test_without_noise_the_expert_is_replayed(rollouts):
    still = cartpole_data.draw_segments(jax.random.key(1), rollouts, 300, LENGTH, 0.0)
    rows = {tuple(state): row for row, state in enumerate(rollouts.states)}
    for states, actions in zip(np.asarray(still.states), np.asarray(still.actions), strict=True):
        row = rows[tuple(states[0])]
        np.testing.assert_array_equal(actions, rollouts.actions[row : row + LENGTH])
        np.testing.assert_allclose(states, rollouts.states[row : row + LENGTH], rtol=1e-9, atol=1e-12)


def test_regret_labels_follow_the_advantage_and_partial_return_labels_nothing(grid, segments):
    first, second = (jax.tree.map(lambda column, i=i: column[i::2], segments) for i in (0, 1))
    apart = cartpole_data.total_advantage(grid, first) - cartpole_data.total_advantage(grid, second)
    keys = jax.random.split(jax.random.key(2), 200)

    def mean(rule):
        return np.asarray(jax.vmap(lambda k: cartpole_data.label(k, grid, first, second, rule))(keys)).mean(0)

    # each mean of 200 draws within five standard errors of its probability
    np.testing.assert_array_less(
        np.abs(mean("regret") - jax.nn.sigmoid(apart)), 5 * 0.5 / np.sqrt(200) + 1e-9
    )
    assert np.corrcoef(mean("regret"), apart)[0, 1] > 0.5
    np.testing.assert_array_less(np.abs(mean("partial_return") - 0.5), 5 * 0.5 / np.sqrt(200))
    with pytest.raises(InputError, match="no rule"):
        cartpole_data.label(keys[0], grid, first, second, "return")


def test_comparisons_are_scaled_for_networks(segments):
    labels = jnp.arange(300) % 2
    pair = cartpole_data.scaled(segments, segments, labels)
    np.testing.assert_allclose(pair.first.states[..., 2], segments.states[..., 2] * 10, rtol=1e-12)


def write(folder, **changes):
    arrays = {
        "obs": np.zeros((12, 4)),
        "acts": np.tile([0, 1], 5),
        "indices": np.array([5]),
    } | changes
    np.savez(
        folder / cartpole_data.FILE, **{name: value for name, value in arrays.items() if value is not None}
    )
    return str(folder)


def test_reading(tmp_path):
    read = cartpole_data.read_rollouts(write(tmp_path))
    assert read.left.tolist() == [5, 4, 3, 2, 1] * 2
    assert read.returns.tolist() == [5, 5]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"obs": np.zeros((11, 4))}, "do not belong together"),
        ({"indices": np.array([5, 5])}, "do not belong together"),
        ({"acts": np.full(10, 2)}, "not 0 or 1"),
        ({"obs": np.full((12, 4), np.nan)}, "not finite"),
        ({"acts": None}, "not an archive"),
    ],
)
def test_files_that_are_refused(tmp_path, changes, word):
    with pytest.raises(InputError, match=word):
        cartpole_data.read_rollouts(write(tmp_path, **changes))


def test_other_refusals(tmp_path, rollouts):
    with pytest.raises(InputError, match="no such file"):
        cartpole_data.read_rollouts(str(tmp_path / "nowhere"))
    (tmp_path / cartpole_data.FILE).write_text("no archive")
    with pytest.raises(InputError, match="not an archive"):
        cartpole_data.read_rollouts(str(tmp_path))
    with pytest.raises(InputError, match="longest episode has 500"):
        cartpole_data.draw_segments(jax.random.key(0), rollouts, 5, 501, 1.0)


def test_the_real_rollouts_are_read_and_obey_the_equations(shared):
    read = cartpole_data.read_rollouts(str(shared / "data" / "rollouts"))
    assert len(read.returns) == 57
    assert (read.returns.min(), read.returns.max()) == (393, 500)
    inside = read.left[:-1] > 1
    after = jax.jit(jax.vmap(cartpole.step))(jnp.asarray(read.states[:-1]), jnp.asarray(read.actions[:-1]))
    np.testing.assert_allclose(np.asarray(after)[inside], read.states[1:][inside], atol=2e-6)
