import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.language import population_language, strings

KEY = jax.random.key(0)


def test_strings_are_all_strings_in_lexicographic_order():
    assert strings(3, 4).tolist() == [list(s) for s in itertools.product(range(3), repeat=4)]
    assert strings(5, 1).tolist() == [[0], [1], [2], [3], [4]]
    assert len(strings(2, 12)) == 4096


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 13), (1, 5), (64, 3)])
def test_strings_refuse_what_cannot_be_enumerated(vocabulary, length):
    with pytest.raises(InputError, match="can be enumerated"):
        strings(vocabulary, length)


def test_reference_is_the_bigram_model():
    language = population_language(KEY, vocabulary=3, length=3, beta=0.2)
    transition = np.asarray(language.log_token_ref)
    np.testing.assert_allclose(np.exp(transition).sum(-1), 1, rtol=1e-14)
    for string, log_prob in zip(
        np.asarray(language.tokens), np.asarray(language.game.log_ref[0]), strict=True
    ):
        previous, total = 0, 0.0
        for token in string:
            total += transition[previous, token]
            previous = token
        np.testing.assert_allclose(log_prob, total, rtol=1e-13)
    assert float(language.game.beta) == 0.2


@pytest.mark.parametrize("length", [1, 3])
def test_one_judge_is_a_bradley_terry_model(length):
    language = population_language(KEY, vocabulary=3, length=length, num_judges=1, sharpness=1.5)
    matrix = np.asarray(language.game.preference[0])
    odds = np.log(matrix / (1 - matrix))
    scores = odds[:, 0]
    np.testing.assert_allclose(odds, scores[:, None] - scores[None, :], atol=1e-12)
    # rewards are standardised, so that sharpness means the same for every judge
    np.testing.assert_allclose(scores.std(), 1.5, rtol=1e-12)


def test_many_judges_make_an_intransitive_majority():
    matrix = np.asarray(population_language(KEY, vocabulary=3, length=4, num_judges=3).game.preference[0])
    beats = matrix > 0.5
    cycles = np.einsum("ab,bc,ca->", *(beats.astype(float),) * 3) / 3
    assert cycles > 0
    make_certain = np.asarray(population_language(KEY, sharpness=0.0).game.preference)
    np.testing.assert_array_equal(make_certain, 0.5)


def test_the_same_key_makes_the_same_language():
    one, two = (population_language(KEY, vocabulary=2, length=3) for _ in range(2))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((jnp.asarray(a) == jnp.asarray(b)).all()), one, two))


def test_errors():
    with pytest.raises(InputError, match="beta is -1"):
        population_language(KEY, beta=-1.0)
