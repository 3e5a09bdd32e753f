"""The update of the space of actors: equal to the plain one, driven by the same algorithm file as tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nlhf import actor_space, actors, behaviour_cloning, cpl, datasets, vpo
from nlhf.base import Calibration
from nlhf.errors import InputError
from nlhf.losses import contrastive
from nlhf.replay import latest
from nlhf.segments import Segments

NUM, LENGTH = 10, 6
LOSS = functools.partial(contrastive, temperature=0.3, bias=0.5)


def segments(key, num=NUM, discrete=False):
    state_key, action_key = jax.random.split(key)
    states = jax.random.normal(state_key, (num, LENGTH, 5))
    if discrete:
        return Segments(states, (states[..., 0] > 0).astype(int))
    return Segments(states, jnp.tanh(jax.random.normal(action_key, (num, LENGTH, 3))))


@pytest.fixture(scope="module")
def data():
    labels = np.arange(NUM) % 3 == 0
    return datasets.compare(segments(jax.random.key(0)), segments(jax.random.key(1)), labels.astype(float))


@pytest.fixture(scope="module")
def network():
    return actors.init(jax.random.key(2), (5, 16, 16, 3), jnp.float64)


def plain_gradient(parameters, data, discount):
    """One pass over everything, written in other words."""

    def score(parameters, side):
        hidden = side.states
        for index, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
            hidden = jnp.einsum("ntd,de->nte", hidden, weight) + bias[None, None]
            hidden = jax.nn.relu(hidden) if index < 2 else jnp.tanh(hidden)
        each = -jnp.square(hidden - side.actions).sum(-1)
        return sum(discount**t * each[:, t] for t in range(LENGTH))

    def objective(parameters):
        first, second = score(parameters, data.first), score(parameters, data.second)
        loss = jnp.where(
            data.prefer_first > 0.5,
            jnp.logaddexp(0.0, 0.3 * (0.5 * second - first)),
            jnp.logaddexp(0.0, 0.3 * (0.5 * first - second)),
        )
        return (data.weight * loss).sum() / data.weight.sum()

    return jax.jit(jax.grad(objective))(parameters)


@pytest.mark.parametrize("slice_rows", [1, 35, 10_000])
def test_slices_give_the_plain_gradient(data, network, slice_rows):
    want = plain_gradient(network, data, 0.9)
    got = jax.jit(
        lambda parameters, data: actor_space.gradient(
            parameters, LOSS, data, actors.deterministic, discount=0.9, slice_rows=slice_rows
        )
    )(network, data)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(want)) > 1e-3
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13), got, want)


def test_single_precision_is_close_and_a_wrong_label_is_not(data, network):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)
    make = jax.jit(
        lambda parameters, data: actor_space.gradient(parameters, LOSS, data, actors.deterministic)
    )
    got, want = make(single, data), plain_gradient(network, data, 1.0)

    def distance(got):
        apart = jax.tree.map(lambda x, y: x.astype(y.dtype) - y, got, want)
        return float(optax.tree.norm(apart) / optax.tree.norm(want))

    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(got))
    assert distance(got) < 1e-5
    assert distance(make(single, data._replace(prefer_first=1 - data.prefer_first))) > 0.1


def test_absent_rows_may_hold_anything(data, network):
    spoiled = jax.tree.map(
        lambda leaf: leaf.at[3].set(jnp.nan) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, data
    )
    spoiled = spoiled._replace(weight=data.weight.at[3].set(0.0).at[4].set(2.0))
    make = jax.jit(
        lambda data: actor_space.gradient(network, LOSS, data, actors.deterministic, slice_rows=40)
    )
    kept = np.array([0, 1, 2, 4, 4, 5, 6, 7, 8, 9])
    want = plain_gradient(network, jax.tree.map(lambda column: column[kept], data), 1.0)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-13), make(spoiled), want)


def test_optimiser_state_lives_across_fits(data, network):
    once = actor_space.actor_space(network, actors.deterministic, num_updates=1, learning_rate=0.01)
    thrice = actor_space.actor_space(network, actors.deterministic, num_updates=3, learning_rate=0.01)
    fit = jax.jit(lambda space, policy: space.fit(jax.random.key(0), policy, LOSS, data))
    policy = once.reference
    for _ in range(3):
        policy = fit(once, policy)
    assert int(policy.optimiser_state[0].count) == 3
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12),
        policy,
        fit(thrice, thrice.reference),
    )
    # the control: an optimiser that starts anew makes another third step
    fresh = actor_space.start(policy.parameters, optax.adam(0.01))
    other, same = fit(once, fresh), fit(once, policy)
    assert float(jnp.abs(other.parameters.weights[1] - same.parameters.weights[1]).max()) > 1e-4


@pytest.mark.slow
def test_the_algorithms_of_tables_train_actors():
    # the better segments take the action that the sign of the first feature says, the worse the other one
    good = segments(jax.random.key(0), 64, discrete=True)
    bad = good._replace(actions=1 - good.actions)
    won = np.arange(64) % 2 == 0
    swap = won[:, None]
    first = Segments(good.states, jnp.where(swap, good.actions, bad.actions))
    second = Segments(good.states, jnp.where(swap, bad.actions, good.actions))
    oracle = datasets.minibatches(datasets.compare(first, second, won.astype(float)), 16)
    network = actors.init(jax.random.key(3), (5, 16, 2), jnp.float64)
    space = actor_space.actor_space(network, actors.categorical, learning_rate=0.02, dropout=0.1)
    replay = latest(oracle.duel(jax.random.key(0), None, None))

    def accuracy(method):
        state = datasets.train(method, space, oracle, key=jax.random.key(1), num_steps=250)
        outputs = actors.apply(state.policy.parameters, good.states.reshape(-1, 5))
        return float((outputs.argmax(1) == good.actions.ravel()).mean())

    assert accuracy(cpl(0.5, 1.0, replay)) > 0.9
    assert accuracy(behaviour_cloning(1.0, replay)) > 0.9
    assert (
        accuracy(behaviour_cloning(0.0, replay)) < 0.8
    )  # the control: both actions of every state are cloned


@pytest.mark.slow
def test_a_batch_of_runs_is_vmap(data, network):
    space = actor_space.actor_space(network, actors.deterministic, learning_rate=0.01, dropout=0.2)
    oracle = datasets.minibatches(data, 4)
    method = cpl(0.3, 0.5, latest(oracle.duel(jax.random.key(0), None, None)))
    keys = jax.random.split(jax.random.key(5), 2)

    def one(key):
        return datasets.train(method, space, oracle, key=key, num_steps=3).policy.parameters.weights[0]

    both = jax.vmap(one)(keys)
    np.testing.assert_allclose(both[1], one(keys[1]), rtol=1e-9)
    assert float(jnp.abs(both[0] - both[1]).max()) > 1e-6


def test_log_prob_is_discounted(data, network):
    half = actor_space.actor_space(network, actors.deterministic, discount=0.5)
    each = actors.deterministic(
        actors.apply(network, data.first.states.reshape(-1, 5)), data.first.actions.reshape(-1, 3)
    ).reshape(NUM, LENGTH)
    want = np.asarray(each) @ 0.5 ** np.arange(LENGTH)
    np.testing.assert_allclose(half.log_prob(half.reference, data.first), want, rtol=1e-10)


def test_refusals(data, network):
    make = functools.partial(actor_space.actor_space, network, actors.deterministic)
    for name, value in {
        "discount": 0.0,
        "dropout": 1.0,
        "num_updates": 0,
        "learning_rate": -1.0,
        "slice_rows": 0,
    }.items():
        with pytest.raises(InputError, match=name):
            make(**{name: value})
    with pytest.raises(InputError, match="discount"):
        make(discount=1.1)
    space = make()
    fit = functools.partial(space.fit, jax.random.key(0), space.reference, LOSS)
    with pytest.raises(InputError, match="one length"):
        fit(data._replace(second=jax.tree.map(lambda leaf: leaf[:, 1:], data.second)))
    with pytest.raises(InputError, match="states \\[N, T, D\\]"):
        fit(data._replace(first=Segments(jnp.zeros((NUM, LENGTH), int), data.first.actions)))
    with pytest.raises(InputError, match="calibration"):
        fit(data, Calibration(space.reference, 1.0))
    with pytest.raises(InputError, match="start from its reference"):
        space.fit(jax.random.key(0), network, LOSS, data)
    with pytest.raises(InputError, match="no table of all segments"):
        space.log_prob(space.reference)
    with pytest.raises(InputError, match="mixed"):
        space.mix(space.reference, space.reference, 0.5)
    with pytest.raises(InputError, match="projected"):
        space.project(space.reference, None, None)
    oracle = datasets.minibatches(data, 4)
    replay = latest(oracle.duel(jax.random.key(0), None, None))
    with pytest.raises(InputError, match="calibration"):
        datasets.train(vpo(0.1, 0.1, replay), space, oracle, key=jax.random.key(0), num_steps=1)
