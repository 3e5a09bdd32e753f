import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny
from scipy import special, stats

from nlhf.errors import InputError
from nlhf.transformer.model import decoder, sampler
from nlhf.transformer.model.likelihood import token_log_prob
from nlhf.transformer.model.sampler import bucket, pad_prompts, sample
from tabular.language import strings

CONFIG = tiny.config(3)
PARAMS, OTHER = tiny.parameters(CONFIG, 0), tiny.parameters(CONFIG, 1)
MIXTURE = ((PARAMS, 0.3), (OTHER, 0.9))
PROMPTS = np.array([[0], [1], [2]])
MANY = 4000

WORDS = tiny.config(9, 11, width=8, layers=2)
WRITER, SECOND = tiny.parameters(WORDS, 2), tiny.parameters(WORDS, 3)
BOTH = ((WRITER, 0.5), (SECOND, 0.7))
START = np.array([[-1, -1, 4], [5, 0, 2]])
KEY = jax.random.key(7)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def write(components=BOTH, prompt=START, key=KEY, **changes):
    settings = {"num_responses": 3, "length": 6, "end": None, "temperature": 1.0, **changes}
    return sample(key, components, WORDS, prompt, **settings)


def exact(components):
    """Log-probability of each of the 27 strings after each prompt, ``[X, A]``, from plain sequences."""
    written = np.broadcast_to(strings(3, 3), (3, 27, 3))
    rows = np.concatenate([np.broadcast_to(PROMPTS[:, None], (3, 27, 1)), written], -1).reshape(-1, 4)
    scores = sum(weight * decoder.apply(params, CONFIG, jnp.asarray(rows)) for params, weight in components)
    chosen = np.take_along_axis(special.log_softmax(np.asarray(scores), -1)[:, :-1], rows[:, 1:, None], -1)
    return chosen[..., 0].sum(-1).reshape(3, 27)


def p_value(responses, table):
    """Of the counts of strings, against their probabilities; the rarest strings are one."""
    places = np.asarray(responses.tokens) @ np.array([9, 3, 1])
    counts, expected = [], []
    for row, logs in zip(places, table, strict=True):
        seen, due = np.bincount(row, minlength=27), np.exp(logs) * row.size
        rare = due < 10
        counts += [*seen[~rare], seen[rare].sum()]
        expected += [*due[~rare], due[rare].sum()]
    counts, expected = np.array(counts), np.array(expected)
    kept = expected > 0
    return stats.chi2.sf(((counts - expected)[kept] ** 2 / expected[kept]).sum(), kept.sum() - 3)


@pytest.mark.parametrize("components", [((PARAMS, 1.0),), MIXTURE], ids=["single", "mixture"])
def test_strings_come_as_often_as_their_probability(components):
    drawn = sample(KEY, components, CONFIG, PROMPTS, num_responses=MANY, length=3)
    table = exact(components)
    np.testing.assert_allclose(special.logsumexp(table, axis=-1), 0, atol=1e-12)
    assert p_value(drawn, table) > 1e-3
    assert p_value(drawn, exact(((OTHER, 1.0),))) < 1e-9
    places = np.asarray(drawn.tokens) @ np.array([9, 3, 1])
    np.testing.assert_allclose(drawn.log_prob, np.take_along_axis(table, places, -1), atol=1e-12)
    # neighbours are independent: pairs of first tokens against the product of their frequencies
    first = np.asarray(drawn.tokens[..., 0])
    for row in first:
        pairs = np.zeros((3, 3))
        np.add.at(pairs, (row[::2], row[1::2]), 1)
        assert stats.chi2_contingency(pairs).pvalue > 1e-3
    twice = np.zeros((3, 3))
    np.add.at(twice, (first[0], first[1]), 1)
    assert stats.chi2_contingency(twice).pvalue > 1e-3


def test_log_probabilities_are_those_of_the_likelihood_whatever_the_filters():
    for changes in ({}, {"temperature": 0.4, "top_k": 5, "top_p": 0.8}):
        drawn = write(end=3, **changes)
        expected = token_log_prob(BOTH, WORDS, drawn).sum(-1)
        np.testing.assert_allclose(drawn.log_prob, expected, atol=1e-12)


def test_a_mixture_of_weight_one_is_its_component_to_the_bit():
    alone = write(((SECOND, 1.0),))
    mixed = write(((WRITER, 0.0), (SECOND, 1.0)))
    np.testing.assert_array_equal(mixed.tokens, alone.tokens)
    np.testing.assert_array_equal(mixed.log_prob, alone.log_prob)
    assert (np.asarray(write().tokens) != np.asarray(alone.tokens)).any()


def test_temperature_zero_takes_the_likeliest_token():
    found = write(temperature=0.0)
    scores = jax.jit(lambda rows: sum(w * decoder.apply(params, WORDS, rows) for params, w in BOTH))
    rows = np.concatenate([START, np.full((2, 6), -1)], axis=1)
    for place in range(3, 9):
        rows[:, place] = scores(rows)[:, place - 1].argmax(-1)
    for branch in range(3):
        np.testing.assert_array_equal(found.tokens[:, branch], rows[:, 3:])
    likely = write(top_k=1, top_p=1.0, temperature=1.5)
    np.testing.assert_array_equal(likely.tokens, found.tokens)
    np.testing.assert_array_equal(write(top_k=11, top_p=1e-6, temperature=1.5).tokens, found.tokens)


