"""Win rates between policies: a transcription in numpy, a planted circle with a known Nash, intervals."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from experiments.language_models import win_rates
from nlhf.errors import InputError
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.responses import Responses

GAME = np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]])  # its Nash is (4, 3, 4) / 11


def answers(tokens):
    """Responses ``[B, K]`` of one token each, to prompts 0, 1, 2, ..."""
    tokens = np.asarray(tokens, np.int32)
    prompts = np.broadcast_to(np.arange(len(tokens), dtype=np.int32)[:, None, None], (*tokens.shape, 1))
    return Responses(
        jnp.asarray(prompts), jnp.asarray(tokens[..., None]), jnp.zeros(tokens.shape, jnp.float32)
    )


def table_judge(table, calls):
    """Judge of one token by a table; each description is counted."""

    def describe(responses):
        calls.append(responses.tokens.shape[0])
        return np.asarray(responses.tokens[:, 0])

    return Judge(describe, lambda first, second: np.asarray(table, np.float32)[first, second])


def test_win_rates_are_those_of_loops_over_all_pairs():
    random = np.random.default_rng(0)
    table = random.random((7, 7))
    table = (table + 1 - table.T) / 2
    tokens = random.integers(0, 7, (4, 5, 3))  # policies, prompts, responses
    calls = []
    found = win_rates.prompt_win_rates(table_judge(table, calls), [answers(each) for each in tokens])
    assert calls == [15] * 4  # each response described once
    expected = np.full((5, 4, 4), 0.5)
    for b in range(5):
        for i in range(4):
            for j in range(4):
                if i != j:
                    pairs = [table[y, z] for y in tokens[i, b] for z in tokens[j, b]]
                    expected[b, i, j] = sum(pairs) / 9
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found + found.transpose(0, 2, 1), 1.0)
    assert (found[:, range(4), range(4)] == 0.5).all()


def test_a_planted_circle_of_policies_has_its_nash():
    """Each policy always plays one action of a game in which none is the best."""
    policies = [answers(np.full((6, 2), action)) for action in range(3)]
    rates = win_rates.prompt_win_rates(table_judge(GAME, []), policies)
    found = win_rates.summarise(("rock", "paper", "scissors"), rates, num_resamples=50, seed=0)
    np.testing.assert_allclose(found.matrix, GAME, atol=1e-6)
    np.testing.assert_allclose(found.nash, np.array([4, 3, 4]) / 11, atol=1e-6)
    assert found.unique
    np.testing.assert_allclose(found.low, found.matrix, atol=1e-12)  # every prompt says the same
    np.testing.assert_allclose(found.high, found.matrix, atol=1e-12)
    lines = win_rates.report(found).splitlines()
    assert lines[2].split()[0] == "rock"
    assert "80.0 (80 to 80)" in lines[2]
    assert lines[2].endswith("0.364")


def test_one_policy_better_than_all_is_the_nash():
    rates = np.tile(np.array([[0.5, 0.7, 0.6], [0.3, 0.5, 0.4], [0.4, 0.6, 0.5]]), (4, 1, 1))
    assert win_rates.summarise(("a", "b", "c"), rates, num_resamples=9, seed=0).nash == [1.0, 0.0, 0.0]


def test_intervals_are_those_of_scipy():
    values = np.random.default_rng(1).beta(2, 3, (40, 3, 2))
    low, high = win_rates.bootstrap(values, 4000, seed=0)
    expected = scipy_bootstrap(
        (values,), np.mean, axis=0, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    width = (high - low).min()
    np.testing.assert_allclose(low, expected.low, atol=0.08 * width)
    np.testing.assert_allclose(high, expected.high, atol=0.08 * width)
    again = win_rates.bootstrap(values, 4000, seed=0)
    np.testing.assert_array_equal(again[0], low)


def test_intervals_in_pieces_are_those_at_once(monkeypatch):
    values = np.random.default_rng(1).random((9, 4, 4))
    whole = win_rates.bootstrap(values, 20, seed=3)
    monkeypatch.setattr(win_rates, "CHUNK", 60)
    np.testing.assert_allclose(win_rates.bootstrap(values, 20, seed=3), whole, atol=1e-12)


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say():
    random, inside = np.random.default_rng(0), []
    for seed in range(400):
        low, high = win_rates.bootstrap(random.beta(2, 2, (64, 1)), 500, seed)
        inside.append(low[0] <= 0.5 <= high[0])
    assert 0.90 < np.mean(inside) < 0.98


def test_intervals_are_of_prompts_not_of_responses():
    """Responses to one prompt hang together: 4 prompts with 50 equal responses are 4 observations."""
    table = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 0.0], [1.0, 1.0, 0.5]])
    first = np.repeat(np.array([[0], [0], [0], [0]]), 50, axis=1)
    second = np.repeat(np.array([[1], [2], [1], [2]]), 50, axis=1)
    rates = win_rates.prompt_win_rates(table_judge(table, []), [answers(first), answers(second)])
    found = win_rates.summarise(("a", "b"), rates, num_resamples=2000, seed=0)
    assert found.matrix[0][1] == 0.5
    assert found.high[0][1] - found.low[0][1] > 0.7


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        ([], "one at least"),
        ([answers([[0, 1]]), answers([[0]])], r"\[1, 2\], \[1, 1\]"),
        (
            [answers([[0]]), answers([[1]])._replace(prompt=jnp.full((1, 1, 1), 7))],
            "policy 1 answers other prompts",
        ),
    ],
)
def test_responses_that_cannot_be_compared_are_refused(policies, says):
    with pytest.raises(InputError, match=says):
        win_rates.prompt_win_rates(table_judge(GAME, []), policies)


def test_an_answer_that_is_no_probability_is_refused():
    wrong = table_judge(GAME * 2, [])
    with pytest.raises(InputError, match="a preference is a probability"):
        win_rates.prompt_win_rates(wrong, [answers([[2]]), answers([[1]])])


def test_the_heat_map_shows_every_rate_and_the_nash():
    rates = np.tile(GAME, (2, 1, 1))
    found = win_rates.summarise(("rock", "paper", "scissors"), rates, num_resamples=9, seed=0)
    axes = win_rates.plot(found).axes[0]
    shown = [each.get_text() for each in axes.texts]
    assert [each for each in shown if each.isdigit()] == ["10", "80", "90", "10", "20", "90"]
    assert shown[-4:] == ["0.36", "0.27", "0.36", "Nash"]
    assert [each.get_text() for each in axes.get_yticklabels()] == ["rock", "paper", "scissors"]
