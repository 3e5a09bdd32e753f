import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges.lookup import table
from nlhf.transformer.judges.protocol import preferences
from nlhf.transformer.responses import Responses
from tabular import language


def all_strings(vocabulary, length):
    tokens = jnp.asarray(language.strings(vocabulary, length), jnp.int32)[None]
    zeros = jnp.zeros(tokens.shape[:2], jnp.float32)
    return Responses(jnp.zeros((*tokens.shape[:2], 1), jnp.int32), tokens, zeros)


def matrix(vocabulary, length):
    upper = np.triu(np.random.default_rng(0).uniform(size=(vocabulary**length,) * 2), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(len(upper))


@pytest.mark.parametrize(("vocabulary", "length"), [(2, 3), (3, 2), (8, 2)])
def test_the_preferences_of_all_strings_are_the_matrix_of_the_game(vocabulary, length):
    wanted = matrix(vocabulary, length)
    found = preferences(table(wanted, vocabulary), all_strings(vocabulary, length))[0]
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-15)


def test_a_place_is_found_token_by_token():
    wanted = matrix(3, 2)
    judge = table(wanted, 3)
    given = all_strings(3, 2)
    rows = jax.tree.map(lambda leaf: leaf[0, np.array([5, 7])], given)  # the strings 12 and 21
    np.testing.assert_array_equal(rows.tokens, [[1, 2], [2, 1]])
    np.testing.assert_array_equal(judge.describe(rows), [5, 7])
    assert judge.compare(jnp.asarray([5]), jnp.asarray([7]))[0] == wanted[5, 7]


@pytest.mark.parametrize("token", [-1, 3])
def test_what_is_no_string_is_no_other_string(token):
    judge = table(matrix(3, 2), 3)
    given = jax.tree.map(lambda leaf: leaf[0, :2], all_strings(3, 2))
    given = given._replace(tokens=given.tokens.at[0, 1].set(token))
    features = jax.jit(judge.describe)(given)
    assert np.isnan(judge.compare(features, features)).tolist() == [True, False]
    with pytest.raises(InputError, match=rf"response 0 is \[0, {token}\], .* tokens 0 to 2; give a table"):
        preferences(judge, jax.tree.map(lambda leaf: leaf[None], given))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((4, 2, None), r"draws from 4 tokens, .* strings of 3; give a table of all 4\^2 strings"),
        ((3, 3, None), "have 3 tokens, but the judge's strings 2; sample with length=2 and no end token"),
        ((3, 2, 0), "2 tokens that may end before at token 0"),
    ],
)
def test_a_model_that_may_write_other_strings_is_refused_before_it_writes(asked, message):
    judge = table(matrix(3, 2), 3)
    judge.check(3, 2, None)
    judge.check(2, 2, None)
    with pytest.raises(InputError, match=message):
        judge.check(*asked)


@pytest.mark.parametrize(
    ("preference", "vocabulary", "message"),
    [
        (np.full((8, 8), 0.5), 3, "8 rows, but strings over 3 tokens are a power of 3"),
        (np.full((1, 1), 0.5), 2, "1 rows"),
        (np.full((4, 3), 0.5), 2, "square"),
        (np.zeros((4, 4), int), 2, "floats"),
        (np.array([[0.5, 0.9], [0.9, 0.5]]), 2, r"P\[0, 1\] = 0.9 and P\[1, 0\] = 0.9"),
        (np.array([[0.5, np.nan], [0.5, 0.5]]), 2, r"P\[0, 1\] = nan"),
        (np.array([[0.5, 1.5], [-0.5, 0.5]]), 2, r"P\[0, 1\] = 1.5"),
        (np.full((2, 2), 0.5), 1, "vocabulary is 1"),
    ],
)
def test_a_matrix_that_is_none_of_preferences_is_refused(preference, vocabulary, message):
    with pytest.raises(InputError, match=message):
        table(preference, vocabulary)


def test_responses_of_another_length_are_refused():
    with pytest.raises(InputError, match="the responses have 3 tokens, but the judge's strings 2"):
        table(matrix(3, 2), 3).describe(jax.tree.map(lambda leaf: leaf[0], all_strings(3, 3)))
