"""Every algorithm file of the tabular world, unchanged, moves a transformer; exact and sampled oracles.

Learners get labelled pairs of the sampled oracle (and of the exact one), the others payoffs. KL-UCB is
left out: its bonus is a table over all responses, and a space without such a table must refuse it.
"""

import bank
import jax
import jax.numpy as jnp
import learners
import numpy as np
import optax
import pytest
import tiny_language as tiny
from jax.tree_util import Partial

from nlhf import ALGORITHMS, LEARNERS
from nlhf.errors import InputError
from nlhf.replay import buffer
from nlhf.transformer.enumerable import language_oracle
from nlhf.transformer.judges.lookup import table as table_judge
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import LanguageModel
from nlhf.transformer.responses import Responses
from nlhf.transformer.space import start, transformer_space

LENGTH = 3
BETA = 0.2
CONFIG = tiny.config(LENGTH)
BASE = tiny.parameters(CONFIG, 1)
MODEL = LanguageModel(BASE, CONFIG)
ADAM = optax.adam(1e-2)
PROMPTS = Prompts(jnp.array([[0], [1], [2], [1]], jnp.int32), jnp.arange(4))
TABLE = tiny.preference(LENGTH)
QUICK = ("egpo", "xpo")
ON_TRANSFORMERS = [*ALGORITHMS, *(name for name in LEARNERS if name != "kl_ucb")]


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def make(name):
    if name in ALGORITHMS:
        return bank.make(name, BETA, **({"num_inner": 2} if name == "nash_prox" else {}))
    response = Responses(jnp.zeros(1, jnp.int32), jnp.zeros(LENGTH, jnp.int32), jnp.zeros(()))
    return learners.make(name, buffer(8, response))


def sampled(space):
    del space
    judge = table_judge(TABLE, tiny.VOCABULARY)
    return sampled_oracle(MODEL, judge, PROMPTS, num_responses=3, length=LENGTH)


def exact(space):
    return language_oracle(space, tiny.responses(LENGTH), TABLE)


CASES = [
    pytest.param(
        name, make_oracle, marks=() if name in QUICK and make_oracle is sampled else pytest.mark.slow
    )
    for name in ON_TRANSFORMERS
    for make_oracle in (sampled, exact)
]


@pytest.mark.parametrize(("name", "make_oracle"), CASES)
def test_an_algorithm_trains_a_transformer(name, make_oracle):
    algorithm = make(name)
    space = transformer_space(MODEL, ADAM)
    oracle = make_oracle(space)
    step = jax.jit(algorithm.step, donate_argnums=1)

    def run():
        # a state may hold one policy twice, and memory can be given away once
        state = jax.tree.map(jnp.copy, algorithm.init(start(MODEL, ADAM)))
        structure = jax.tree.structure(state)
        for seed in range(3):
            state, info = step(jax.random.key(seed), state, oracle, space)
            assert jax.tree.structure(state) == structure
            assert int(info.queries) > 0
        return state

    state = run()
    moved = state.policy.parameters
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    assert jax.tree.structure(moved) == jax.tree.structure(BASE)
    for before, after in zip(jax.tree.leaves(BASE), jax.tree.leaves(moved), strict=True):
        assert (before != after).any()
    assert step._cache_size() == 1  # three calls, one program
    again = run()
    for first, second in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(first, second)
    assert step._cache_size() == 1


def no_bonus(comparisons):
    return jnp.zeros((1, tiny.VOCABULARY**LENGTH))


def test_kl_ucb_needs_a_table_and_says_so():
    response = Responses(jnp.zeros(1, jnp.int32), jnp.zeros(LENGTH, jnp.int32), jnp.zeros(()))
    algorithm = LEARNERS["kl_ucb"](0.3, BETA, buffer(8, response), Partial(no_bonus))
    space = transformer_space(MODEL, ADAM)
    with pytest.raises(InputError, match="the responses are NoneType"):
        jax.eval_shape(
            algorithm.step, jax.random.key(0), algorithm.init(start(MODEL, ADAM)), sampled(space), space
        )
