"""The exact oracle of a language that can be written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_language as tiny

from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.transformer.enumerable import all_responses, language_oracle, table
from nlhf.transformer.policy import REFERENCE, LanguageModel
from nlhf.transformer.space import transformer_space
from tabular.language import strings

LENGTH = 2
SIZE = 9
CONFIG = tiny.config(LENGTH)
BASE, OWN = (tiny.parameters(CONFIG, seed) for seed in (1, 2))
SPACE = transformer_space(LanguageModel(BASE, CONFIG), optax.identity())
ALL = all_responses(strings(3, LENGTH), 2)
PREFERENCE = tiny.preference(LENGTH)
ORACLE = language_oracle(SPACE, ALL, PREFERENCE)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


@pytest.fixture(scope="module")
def exact():
    """Tables after the prompt 2, by the plain model."""
    world = tiny.World(CONFIG, LENGTH)
    return np.asarray(world.table(OWN)[2]), np.asarray(world.table(BASE)[2])


def test_every_string_answers_the_one_prompt():
    assert ALL.tokens.shape == (1, SIZE, LENGTH)
    assert set(map(tuple, np.asarray(ALL.tokens[0]))) == {(i, j) for i in range(3) for j in range(3)}
    np.testing.assert_array_equal(ALL.prompt, np.full((1, SIZE, 1), 2))


def test_a_beginning_that_strings_hold_too_puts_most_policies_out_of_reach():
    """Rotary positions are relative: whatever the parameters, 0 and 00 are followed by the same."""
    world = tiny.World(CONFIG, LENGTH)
    for params in (BASE, OWN):
        tree = np.asarray(world.tokens(params)).reshape(3, 3, 3, LENGTH)
        for begin in range(3):
            np.testing.assert_allclose(tree[begin, :, 0, 0], tree[begin, begin, :, 1], rtol=0, atol=1e-12)
        assert np.abs(tree[0, :, 0, 0] - tree[0, 1, :, 1]).max() > 1e-2


def test_tables_and_payoffs_are_exact(exact):
    own, ref = exact
    policy = Trained(OWN, ())
    np.testing.assert_allclose(table(SPACE, policy, ALL)[0], own, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.exp(own).sum(), 1, atol=1e-12)
    feedback = ORACLE.payoff(jax.random.key(0), policy)
    assert feedback.responses is ALL
    np.testing.assert_allclose(feedback.preference[0], PREFERENCE @ np.exp(own) - 0.5, rtol=0, atol=1e-12)
    mixture = np.exp(0.4 * own + 0.6 * ref)
    payoff = PREFERENCE @ (mixture / mixture.sum()) - 0.5
    found = ORACLE.payoff(jax.random.key(1), Mixture(policy, REFERENCE, 0.6)).preference[0]
    np.testing.assert_allclose(found, payoff, rtol=0, atol=1e-12)


def test_duels_draw_strings_and_labels_from_the_exact_tables(exact):
    own, ref = exact
    draw = jax.jit(jax.vmap(lambda key: ORACLE.duel(key, Trained(OWN, ()), REFERENCE)))
    num = 20_000
    found = draw(jax.random.split(jax.random.key(2), num))
    first, second = (np.asarray(side.tokens)[:, 0] @ np.array([3, 1]) for side in (found.first, found.second))
    for index, log_prob in ((first, own), (second, ref)):
        share = np.bincount(index, minlength=SIZE) / num
        assert (np.abs(share - np.exp(log_prob)) < 5 * np.sqrt(np.exp(log_prob) / num) + 1e-12).all()
    joint = np.bincount(SIZE * first + second, minlength=SIZE**2) / num
    spread = 5 * np.sqrt(joint / num) + 1e-3
    assert (np.abs(joint - np.exp(own[:, None] + ref[None]).ravel()) < spread).all()
    labels = np.asarray(found.prefer_first)[:, 0]
    assert set(labels) == {0.0, 1.0}
    expected = PREFERENCE[first, second]
    slope = np.mean((expected - 0.5) * (labels - 0.5)) / np.mean((expected - 0.5) ** 2)
    assert abs(slope - 1) < 0.1
    np.testing.assert_array_equal(found.weight, 1.0)
    assert found.first.prompt.shape == (num, 1, 1)


def test_a_table_of_another_language_is_refused():
    with pytest.raises(InputError, match=r"the table is \[8, 8\], but there are 9 strings; give \[9, 9\]"):
        language_oracle(SPACE, ALL, jnp.zeros((8, 8)))
