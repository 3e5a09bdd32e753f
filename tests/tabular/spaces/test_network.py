import functools

import bank
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nlhf import egpo, logspace, losses
from nlhf.base import Comparisons, Feedback
from nlhf.errors import InputError
from nlhf.targets import explicit
from tabular import families
from tabular.games import make_game
from tabular.runner import run
from tabular.spaces.network import Mixture, Network, init_network, network_space, table
from tabular.spaces.simplex import simplex

BETA = 0.3
GAME = make_game(
    families.uniform_skew(jax.random.key(0), 4, 2), families.random_reference(jax.random.key(1), 4, 2), BETA
)
NETWORK = init_network(jax.random.key(2), 2, 4)


def decaying_adam(learning_rate):
    return optax.adam(optax.cosine_decay_schedule(learning_rate, 1500))


FINE = network_space(1500, 0.01, decaying_adam)


def test_network_shapes_and_initial_values():
    assert NETWORK.inputs.shape == (2, 10)
    assert [w.shape for w in NETWORK.weights] == [(10, 10), (10, 10), (10, 4)]
    assert all(float(jnp.abs(bias).max()) == 0 for bias in NETWORK.biases)
    limit = np.sqrt(6 / 20)
    assert float(jnp.abs(NETWORK.weights[0]).max()) <= limit
    assert float(jnp.abs(NETWORK.weights[0]).max()) > 0.8 * limit
    other = init_network(jax.random.key(3), 2, 4)
    assert bool((other.weights[0] != NETWORK.weights[0]).any())


def test_table_is_the_network_by_hand():
    hidden = np.asarray(NETWORK.inputs)
    for weight in NETWORK.weights[:2]:
        hidden = np.maximum(hidden @ np.asarray(weight), 0)
    logits = hidden @ np.asarray(NETWORK.weights[2])
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(table(NETWORK), expected, rtol=1e-13)


def test_log_prob_is_normalised_and_reads_samples():
    space = network_space()(GAME)
    log_policy = space.log_prob(NETWORK)
    np.testing.assert_allclose(np.exp(log_policy).sum(-1), 1, rtol=1e-14)
    responses = jnp.array([[0, 3], [2, 2]])
    np.testing.assert_array_equal(space.log_prob(NETWORK, responses)[0], log_policy[0, jnp.array([0, 3])])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_lazy_mixture_is_the_geometric_mixture(weight):
    space = network_space()(GAME)
    lazy = space.mix(NETWORK, space.reference, weight)
    assert type(lazy) is Mixture
    expected = logspace.geometric_mixture(table(NETWORK), GAME.log_ref, weight)
    np.testing.assert_allclose(space.log_prob(lazy), expected, rtol=0, atol=1e-14)
    nested = space.mix(lazy, NETWORK, 0.5)
    again = logspace.geometric_mixture(expected, table(NETWORK), 0.5)
    np.testing.assert_allclose(space.log_prob(nested), again, rtol=0, atol=1e-14)


def simplex_step(policy, preference):
    target = functools.partial(explicit, step_size=0.8, beta=BETA)
    return target, simplex(GAME).project(table(policy), target, Feedback(None, preference))


def test_more_projection_steps_approach_the_simplex_step():
    preference = jax.random.uniform(jax.random.key(4), (2, 4))
    target, wanted = simplex_step(NETWORK, preference)
    errors = []
    for num_updates in (1, 100, 2000):
        space = network_space(num_updates, 0.01)(GAME)
        moved = space.project(NETWORK, target, Feedback(None, preference))
        assert type(moved) is Network
        np.testing.assert_allclose(np.exp(space.log_prob(moved)).sum(-1), 1, rtol=1e-13)
        errors.append(float(jnp.abs(space.log_prob(moved) - wanted).max()))
    assert errors[0] > 10 * errors[1] > 1000 * errors[2]
    assert errors[2] < 1e-6


