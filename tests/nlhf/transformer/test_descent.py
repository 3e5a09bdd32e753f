"""Gradients in slices are those of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nlhf.errors import InputError
from nlhf.policies import Trained
from nlhf.transformer.descent import gradient, in_slices, move

RNG = np.random.default_rng(0)
BATCH = (jnp.asarray(RNG.standard_normal((6, 3))), jnp.asarray(RNG.standard_normal(6)))
PARAMETERS = {"weight": jnp.asarray(RNG.standard_normal(3)), "bias": jnp.asarray(0.4)}


def objective(parameters, part):
    inputs, wanted = part
    found = jnp.tanh(inputs @ parameters["weight"] + parameters["bias"])
    return ((found - wanted) ** 2).sum()


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, None])
def test_slices_add_up(size):
    inputs, wanted = (np.asarray(leaf) for leaf in BATCH)
    found = np.tanh(inputs @ np.asarray(PARAMETERS["weight"]) + 0.4)
    outer = 2 * (found - wanted) * (1 - found**2)
    grads = gradient(objective, PARAMETERS, BATCH, size)
    np.testing.assert_allclose(grads["weight"], outer @ inputs, rtol=1e-12)
    np.testing.assert_allclose(grads["bias"], outer.sum(), rtol=1e-12)


def test_a_size_that_does_not_divide_names_those_that_do():
    with pytest.raises(InputError, match=r"slices of 4 rows .* batch of 6; give one of 1, 2, 3, 6"):
        gradient(objective, PARAMETERS, BATCH, 4)
    with pytest.raises(InputError, match=r"slices of 4 rows .* batch of 6; give one of 1, 2, 3, 6"):
        in_slices(lambda part: part[0], BATCH, 4)


@pytest.mark.parametrize("size", [2, 6, None])
def test_rows_are_mapped_in_slices(size):
    sizes = []

    def rows(part):
        sizes.append(part[0].shape[0])
        return part[0][:, :2] * part[1][:, None]

    found = in_slices(rows, BATCH, size)
    np.testing.assert_array_equal(found, np.asarray(BATCH[0])[:, :2] * np.asarray(BATCH[1])[:, None])
    assert set(sizes) == {size or 6}


def test_a_move_is_one_step_of_the_optimiser():
    adam = optax.adam(0.1)
    policy = Trained(PARAMETERS, adam.init(PARAMETERS))
    grads = {"weight": jnp.array([1.0, -2.0, 0.5]), "bias": jnp.asarray(-3.0)}
    moved = move(policy, grads, adam)
    # the first step of Adam is the rate times the sign
    np.testing.assert_allclose(
        moved.parameters["weight"], PARAMETERS["weight"] - 0.1 * jnp.array([1.0, -1.0, 1.0]), rtol=1e-6
    )
    np.testing.assert_allclose(moved.parameters["bias"], 0.5, rtol=1e-6)
    assert jax.tree.structure(moved) == jax.tree.structure(policy)
    again = move(moved, grads, adam)
    assert int(optax.tree_utils.tree_get(again.optimiser_state, "count")) == 2
