"""The loop of language models is its steps one after another, it learns, and it measures what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lm_runs import CONFIG

from nlhf import dpo, egpo
from nlhf.base import Comparisons
from nlhf.datasets import fixed_batch
from nlhf.errors import InputError
from nlhf.replay import buffer
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.model import decoder
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import LanguageModel
from nlhf.transformer.responses import Responses, empty
from nlhf.transformer.runs import preference
from nlhf.transformer.space import start, transformer_space

PROMPTS = np.array([[-1, 65], [66, 67], [68, 69]], np.int32)
SIZE = {"length": 3, "num_responses": 2}


def first_byte(responses):
    return jnp.asarray(responses.tokens)[:, :1]


def larger(first, second):
    return jnp.where(first == second, 0.5, jnp.where(first > second, 1.0, 0.0)).astype(jnp.float32)[:, 0]


JUDGE = Judge(first_byte, larger)


@pytest.fixture(scope="module")
def world():
    model = LanguageModel(decoder.init(jax.random.key(0), CONFIG), CONFIG)
    optimiser = optax.adam(1e-2)
    return model, optimiser, transformer_space(model, optimiser)


def run(world, num_steps=2, **options):
    model, optimiser, space = world
    oracles = preference.prompt_oracles(model, JUDGE, PROMPTS, batch=2, seed=5, **SIZE)
    first = start(model, optimiser)
    key = jax.random.key(1)
    return preference.train(egpo(1.0, 0.1), space, first, oracles, key=key, num_steps=num_steps, **options)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.parameters, other.parameters)


def test_a_run_is_its_steps_one_after_another(world, tmp_path):
    model, optimiser, space = world
    seen = []

    def evaluate(made, policy):
        seen.append(made)
        return {"made": made}

    ended = run(world, 3, evaluate=evaluate, evaluate_every=2)
    assert seen == [0, 2, 3]  # the start, every second, the last
    assert ended.log == [
        {"step": 0, "made": 0.0},
        {"step": 1, "queries": 2.0},
        {"step": 2, "queries": 2.0, "made": 2.0},
        {"step": 3, "queries": 2.0, "made": 3.0},
    ]
    algorithm = egpo(1.0, 0.1)
    state = algorithm.init(start(model, optimiser))
    for index in range(3):
        chosen = preference.indices(5, 2 * index, 3, 2)
        prompts = Prompts(jnp.asarray(PROMPTS[chosen]), jnp.asarray(chosen, jnp.int32))
        oracle = sampled_oracle(model, JUDGE, prompts, **SIZE)
        state, _ = algorithm.step(jax.random.fold_in(jax.random.key(1), index), state, oracle, space)
    equal(ended.policy, state.policy)
    with pytest.raises(InputError, match="evaluate_every is 0"):
        run(world, 3, evaluate=evaluate, evaluate_every=0)
    # in a folder, in two parts
    run(world, 1, folder=tmp_path, config={})
    parts = run(world, 3, folder=tmp_path, config={})
    assert [line["step"] for line in parts.log] == [2, 3]
    equal(parts.policy, state.policy)


def test_labelled_pairs_are_taken_in_turn_and_learnt_from(world):
    model, optimiser, space = world
    tokens = np.array([[97, 97, -1], [98, 98, -1], [99, 99, -1]], np.int32)
    one, other = (
        Responses(PROMPTS, rows, np.zeros(3, np.float32)) for rows in (tokens, np.roll(tokens, 1, axis=0))
    )
    pairs = Comparisons(
        np.arange(3, dtype=np.int32),
        one,
        other,
        np.array([1.0, 1.0, 0.0], np.float32),
        np.ones(3, np.float32),
    )
    method = dpo(0.1, 0.0, buffer(8, response=empty(2, 3)))
    oracles = preference.pair_oracles(pairs, batch=2)
    expected = fixed_batch(jax.tree.map(lambda leaf: leaf[preference.indices(0, 2, 3, 2)], pairs))
    jax.tree.map(
        np.testing.assert_array_equal, oracles(1).duel(None, None, None), expected.duel(None, None, None)
    )
    ended = preference.train(
        method,
        space,
        start(model, optimiser),
        oracles,
        key=jax.random.key(0),
        num_steps=6,
        evaluate=lambda made, policy: preference.score_pairs(space, policy, jax.tree.map(jnp.asarray, pairs)),
        evaluate_every=6,
        compiled=True,
    )
    before, after = (line for line in ended.log if "margin" in line)
    assert before["margin"] == 0
    assert before["accuracy"] == 0.5
    assert after["margin"] > 0
    assert after["accuracy"] == 1


def test_every_response_meets_every_other():
    first = np.arange(6.0).reshape(6, 1)
    second = np.array([[0.5], [3.5], [2.5], [2.6], [9.0], [4.5]])
    wins = preference.mean_wins(JUDGE, first, second, (3, 2))
    np.testing.assert_allclose(wins, [1 / 4, 1 / 2, 1 / 4])


def test_the_reference_draws_level_with_itself(world):
    model, optimiser, space = world
    ended = run(world, 1)
    for policy, moved in ((start(model, optimiser), False), (ended.policy, True)):
        found = preference.compare_with_reference(
            jax.random.key(2), model, space, JUDGE, policy, jnp.asarray(PROMPTS), size=3, num_responses=4
        )
        assert 0 <= found["win_rate"] <= 1
        assert found["length"] == 3
        assert (abs(found["kl"]) > 1e-4) == moved
