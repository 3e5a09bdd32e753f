import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from nlhf.transformer.model.attention import (
    Cache,
    _scores,
    angles,
    apply_rotary,
    attend_branches,
    attend_prompt,
    attend_step,
    branch_context,
    prompt_context,
    step_context,
)
from nlhf.transformer.model.config import preset

CONFIG = dataclasses.replace(preset("tiny"), dtype="float64")  # 4 heads on 2 key heads of width 16
RNG = np.random.default_rng(0)
PROMPT = jnp.array([[-1, -1, 5, 6], [1, 2, 3, 4]], jnp.int32)
TOKENS = jnp.array([[[7, 8, 9], [7, -1, -1]], [[1, 1, -1], [2, 2, 2]]], jnp.int32)
ROW = 4 + 2 * 3


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape))


QUERY, KEY, VALUE = normal(2, ROW, 2, 2, 16), normal(2, ROW, 2, 16), normal(2, ROW, 2, 16)


def plain(query, keys, values):
    """One query head over the keys that it sees."""
    return special.softmax(np.asarray(keys) @ np.asarray(query) / 4) @ np.asarray(values)


def seen_by(row, branch, place):
    """Places of a packed row that token ``place`` of a response sees, written as a loop."""
    prompt = [index for index in range(4) if PROMPT[row, index] >= 0]
    return prompt + [4 + 3 * branch + index for index in range(place + 1)]


def test_rotation_is_that_of_complex_numbers():
    x = normal(2, 3, 4, 16)
    positions = jnp.array([[0, 1, 2], [5, 6, 100]])
    found = np.asarray(apply_rotary(x, angles(CONFIG, positions)))
    frequency = 10000.0 ** -(np.arange(8) / 8)
    phase = np.exp(1j * np.asarray(positions)[..., None] * frequency)[:, :, None]
    turned = (np.asarray(x)[..., :8] + 1j * np.asarray(x)[..., 8:]) * phase
    np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], -1), atol=1e-12)


def test_positions_count_tokens_and_responses_go_on_where_their_prompt_ends():
    context = branch_context(CONFIG, PROMPT, TOKENS)
    positions = jnp.array([[0, 0, 0, 1, 2, 3, 4, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 4, 5, 6]])
    np.testing.assert_array_equal(context.angles[0], angles(CONFIG, positions)[0])
    np.testing.assert_array_equal(
        prompt_context(CONFIG, PROMPT).angles[1], angles(CONFIG, positions[:, :4])[1]
    )
    step = step_context(CONFIG, PROMPT, 2, jnp.asarray(1))
    np.testing.assert_array_equal(step.angles[0], angles(CONFIG, jnp.array([[3, 3], [5, 5]]))[0])


def test_prompts_see_their_past_and_no_padding():
    mixed, (keys, values) = attend_prompt(
        prompt_context(CONFIG, PROMPT), None, QUERY[:, :4], KEY[:, :4], VALUE[:, :4]
    )
    for row, place in ((0, 2), (0, 3), (1, 0), (1, 3)):
        seen = [index for index in range(place + 1) if PROMPT[row, index] >= 0]
        expected = plain(QUERY[row, place, 1, 0], KEY[row, seen, 1], VALUE[row, seen, 1])
        np.testing.assert_allclose(mixed[row, place, 1, 0], expected, atol=1e-12)
    np.testing.assert_array_equal(keys, KEY[:, :4].swapaxes(1, 2))
    np.testing.assert_array_equal(values, VALUE[:, :4].swapaxes(1, 2))


@pytest.mark.parametrize(("row", "branch", "place"), [(0, 0, 0), (0, 0, 2), (0, 1, 0), (1, 0, 1), (1, 1, 2)])
def test_responses_see_their_prompt_and_their_own_past(row, branch, place):
    mixed, _ = attend_branches(branch_context(CONFIG, PROMPT, TOKENS), None, QUERY, KEY, VALUE)
    seen, index = seen_by(row, branch, place), 4 + 3 * branch + place
    for head, query in ((0, 1), (1, 0)):
        expected = plain(QUERY[row, index, head, query], KEY[row, seen, head], VALUE[row, seen, head])
        np.testing.assert_allclose(mixed[row, index, head, query], expected, atol=1e-12)
    fewer = seen[1:]
    wrong = plain(QUERY[row, index, 0, 1], KEY[row, fewer, 0], VALUE[row, fewer, 0])
    assert np.abs(mixed[row, index, 0, 1] - wrong).max() > 1e-3


def test_one_token_at_a_time_is_the_same_attention():
    whole, _ = attend_branches(branch_context(CONFIG, PROMPT, TOKENS), None, QUERY, KEY, VALUE)
    _, shared = attend_prompt(prompt_context(CONFIG, PROMPT), None, QUERY[:, :4], KEY[:, :4], VALUE[:, :4])
    own = [x[:, 4:].reshape(2, 2, 3, *x.shape[2:]) for x in (QUERY, KEY, VALUE)]
    garbage = jnp.full((4, 2, 3, 16), 1e3)  # what lies beyond is not read
    cache = Cache(shared, (garbage, garbage))
    step = jax.jit(attend_step)
    for index in range(3):
        mixed, cache = step(
            step_context(CONFIG, PROMPT, 2, jnp.asarray(index)), cache, *(x[:, :, index] for x in own)
        )
        expected = whole[:, 4:].reshape(2, 2, 3, 2, 2, 16)[:, :, index]
        there = np.asarray(TOKENS[:, :, index] >= 0)  # what follows an end is not asked for
        np.testing.assert_allclose(mixed[there], expected[there], atol=1e-12)


def test_scores_of_bfloat16_are_scaled_without_rounding():
    """As they are in decoding: 12^-1/2 in bfloat16 is off by 1/600, which a score of 30 would show."""
    query, key = (normal(2, 5, 12).astype(jnp.bfloat16) for _ in range(2))
    exact = np.asarray(query, float) @ np.asarray(key, float).swapaxes(1, 2) / np.sqrt(12)
    np.testing.assert_allclose(_scores(query, key), exact, rtol=1e-5, atol=1e-6)
