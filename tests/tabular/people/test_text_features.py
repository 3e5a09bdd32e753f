import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.people.text_features import SURFACE, text_features, text_table

TEXTS = [
    "Yes, yes! It is 12 o'clock.",
    "No. No. No?",
    "Ask the clerk\nat noon, please.",
    "",
    "At noon. I am sure!",
]
PROMPTS = ["When is noon?", "Why?"]
PROMPT = np.array([0, 0, 0, 1, 1])


def column(table, name):
    return table.surface[:, SURFACE.index(name)]


def test_the_surface_counts_what_it_says():
    table = text_table(TEXTS, PROMPTS, PROMPT)
    assert table.surface.shape == (5, len(SURFACE))
    np.testing.assert_allclose(column(table, "words"), np.log1p([6, 3, 6, 0, 5]))
    np.testing.assert_allclose(column(table, "digits")[0], 2 / len(TEXTS[0]))
    np.testing.assert_allclose(column(table, "repeated sentences"), np.log1p([0, 2, 0, 0, 0]))
    np.testing.assert_allclose(column(table, "overlap with the prompt"), [1 / 3, 0, 1 / 3, 0, 0])
    assert np.isfinite(table.surface).all()


def test_agreement_is_with_the_other_answers_to_the_same_prompt():
    table = text_table(["a b c d", "a b", "a b", "x"], PROMPTS, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(column(table, "agreement with other answers"), [0.5, 0.75, 0.75, 0.0])


def test_words_and_neighbours_are_counted_by_a_fixed_hash():
    table = text_table(["no no no", "no"], PROMPTS, np.array([0, 0]))
    # the word three times and the pair of neighbours twice
    np.testing.assert_allclose(np.sort(table.words[[0]].data), 1 + np.log([2, 3]))
    # the check value of CRC-32 is that of these nine digits
    digits = text_table(["123456789"], PROMPTS, np.array([0])).words
    np.testing.assert_array_equal(digits.indices, [0xCBF43926 % digits.shape[1]])


def drawn(count=40):
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "fast", "slow", "old", "new", "odd"]
    texts = [" ".join(rng.choice(words, size=rng.integers(3, 12))) for _ in range(count)]
    return text_table(texts, ["colours?"], np.zeros(count, int))


def test_features_are_standardised_on_the_known_texts_and_learn_from_no_other():
    table = drawn()
    known = np.arange(40) < 30
    features = text_features(table, known, 3)
    assert features.shape == (40, len(SURFACE) + 3)
    np.testing.assert_allclose(features[known].mean(0), 0, atol=1e-9)
    spread = features[known].std(0)
    assert set(np.round(spread, 9)) <= {0.0, 1.0}
    # other held-out texts change nothing of the features of known ones
    other = table._replace(surface=np.where(known[:, None], table.surface, 7.0), words=table.words.copy())
    other.words.data[other.words.indptr[30] :] = 5.0
    np.testing.assert_allclose(text_features(other, known, 3)[known], features[known], atol=1e-9)
    # and known ones do
    assert np.abs(text_features(table, np.arange(40) < 20, 3) - features).max() > 0.1


def test_the_topics_are_the_leading_singular_vectors():
    table = drawn()
    everything = np.ones(40, bool)
    topics = text_features(table, everything, 2)[:, -2:]
    seen = (table.words.toarray() > 0).sum(0)
    weighted = table.words.toarray() * np.log(41 / (1 + seen))
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    left, values, _ = np.linalg.svd(weighted, full_matrices=False)
    expected = left[:, :2] * values[:2]
    expected = (expected - expected.mean(0)) / expected.std(0)
    for one, other in zip(topics.T, expected.T, strict=True):
        assert abs(np.corrcoef(one, other)[0, 1]) == pytest.approx(1, abs=1e-8)


def test_the_same_texts_give_the_same_features():
    everything = np.ones(40, bool)
    np.testing.assert_array_equal(
        text_features(drawn(), everything, 3), text_features(drawn(), everything, 3)
    )


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="0 texts"):
        text_table([], PROMPTS, np.array([], int))
    for prompt in (np.array([0]), np.array([0, 2]), np.array([-1, 0])):
        with pytest.raises(InputError, match="2 texts, 2 prompts"):
            text_table(["a", "b"], PROMPTS, prompt)
    for topics in (0, 40):
        with pytest.raises(InputError, match="topics from 40 known texts"):
            text_features(drawn(), np.ones(40, bool), topics)