def test_projection_of_a_mixture_moves_the_network_inside_it():
    space = FINE(GAME)
    preference = jax.random.uniform(jax.random.key(4), (2, 4))
    lazy = space.mix(NETWORK, space.reference, 0.3)
    target, wanted = simplex_step(lazy, preference)
    moved = space.project(lazy, target, Feedback(None, preference))
    assert type(moved) is Network
    np.testing.assert_allclose(space.log_prob(moved), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", bank.NAMES)
def test_runs_agree_with_the_simplex_when_updates_are_many(name):
    method = bank.make(name, BETA, **({"num_inner": 8} if name == "nash_prox" else {}))
    fine = run(method, GAME, num_steps=5, start=NETWORK, make_space=FINE)
    exact = run(method, GAME, num_steps=5, start=table(NETWORK))
    coarse = run(method, GAME, num_steps=5, start=NETWORK, make_space=network_space(3, 0.01))
    np.testing.assert_allclose(table(fine.state.policy), exact.state.policy, rtol=0, atol=1e-4)
    np.testing.assert_allclose(fine.of("duality_gap"), exact.of("duality_gap"), rtol=0, atol=1e-4)
    assert float(jnp.abs(table(coarse.state.policy) - exact.state.policy).max()) > 1e-2


def test_a_gradient_step_is_the_mirror_step_for_a_tabular_softmax():
    # one SGD step on the contrasts, seen through the read-out bias alone: (4/A)(theta - target - mean)
    space = network_space(1, 0.05, optax.sgd)(GAME)
    preference = jax.random.uniform(jax.random.key(4), (2, 4))
    target, _ = simplex_step(NETWORK, preference)
    moved = space.project(NETWORK, target, Feedback(None, preference))
    difference = np.asarray(table(NETWORK) - target(table(NETWORK), GAME.log_ref, preference))
    slope = 4 / 4 * (difference - difference.mean(-1, keepdims=True)).sum(0)
    np.testing.assert_allclose(moved.biases[2], -0.05 * slope, rtol=1e-10, atol=1e-15)


def test_fit_lowers_its_loss_to_the_tabular_minimum():
    pairs = [(x, a, b) for x in range(2) for a in range(4) for b in range(4) if a != b]
    context, first, second = (jnp.array(column) for column in zip(*pairs, strict=True))
    labels = GAME.preference[context, first, second]
    data = Comparisons(context, first, second, labels, jnp.ones(labels.shape))
    loss = functools.partial(losses.squared, beta=BETA)
    fitted = FINE(GAME).fit(jax.random.key(0), NETWORK, loss, data)
    tabular = simplex(GAME).fit(jax.random.key(0), GAME.log_ref, loss, data)
    np.testing.assert_allclose(table(fitted), tabular, rtol=0, atol=1e-4)


def test_excluded_actions_keep_mass_zero():
    log_ref = logspace.normalise(GAME.log_ref.at[0, 1].set(-jnp.inf))
    game = GAME._replace(log_ref=log_ref)
    fine = run(egpo(0.8, BETA), game, num_steps=3, start=NETWORK, make_space=FINE)
    start = FINE(game).log_prob(NETWORK)
    assert start[0, 1] == -jnp.inf
    exact = run(egpo(0.8, BETA), game, num_steps=3, start=start)
    np.testing.assert_allclose(FINE(game).log_prob(fine.state.policy), exact.state.policy, rtol=0, atol=1e-4)
    assert bool(jnp.isfinite(fine.of("duality_gap")).all())


def test_spaces_are_cached_so_that_runs_do_not_recompile():
    assert network_space(3, 0.1) is network_space(3, 0.1)


def test_errors():
    with pytest.raises(InputError, match=r"num_updates is 2\.5"):
        network_space(2.5)
    with pytest.raises(InputError, match="learning_rate is 0"):
        network_space(3, 0.0)
    with pytest.raises(InputError, match=r"this space moves a Network; give run\(start=init_network"):
        run(egpo(0.8, BETA), GAME, num_steps=1, make_space=network_space())
