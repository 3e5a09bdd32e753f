"""The network against numpy and against JAX's own derivatives; dropout against the binomial law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import actors
from nlhf.errors import InputError

SIZES = (5, 24, 20, 3)


@pytest.fixture(scope="module")
def network():
    return actors.init(jax.random.key(0), SIZES, jnp.float64)


def by_hand(parameters, states):
    hidden = np.asarray(states)
    for index, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        hidden = hidden @ np.asarray(weight) + np.asarray(bias)
        if index < len(parameters.weights) - 1:
            hidden = np.maximum(hidden, 0)
    return hidden


def test_forward_is_affine_layers_with_relu_between(network):
    states = jax.random.normal(jax.random.key(1), (7, 5))
    moved = network._replace(biases=tuple(bias + 0.3 for bias in network.biases))
    np.testing.assert_allclose(actors.apply(moved, states), by_hand(moved, states), rtol=1e-12)


def test_init_has_the_spread_it_promises():
    network = actors.init(jax.random.key(0), (100, 200, 50))
    assert network.weights[0].dtype == jnp.float32
    np.testing.assert_allclose(jnp.std(network.weights[0]), np.sqrt(2 / 100), rtol=0.02)
    np.testing.assert_allclose(jnp.std(network.weights[1]), np.sqrt(2 / 200) / 10, rtol=0.03)
    assert all(not bias.any() for bias in network.biases)


def plain(parameters, states, masks, rate):
    hidden = states
    for index, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        hidden = jnp.dot(hidden, weight) + bias[None]
        if index < len(parameters.weights) - 1:
            hidden = jax.nn.relu(hidden)
            hidden = hidden if masks is None else hidden * masks[index] / (1 - rate)
    return hidden


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_gradients_are_those_of_the_plain_network(network, rate):
    states = jax.random.normal(jax.random.key(1), (40, 5))
    pull = jax.random.normal(jax.random.key(2), (40, 3))
    key = jax.random.key(3) if rate else None
    masks = None
    if rate:
        keys = jax.random.split(key, 2)
        masks = [actors.keep_mask(k, (40, size), rate) for k, size in zip(keys, SIZES[1:3], strict=True)]
        masks = [mask.astype(float) for mask in masks]

    def ours(parameters, states):
        return (actors.apply(parameters, states, key=key, dropout=rate) * pull).sum()

    def theirs(parameters, states):
        return (plain(parameters, states, masks, rate) * pull).sum()

    got = jax.jit(jax.grad(ours, argnums=(0, 1)))(network, states)
    want = jax.jit(jax.grad(theirs, argnums=(0, 1)))(network, states)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(want)) > 0.1
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), got, want)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_share_of_kept_units(rate):
    shape = (3000, 128)
    kept = np.asarray(actors.keep_mask(jax.random.key(4), shape, rate), float)
    # five standard errors of the mean of independent draws, over all, of every unit and of every row
    for axis, count in ((None, kept.size), (0, shape[0]), (1, shape[1])):
        error = np.sqrt(rate * (1 - rate) / count)
        assert np.abs(kept.mean(axis) - (1 - rate)).max() < 5 * error
    # no correlation between neighbours, between far rows, or between keys
    other = np.asarray(actors.keep_mask(jax.random.key(5), shape, rate), float)
    pairs = [(kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1]), (kept[1024:], kept[:-1024]), (kept, other)]
    pairs += [(kept[2**power :], kept[: -(2**power)]) for power in range(1, 10)]
    for one, two in pairs:
        correlation = np.corrcoef(one.ravel(), two.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(one.size)


def test_a_constant_added_to_the_index_alone_would_be_seen():
    # the control of the test above: a mask that repeats every 64 rows is correlated with itself
    kept = np.asarray(actors.keep_mask(jax.random.key(4), (64, 128), 0.25), float)
    again = np.tile(kept, (47, 1))
    assert np.corrcoef(again[64:].ravel(), again[:-64].ravel())[0, 1] > 0.99


def test_dropout_keeps_the_mean_and_needs_a_key(network):
    states = jnp.ones((20_000, 5))
    still = actors.apply(network, states, dropout=0.25)
    np.testing.assert_array_equal(still, actors.apply(network, states))
    hidden = jax.nn.relu(jax.random.normal(jax.random.key(0), (1, 8))) + jnp.zeros((20_000, 1))
    dropped = actors.dropped_relu(hidden, jax.random.key(1), 0.25)
    error = np.asarray(hidden[0]) * np.sqrt(0.25 / 0.75 / 20_000)
    assert (np.abs(np.asarray(dropped.mean(0) - hidden[0])) <= 5 * error).all()


def test_heads():
    outputs = jax.random.normal(jax.random.key(0), (6, 3))
    actions = jnp.array([0, 1, 2, 0, 1, 2])
    shifted = np.asarray(outputs) - np.log(np.exp(np.asarray(outputs)).sum(1, keepdims=True))
    got = actors.categorical(outputs, actions)
    np.testing.assert_allclose(got, shifted[np.arange(6), np.asarray(actions)], rtol=1e-10)
    target = jax.random.uniform(jax.random.key(1), (6, 3), minval=-1.0)
    got = actors.deterministic(outputs, target)
    np.testing.assert_allclose(got, -((np.tanh(outputs) - np.asarray(target)) ** 2).sum(1), rtol=1e-10)
    # twice the log-density of a Gaussian of unit variance, up to a constant
    density = -0.5 * ((np.asarray(target) - np.tanh(outputs)) ** 2).sum(1)
    np.testing.assert_allclose(got, 2 * density, rtol=1e-10)


def test_refusals(network):
    with pytest.raises(InputError, match="two or more"):
        actors.init(jax.random.key(0), (3,))
    with pytest.raises(InputError, match="size of a layer"):
        actors.init(jax.random.key(0), (3, 0))
    with pytest.raises(InputError, match=r"takes \[N, 5\]"):
        actors.apply(network, jnp.zeros((2, 4)))
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="dropout"):
            actors.apply(network, jnp.zeros((2, 5)), dropout=rate)
    with pytest.raises(InputError, match="use the deterministic head"):
        actors.categorical(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    with pytest.raises(InputError, match="use the categorical head"):
        actors.deterministic(jnp.zeros((2, 3)), jnp.zeros(2, int))
