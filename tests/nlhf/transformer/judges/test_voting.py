import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.data.encode import pad_left
from nlhf.transformer.judges.criteria import CRITERIA
from nlhf.transformer.judges.protocol import preferences
from nlhf.transformer.judges.voting import population
from nlhf.transformer.model.sampler import sample
from nlhf.transformer.responses import Responses
from nlhf.transformer.tokens.files import load_tokenizer
from nlhf.transformer.tokens.tokenizer import byte_tokenizer
from nlhf.transformer.weights.load import load_model
from tabular.game_statistics import intransitive_triples, statistics

DECODE = byte_tokenizer().decode
FIVE = ("sentiment", "diversity", "dialogue", "short_sentences", "short_words")
# by dialogue 1 > 2 > 3, by short sentences 2 > 3 > 1, by diversity 3 > 1 > 2
CYCLE = [
    '"We go to the big house and the old barn."',
    'He ran. He sat. He ran. "No." He ran.',
    "Six birds sang. Nobody heard them.",
]


def responses(texts, prompts=1):
    width = max(map(len, texts)) + 2
    rows = [[*text.encode(), 257] + [-1] * (width - len(text.encode()) - 1) for text in texts]
    tokens = jnp.asarray(np.array(rows).reshape(prompts, -1, width), jnp.int32)
    zeros = jnp.zeros(tokens.shape[:2], jnp.float32)
    return Responses(jnp.zeros((*tokens.shape[:2], 1), jnp.int32), tokens, zeros)


def table(judge, texts):
    return np.asarray(preferences(judge, responses(texts)))[0]


def by_hand(texts, names, weights, vote):
    scores = np.array([[CRITERIA[name](text) for name in names] for text in texts], np.float32)
    weights = np.asarray(weights) / np.sum(weights)
    return sum(w * vote(s[:, None] - s[None]) for w, s in zip(weights, scores.T, strict=True))


def hard(difference):
    return np.where(difference > 0, 1.0, np.where(difference < 0, 0.0, 0.5))


@pytest.mark.parametrize("weights", [None, [2, 1, 1, 0, 0.5]])
def test_votes_are_counted_as_by_hand(weights):
    texts = [*CYCLE, "Oh no.", ""]
    found = table(population(FIVE, DECODE, weights=weights), texts)
    wanted = by_hand(texts, FIVE, np.ones(5) if weights is None else weights, hard)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(found + found.T, 1)


def test_soft_votes_are_counted_as_by_hand():
    names, sharpness = FIVE[:2], np.array([2.0, 5.0], np.float32)
    found = table(population(names, DECODE, sharpness=sharpness), CYCLE)
    scores = np.array([[CRITERIA[name](text) for name in names] for text in CYCLE])
    wanted = np.mean(1 / (1 + np.exp(-sharpness * (scores[:, None] - scores[None]))), axis=-1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_array_equal(found + found.T, 1)


def test_a_difference_within_the_tie_width_is_no_vote():
    assert table(population(["diversity"], DECODE), ["one two", "one one"])[0, 1] == 1
    assert table(population(["diversity"], DECODE, tie_width=0.6), ["one two", "one one"])[0, 1] == 0.5


def test_the_majority_of_three_criteria_has_a_cycle_that_no_single_one_has():
    names = ("dialogue", "diversity", "short_sentences")
    found = table(population(names, DECODE), CYCLE)
    facts = statistics(found.astype(np.float64))
    assert (facts.intransitive_triples, facts.condorcet_winner) == (1, None)
    for name in names:
        assert statistics(table(population([name], DECODE), CYCLE).astype(float)).intransitive_triples == 0


def test_other_weights_compile_nothing():
    compiled = jax.jit(lambda judge, responses: preferences(judge, responses))  # a cache of its own
    given = responses(CYCLE)
    for weights in ([1, 1], [1, 3]):
        found = compiled(population(FIVE[:2], DECODE, weights=weights), given)[0]
        np.testing.assert_allclose(found, by_hand(CYCLE, FIVE[:2], weights, hard), atol=1e-6)
    assert compiled._cache_size() == 1


def test_pieces_of_real_stories_hold_cycles(shared):
    stories = (shared / "data/story_prompts/tinystories_sample.txt").read_text().replace("<|endoftext|>", " ")
    words = stories.split()
    texts = [" ".join(words[start : start + 20]) for start in range(0, 600, 20)]
    found = np.asarray(preferences(population(FIVE, DECODE), responses(texts, prompts=3)))
    cycles = [
        intransitive_triples(one) for one in np.where(found > 0.5, 1.0, np.where(found < 0.5, 0.0, 0.5))
    ]
    assert max(cycles) > 0


@pytest.mark.slow
def test_most_prompts_have_continuations_that_beat_each_other_in_a_circle(shared):
    """Ten continuations of each by a pretrained model."""
    path = shared / "data/stories15m/stories15M-q8_0.gguf"
    params, config = load_model(path)
    tokenizer = load_tokenizer(path)
    prompts = json.loads((shared / "data/story_prompts/prompts.json").read_text())[:20]
    ids = [[tokenizer.begin, *tokenizer.encode(text)] for text in prompts]
    given = sample(
        jax.random.key(0),
        ((params, 1.0),),
        config,
        pad_left(ids, max(map(len, ids))),
        num_responses=10,
        length=64,
    )
    found = np.asarray(preferences(population(FIVE, tokenizer.decode), given))
    strict = np.where(np.abs(found - 0.5) < 1e-6, 0.5, found.astype(float))
    assert sum(intransitive_triples(one) > 0 for one in strict.round(6)) > 10


@pytest.mark.parametrize(
    ("criteria", "settings", "message"),
    [
        (["humour"], {}, "'humour' is not a criterion; known are sentiment, diversity, dialogue"),
        ([], {}, "at least one"),
        (["dialogue", "dialogue"], {}, "each once"),
        (["dialogue"], {"weights": [-1]}, "the weight of dialogue is -1"),
        (["dialogue"], {"weights": [np.nan]}, "the weight of dialogue is nan"),
        (["dialogue"], {"weights": ["much"]}, "must be numbers"),
        (["dialogue", "diversity"], {"weights": [1]}, "1 weights for 2 judges"),
        (["dialogue", "diversity"], {"weights": [0, 0]}, "all weights of the judges are 0"),
        (["dialogue"], {"tie_width": -1}, "tie_width is -1"),
        (["dialogue"], {"sharpness": 0}, "sharpness is 0"),
        (["dialogue"], {"sharpness": [1, 2]}, "sharpness has 2 numbers"),
    ],
)
def test_a_population_that_cannot_vote_is_refused(criteria, settings, message):
    with pytest.raises(InputError, match=message):
        population(criteria, DECODE, **settings)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda text: float("nan"), "criterion own gives nan for response 0, 'a'"),
        (lambda text: float("inf"), "criterion own gives inf"),
        (lambda text: 1 / len(text[2:]), r"criterion own raises ZeroDivisionError .* for response 0"),
        (lambda text: "good", "criterion own raises ValueError"),
    ],
)
def test_a_criterion_that_fails_is_named(score, message):
    with pytest.raises(InputError, match=message):
        table(population(["own"], DECODE, known={"own": score}), ["a", "b"])
