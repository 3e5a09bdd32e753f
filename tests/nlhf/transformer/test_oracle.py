"""The sampled oracle: whom it asks about what, and how its answers are put together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny
from jax.tree_util import Partial

from nlhf import losses
from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.transformer.judges.lookup import table as table_judge
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.model import sampler
from nlhf.transformer.model.sampler import sample
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import REFERENCE, LanguageModel, components

LENGTH, NUM = 3, 4
CONFIG = tiny.config(LENGTH)
BASE, OWN = (tiny.parameters(CONFIG, seed) for seed in (1, 2))
MODEL = LanguageModel(BASE, CONFIG)
POLICY = Trained(OWN, ())
PREFERENCE = tiny.preference(LENGTH)
JUDGE = table_judge(PREFERENCE, tiny.VOCABULARY)
PROMPTS = Prompts(jnp.array([[0], [2]], jnp.int32), jnp.array([7, 3]))
ORACLE = sampled_oracle(MODEL, JUDGE, PROMPTS, num_responses=NUM, length=LENGTH)
KEY = jax.random.key(5)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def places(tokens):
    return np.asarray(tokens) @ np.array([9, 3, 1])


def test_a_payoff_is_the_mean_over_all_responses_itself_included():
    feedback = ORACLE.payoff(KEY, POLICY)
    drawn = sample(KEY, components(MODEL, POLICY), CONFIG, PROMPTS.tokens, num_responses=NUM, length=LENGTH)
    np.testing.assert_array_equal(feedback.responses.tokens, drawn.tokens)
    index = places(drawn.tokens)
    for prompt in range(2):
        wins = PREFERENCE[np.ix_(index[prompt], index[prompt])]
        expected = [(wins[k].sum() - wins[k, k] + 0.5) / NUM - 0.5 for k in range(NUM)]
        np.testing.assert_allclose(feedback.preference[prompt], expected, rtol=0, atol=1e-12)
    # P + P^T = 1: nobody wins on average
    np.testing.assert_allclose(feedback.preference.sum(-1), 0, atol=1e-12)
    # the probabilities that the on-policy form divides by are those of the draws
    table = np.asarray(tiny.World(CONFIG, LENGTH).table(OWN))
    for prompt, begin in enumerate([0, 2]):
        np.testing.assert_allclose(drawn.log_prob[prompt], table[begin][index[prompt]], atol=1e-12)


@pytest.mark.slow
def test_a_mixture_answers_token_by_token():
    weight = 0.4
    drawn = ORACLE.payoff(KEY, Mixture(POLICY, REFERENCE, weight)).responses
    world = tiny.World(CONFIG, LENGTH)
    both = np.asarray((1 - weight) * world.tokens(OWN) + weight * world.tokens(BASE))
    tree = both.reshape(3, 3, 3, 3, LENGTH)
    for prompt, begin in enumerate([0, 2]):
        for response in range(NUM):
            one, two, three = np.asarray(drawn.tokens)[prompt, response]
            steps = (tree[begin, :, 0, 0, 0], tree[begin, one, :, 0, 1], tree[begin, one, two, :, 2])
            chosen = [
                scores[at] - np.log(np.exp(scores).sum())
                for scores, at in zip(steps, (one, two, three), strict=True)
            ]
            np.testing.assert_allclose(drawn.log_prob[prompt, response], sum(chosen), atol=1e-12)


def test_a_duel_is_one_response_of_each_to_every_prompt_with_a_label():
    soft = sampled_oracle(MODEL, JUDGE, PROMPTS, length=LENGTH, soft_labels=True)
    answer = soft.duel(KEY, POLICY, REFERENCE)
    np.testing.assert_array_equal(answer.context, [7, 3])
    first, second = places(answer.first.tokens), places(answer.second.tokens)
    np.testing.assert_allclose(answer.prefer_first, PREFERENCE[first, second], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(answer.weight, 1.0)
    hard = ORACLE.duel(KEY, POLICY, REFERENCE)
    np.testing.assert_array_equal(hard.first.tokens, answer.first.tokens)
    assert set(np.asarray(hard.prefer_first)) <= {0.0, 1.0}
    # who drew which: by probabilities under the two models
    world = tiny.World(CONFIG, LENGTH)
    for side, params, index in ((answer.first, OWN, first), (answer.second, BASE, second)):
        table = np.asarray(world.table(params))[[0, 2]]
        np.testing.assert_allclose(side.log_prob, table[np.arange(2), index], atol=1e-12)


@pytest.mark.slow
def test_labels_are_drawn_with_the_probability_of_the_judge():
    both = jax.jit(jax.vmap(lambda key: ORACLE.duel(key, POLICY, REFERENCE)))
    answers = both(jax.random.split(KEY, 4000))
    expected = PREFERENCE[places(answers.first.tokens), places(answers.second.tokens)]
    labels = np.asarray(answers.prefer_first)
    slope = np.mean((expected - 0.5) * (labels - 0.5)) / np.mean((expected - 0.5) ** 2)
    assert abs(slope - 1) < 0.15
    assert abs(labels.mean() - expected.mean()) < 4 * 0.5 / np.sqrt(labels.size)


def test_a_preference_that_is_no_number_reaches_the_loss():
    """Compiled, nobody sees what the judge says; the label 0 in its place would be learnt as an answer."""
    judge = Judge(Partial(lambda responses: responses.prompt[:, 0]), Partial(_nan_for_prompt_2))
    for soft in (False, True):
        oracle = sampled_oracle(MODEL, judge, PROMPTS, length=LENGTH, soft_labels=soft)
        answer = jax.jit(oracle.duel)(KEY, POLICY, REFERENCE)
        np.testing.assert_array_equal(answer.prefer_first, [1.0, np.nan])
        values = losses.logistic(jnp.zeros(2), jnp.zeros(2), answer.prefer_first, beta=0.5)
        np.testing.assert_array_equal(np.isnan(values), [False, True])


def _nan_for_prompt_2(first, second):
    del second
    return jnp.where(first == 2, jnp.nan, 1.0)


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 1.0}]
)
def test_a_compiled_step_filters_only_where_there_is_something_to_filter(monkeypatch, settings):
    seen, inner = [], sampler._sample

    def watch(*arguments, **named):
        seen.append(arguments[3])
        return inner(*arguments, **named)

    monkeypatch.setattr(sampler, "_sample", watch)

    def payoff(oracle):
        return oracle.payoff(KEY, POLICY).responses

    oracle = sampled_oracle(MODEL, JUDGE, PROMPTS, num_responses=NUM, length=LENGTH, **settings)
    found = jax.jit(payoff)(oracle)
    assert len(seen) == 1
    assert (seen[0] is None) == (settings in ({}, {"temperature": 1}))
    if "temperature" not in settings or settings["temperature"] == 1:
        # a temperature that is an array goes through the filters: the draws are the same to the bit
        long_way = sampled_oracle(
            MODEL, JUDGE, PROMPTS, num_responses=NUM, length=LENGTH, temperature=jnp.asarray(1.0)
        )
        expected = jax.jit(payoff)(long_way)
        assert seen[1] is not None
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_array_equal(found.log_prob, expected.log_prob)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (jnp.array([[0], [3]]), "a prompt holds token id 3, but the model has ids 0 to 2"),
        (jnp.array([[0], [-1]]), "a prompt is empty or not left-padded"),
        (jnp.array([0, 2]), r"prompt has the shape \(2,\)"),
        (jnp.array([[0, 1], [2, 2]]), "the model's context is 4"),
    ],
)
def test_bad_prompts_are_refused_when_the_oracle_is_made(tokens, message):
    with pytest.raises(InputError, match=message):
        sampled_oracle(MODEL, JUDGE, Prompts(tokens, jnp.arange(2)), length=LENGTH)


def test_traced_prompts_and_temperatures_pass():
    @jax.jit
    def inside(tokens, temperature):
        oracle = sampled_oracle(
            MODEL, JUDGE, Prompts(tokens, PROMPTS.number), length=LENGTH, temperature=temperature
        )
        return oracle.payoff(KEY, POLICY).preference

    assert np.isfinite(inside(PROMPTS.tokens, 0.7)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_responses": 1, "length": 3}, "num_responses is 1"),
        ({"length": 0}, "length is 0"),
        ({"length": 3, "temperature": -1.0}, "temperature is -1"),
        ({"length": 3, "temperature": jnp.asarray(jnp.nan)}, "temperature is nan"),
        ({"length": 3, "top_k": 0}, "top_k is 0"),
        ({"length": 3, "top_p": 0.0}, "top_p is 0"),
        ({"length": 3, "top_p": 1.5}, "top_p is 1.5"),
        ({"length": 2}, "the judge's strings 3; sample with length=3"),
        ({"length": 3, "end": 0}, "may end before at token 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        sampled_oracle(MODEL, JUDGE, PROMPTS, **settings)


def test_a_judge_that_cannot_answer_about_all_the_model_may_write_is_refused():
    judge = table_judge(np.full((8, 8), 0.5), 2)
    with pytest.raises(InputError, match="draws from 3 tokens, but the judge's table has strings of 2"):
        sampled_oracle(MODEL, judge, PROMPTS, length=LENGTH)
