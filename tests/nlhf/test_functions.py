"""Functions of every style as pytrees: what is a leaf, what is structure, and what a run makes of it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import Algorithm, Info, InputError, egpo
from nlhf.base import algorithm, as_algorithm, hyper
from nlhf.datasets import fixed_batch, train
from nlhf.functions import Held, as_partial
from nlhf.targets import explicit
from tabular.families import biased_rock_paper_scissors
from tabular.games import make_game
from tabular.oracle import exact
from tabular.runner import Axes, _jitted, run
from tabular.spaces.simplex import simplex

GAME = make_game(biased_rock_paper_scissors(), np.log([0.5, 0.2, 0.3]), beta=0.3)


class State(NamedTuple):
    policy: Any


class Optimiser(NamedTuple):
    """A record of somebody else, as optax has one."""

    init: Any
    step: Any


def nested(step_size, beta, num_moves=2):
    """Several explicit steps, written as optax writes its methods."""

    def init(policy):
        return State(policy)

    def target(log_prob, log_ref, preference):
        return (1 - step_size * beta) * log_prob + step_size * (beta * log_ref + preference)

    def step(key, state, oracle, space):
        policy = state.policy
        for _ in range(num_moves):
            policy = space.project(policy, target, oracle.payoff(key, policy))
        return State(policy), Info(queries=num_moves)

    return Optimiser(init, step)


def plain_init(policy):
    return State(policy)


def plain_step(key, state, oracle, space, *, step_size, beta, num_moves):
    policy = state.policy
    for _ in range(num_moves):
        mirror = Partial(explicit, step_size=step_size, beta=beta)
        policy = space.project(policy, mirror, oracle.payoff(key, policy))
    return State(policy), Info(queries=num_moves)


def ours(step_size, beta):
    return Algorithm(plain_init, functools.partial(plain_step, step_size=step_size, beta=beta, num_moves=2))


def gaps(method, **arguments):
    return run(method, GAME, num_steps=40, every=20, **arguments).of("duality_gap")


def test_both_styles_make_the_same_run_and_have_the_same_numbers():
    mine = as_algorithm(nested(0.4, 0.3))
    assert hyper(mine)["step_size"] == 0.4
    assert hyper(mine)["num_moves"] == 2
    assert hyper(ours(0.4, 0.3)) == {"step_size": 0.4, "beta": 0.3, "num_moves": 2}
    np.testing.assert_allclose(gaps(mine), gaps(ours(0.4, 0.3)), rtol=1e-9)
    assert gaps(mine)[-1] < 1e-10


def test_another_number_in_a_closure_compiles_nothing():
    gaps(as_algorithm(nested(0.4, 0.3)))
    before = _jitted._cache_size()
    gaps(as_algorithm(nested(0.2, 0.3)))
    assert _jitted._cache_size() == before
    gaps(as_algorithm(nested(0.2, 0.3, num_moves=1)))
    assert _jitted._cache_size() == before + 1


def test_vmap_over_a_nested_factory_is_a_batch():
    sizes = jnp.array([0.2, 0.4])
    batch = jax.vmap(lambda size: as_algorithm(nested(size, 0.3)))(sizes)
    together = gaps(batch, axes=(Axes(algorithm=0),))
    np.testing.assert_allclose(together[1], gaps(as_algorithm(nested(0.4, 0.3))), rtol=1e-10, atol=1e-30)


def test_a_training_loop_takes_a_record_of_anybody():
    space = simplex(GAME)
    state = train(nested(0.4, 0.3), space, exact(GAME, space.log_prob), key=jax.random.key(0), num_steps=40)
    np.testing.assert_allclose(state.policy, run(ours(0.4, 0.3), GAME, num_steps=40).state.policy, atol=1e-12)
    with pytest.raises(InputError, match="has the functions init and step, but a int has not"):
        train(3, space, fixed_batch(None), key=jax.random.key(0), num_steps=1)


def test_what_is_a_leaf_and_what_is_structure():
    number, count, name, pair = 0.5, 3, "x", (1.0, {"b": jnp.ones(2), "c": 7})

    def inner(x):
        return number * x

    def outer(x):
        return inner(x) * count + len(name) + pair[0] + pair[1]["c"]

    opened = as_partial(outer)
    assert len(jax.tree.leaves(opened)) == 3  # number, 1.0 and the ones
    assert opened(2.0) == outer(2.0)
    assert as_partial(opened) is opened
    assert float(jax.jit(lambda function, x: function(x))(opened, 2.0)) == outer(2.0)
    many = np.int64(3)
    assert jax.tree.leaves(as_partial(lambda: range(many))) == []


def test_functions_that_cannot_be_opened_still_run():
    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert as_partial(factorial)(4) == 24
    assert jax.tree.leaves(as_partial(jax.jit(lambda x: 2 * x))) == []
    assert as_partial(max)(1, 2) == 2


def test_structure_is_compared_by_value():
    assert Held(3) == Held(3)
    assert hash(Held(3)) == hash(Held(3))
    assert Held(True) != Held(1)
    assert Held([1]) != Held([1])  # what cannot be hashed is compared by identity


def test_an_algorithm_is_shown_in_one_line():
    shown = "Algorithm(nlhf.algorithms.egpo.step, step_size=0.5, beta=0.3; claims egpo.kl"
    assert repr(egpo(0.5, 0.3)).startswith(shown)
    assert "nested.<locals>.step" in repr(as_algorithm(nested(0.4, 0.3)))
    batch = algorithm(plain_init, plain_step, step_size=jnp.ones(100), beta=0.3)
    assert len(repr(batch).splitlines()) == 1
