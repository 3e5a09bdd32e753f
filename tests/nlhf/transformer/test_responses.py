import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.responses import Responses, check_responses, flat, length, pair

GOOD = Responses(
    np.array([[[-1, 4, 2]] * 2, [[1, 1, 3]] * 2]),
    np.array([[[5, 6, -1], [5, 6, 7]], [[0, -1, -1], [-1, -1, -1]]]),
    np.zeros((2, 2)),
)


def test_lengths_count_tokens():
    np.testing.assert_array_equal(length(GOOD), [[2, 3], [1, 0]])


def test_flat_keeps_rows_together():
    rows = flat(GOOD)
    np.testing.assert_array_equal(rows.prompt, [[-1, 4, 2], [-1, 4, 2], [1, 1, 3], [1, 1, 3]])
    np.testing.assert_array_equal(rows.tokens[2], [0, -1, -1])
    assert rows.log_prob.shape == (4,)


def test_pairs_stand_side_by_side():
    rows = flat(GOOD)
    second = rows._replace(tokens=rows.tokens[::-1])
    both = pair(rows, second)
    assert both.tokens.shape == (4, 2, 3)
    np.testing.assert_array_equal(both.tokens[0], [rows.tokens[0], rows.tokens[3]])


def test_good_responses_pass():
    assert check_responses(GOOD, 8, 6) is GOOD


def change(prompt=None, tokens=None):
    changed = GOOD._replace(prompt=GOOD.prompt.copy(), tokens=GOOD.tokens.copy())
    for array, entry in ((changed.prompt, prompt), (changed.tokens, tokens)):
        if entry is not None:
            array[entry[0]] = entry[1]
    return changed


@pytest.mark.parametrize(
    ("responses", "vocabulary", "context", "message"),
    [
        (GOOD, 7, 6, "a response holds token id 7, but the model has ids 0 to 6"),
        (GOOD, 8, 5, "prompts of 3 tokens and responses of 3 make 6, but the model's context is 5"),
        (change(prompt=((0, 0, 0), -2)), 8, 6, "a prompt holds token id -2"),
        (change(prompt=((0, 0, 2), -1)), 8, 6, "a prompt is empty or not left-padded"),
        (change(prompt=((1, 0, 1), -1)), 8, 6, "a prompt is empty or not left-padded"),
        (change(tokens=((0, 1, 1), -1)), 8, 6, "a response has padding before a token"),
        (GOOD._replace(prompt=GOOD.prompt[..., :0]), 8, 6, "a prompt is empty"),
    ],
)
def test_what_a_model_cannot_read_is_refused(responses, vocabulary, context, message):
    with pytest.raises(InputError, match=message):
        check_responses(responses, vocabulary, context)


def test_traced_responses_are_checked_for_their_shapes_only():
    wrong = jax.tree.map(jnp.asarray, change(tokens=((0, 1, 1), -1)))
    jax.eval_shape(lambda rows: check_responses(rows, 8, 6), wrong)
    with pytest.raises(InputError, match="context is 5"):
        jax.eval_shape(lambda rows: check_responses(rows, 8, 5), wrong)