def test_filters_that_keep_all_change_no_draw():
    np.testing.assert_array_equal(write(top_k=11, top_p=1.0).tokens, write().tokens)


def test_a_response_ends_with_its_end():
    free = np.asarray(write().tokens)
    end = int(free[0, 0, 2])
    found = write(end=end)
    lengths = [list(row).index(end) + 1 if end in row else 6 for row in free.reshape(6, 6)]
    assert min(lengths) < 6 < sum(lengths)
    expected = np.where(np.arange(6) < np.array(lengths)[:, None], free.reshape(6, 6), -1)
    np.testing.assert_array_equal(np.asarray(found.tokens).reshape(6, 6), expected)
    np.testing.assert_allclose(found.log_prob, token_log_prob(BOTH, WORDS, found).sum(-1), atol=1e-12)


def test_the_loop_stops_when_all_have_ended():
    # a response to the same prompt at temperature 0: all end together, and nothing is decoded after
    free = np.asarray(write(temperature=0.0).tokens)
    end = int(free[0, 0, 0])
    found = np.asarray(write(temperature=0.0, end=end).tokens)[0]
    np.testing.assert_array_equal(found, [[end, -1, -1, -1, -1, -1]] * 3)


def test_padding_on_the_left_changes_nothing():
    padded = np.concatenate([np.full((2, 1), -1), START], axis=1)
    wide, narrow = write(prompt=padded), write()
    np.testing.assert_array_equal(wide.tokens, narrow.tokens)
    np.testing.assert_allclose(wide.log_prob, narrow.log_prob, atol=1e-12)
    np.testing.assert_array_equal(wide.prompt[:, 2], padded)


def test_a_draw_depends_on_its_key_and_place_only():
    found = write()
    np.testing.assert_array_equal(write().tokens, found.tokens)
    np.testing.assert_array_equal(write().log_prob, found.log_prob)
    assert (np.asarray(write(key=jax.random.key(8)).tokens) != np.asarray(found.tokens)).any()
    fewer = write(prompt=START[:1], num_responses=2, length=4)
    np.testing.assert_array_equal(fewer.tokens, found.tokens[:1, :2, :4])


def test_uniforms_differ_everywhere():
    numbers = np.asarray(sampler.uniforms(KEY, 4, 5, 50))
    assert np.unique(numbers).size > 0.999 * numbers.size  # 24 bits: two of 2000 may agree
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3


def test_values_compile_nothing_anew():
    write(temperature=0.4, top_k=5, top_p=0.8, end=3)
    write(end=3)
    before = sampler._sample._cache_size()
    write(
        ((WRITER, 0.1), (SECOND, 0.2)), temperature=2.0, top_k=2, top_p=0.3, end=5, prompt=START + (START > 0)
    )
    write(((SECOND, 0.1), (WRITER, 0.2)), key=jax.random.key(3))
    assert sampler._sample._cache_size() == before
    write(length=5)
    assert sampler._sample._cache_size() == before + 1  # the count counts


def test_sampling_is_part_of_a_jitted_program():
    inside = jax.jit(lambda key, parts: write(parts, jnp.asarray(START), key))(KEY, BOTH)
    np.testing.assert_array_equal(inside.tokens, write().tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"components": ()}, "components is empty"),
        ({"components": ((WRITER, np.nan),)}, "weight of a component is nan"),
        ({"num_responses": 0}, "num_responses is 0"),
        ({"length": 8}, "prompts of 3 tokens and responses of 8 make 11, but the model's context is 10"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"end": 11}, "end is 11, but the model has ids 0 to 10"),
        ({"prompt": START[0]}, r"prompt has the shape \(3,\)"),
        ({"prompt": START[:, ::-1]}, "not left-padded"),
        ({"prompt": START + 6}, "a prompt holds token id 11"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        write(**changes)


def test_buckets_are_few_and_waste_at_most_a_third():
    sizes = np.arange(8, 5000)
    rounded = np.array([bucket(int(size)) for size in sizes])
    assert (rounded >= sizes).all()
    assert ((rounded - sizes) / rounded <= 1 / 3).all()
    assert len(set(rounded)) == 20
    assert [bucket(int(size)) for size in set(rounded)] == list(set(rounded))


def test_prompts_are_padded_into_one_batch():
    batch = pad_prompts([[1, 2, 3], [4]], width=4, rows=3)
    np.testing.assert_array_equal(batch, [[-1, 1, 2, 3], [-1, -1, -1, 4], [-1, -1, -1, 4]])
    assert batch.dtype == jnp.int32
    assert pad_prompts([[1] * 9] * 5).shape == (6, 12)


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ([], {}, "there are 0 prompts"),
        ([[1], []], {}, "give at least one id a prompt"),
        ([[1, 2, 3]], {"width": 2}, "do not fit 2 rows of 2"),
        ([[1]] * 3, {"rows": 2}, "3 prompts of up to 1 ids do not fit 2 rows"),
    ],
)
def test_prompts_that_make_no_batch_are_refused(prompts, settings, message):
    with pytest.raises(InputError, match=message):
        pad_prompts(prompts, **settings)
