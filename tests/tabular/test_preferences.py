import csv
import gzip
import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nlhf.errors import InputError
from tabular.preferences import (
    counts_to_preference,
    load_preferences,
    validate_preference,
)

GAMES = [
    "atari_rainbow",
    "bundesliga_2014_15",
    "epl_2022_23",
    "football_europe27",
    "laliga_2023_24",
    "llm_crowd15",
    "minneapolis2013",
    "pokemon_types_gen1",
    "rrps43",
    "soccer10",
]


@given(
    st.integers(2, 6).flatmap(lambda a: hnp.arrays(np.int64, (a, a), elements=st.integers(0, 10**6))),
    st.sampled_from([0.0, 0.5, 1.0, 2.25]),
)
def test_counts_agree_with_exact_fractions(wins, prior):
    np.fill_diagonal(wins, 0)
    preference = counts_to_preference(wins, prior)
    for i in range(len(wins)):
        for j in range(len(wins)):
            total = int(wins[i, j]) + int(wins[j, i]) + 2 * Fraction(prior)
            exact = Fraction(1, 2) if i == j or total == 0 else (int(wins[i, j]) + Fraction(prior)) / total
            assert preference[i, j] == pytest.approx(float(exact), rel=4e-16, abs=0)
    validate_preference(preference)


def test_prior_is_an_observation_of_each_outcome():
    wins = np.array([[0.0, 3.0], [0.0, 0.0]])
    for prior, expected in ((0, 1.0), (0.5, 3.5 / 4), (1, 4 / 5)):
        assert counts_to_preference(wins, prior)[0, 1] == expected
    assert counts_to_preference(np.zeros((2, 2)), 0)[0, 1] == 0.5
    assert counts_to_preference(np.zeros((2, 2)), 7)[0, 1] == 0.5
    assert counts_to_preference(wins, np.float32(0.5))[0, 1] == 3.5 / 4


@pytest.mark.parametrize(
    ("wins", "prior", "message"),
    [
        ([[0, -1], [0, 0]], 0.5, r"count \[0, 1\] is -1.0"),
        ([[0, 0], [math.nan, 0]], 0.5, r"count \[1, 0\] is nan"),
        ([[0, math.inf], [0, 0]], 0.5, r"count \[0, 1\] is inf"),
        ([[0, 1e300], [0, 0]], 0.5, r"2\*\*53"),
        ([[0, 1], [0, 2]], 0.5, r"count \[1, 1\] is 2.0, but nothing wins against itself"),
        ([[0, 1, 2], [0, 0, 1]], 0.5, r"shape \(2, 3\)"),
        ([[0, 1], [0]], 0.5, "rows differ in length"),
        ([[0]], 0.5, "has 1 actions"),
        ([["0", "1"], ["0", "0"]], 0.5, "type <U1"),
        ([[0, 1], [0, 0]], -0.5, "prior is -0.5"),
        ([[0, 1], [0, 0]], math.nan, "prior is nan"),
        ([[0, 1], [0, 0]], math.inf, "prior is inf"),
        ([[0, 1], [0, 0]], "1", "prior is '1'"),
        ([[0, 1], [0, 0]], True, "prior is True"),
    ],
)
def test_bad_counts_are_refused(wins, prior, message):
    with pytest.raises(InputError, match=message):
        counts_to_preference(wins, prior)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.9], [0.9, 0.5]], r"\[0, 1\] \('a' over 'b'\) = 0.9 and \[1, 0\] = 0.9 sum to 1.8"),
        ([[0.5, 0.9], [0.2, 0.5]], r"sum to 1.1"),
        ([[0.6, 0.9], [0.1, 0.5]], r"diagonal entry \[0, 0\] \('a' over 'a'\) is 0.6"),
        ([[0.5, math.nan], [0.1, 0.5]], r"\[0, 1\] \('a' over 'b'\) is nan"),
        ([[0.5, 0.5], [-math.inf, 0.5]], r"\[1, 0\] \('b' over 'a'\) is -inf"),
        ([[0.5, 1.25], [-0.25, 0.5]], r"\[0, 1\] .* is 1.25, but a probability lies in \[0, 1\]"),
        ([[0.5, -1e-12], [1.0, 0.5]], r"\[0, 1\] .* is -1e-12"),
        ([[0.5, 0.5]], r"shape \(1, 2\)"),
        ([0.5, 0.5], r"shape \(2,\)"),
        ([[[0.5]]], r"shape \(1, 1, 1\)"),
        ([[0.5]], "has 1 actions"),
        (np.zeros((0, 0)), "has 0 actions"),
        ([[0.5, 0.5j], [0.5, 0.5]], "type complex128"),
        ([[0.5, None], [0.5, 0.5]], "type object"),
        ([[0.5, 0.5], [0.5]], "rows differ"),
    ],
)
def test_bad_matrices_are_refused_by_the_worst_entry(matrix, message):
    with pytest.raises(InputError, match=message) as caught:
        validate_preference(matrix, ["a", "b"])
    assert "\n" not in str(caught.value)


def test_names_must_be_as_many_as_actions():
    with pytest.raises(InputError, match="3 names for a matrix of 2 actions"):
        validate_preference(np.full((2, 2), 0.5), ["a", "b", "c"])


def test_values_within_the_tolerance_are_kept_and_copied():
    matrix = np.array([[0.5, 0.3], [0.7 + 5e-10, 0.5]])
    checked = validate_preference(matrix)
    np.testing.assert_array_equal(checked, matrix)
    checked[0, 1] = 0.0
    assert matrix[0, 1] == 0.3


def test_float32_is_symmetrised_with_a_warning():
    upper = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    matrix = np.triu(upper, 1) + np.tril((np.float32(1) - upper.T) * (1 + np.float32(2e-7)), -1)
    np.fill_diagonal(matrix, 0.5)
    with pytest.warns(UserWarning, match="symmetrised"):
        checked = validate_preference(matrix)
    np.testing.assert_allclose(checked + checked.T, 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(checked, matrix, rtol=0, atol=1e-6)
    validate_preference(checked)


@given(st.integers(2, 7), st.integers(0, 2**32 - 1), st.floats(1.1e-6, 1.0))
def test_the_worst_entry_is_the_one_named(actions, seed, deviation):
    generator = np.random.default_rng(seed)
    matrix = generator.random((actions, actions)) / 4 + 0.25
    matrix = (matrix + 1 - matrix.T) / 2
    row, column = generator.choice(actions, 2, replace=False).tolist()
    matrix[row, column] += min(deviation, 1 - matrix[row, column])
    first, second = sorted((row, column))
    with pytest.raises(InputError, match=re.escape(f"entries [{first}, {second}]")):
        validate_preference(matrix)


@pytest.mark.parametrize("game", GAMES)
def test_shared_games_load_as_their_exact_fractions(shared, game):
    path = shared / f"data/games/{game}.npz"
    table, arrays = load_preferences(path), np.load(path)
    assert table.names == tuple(arrays["items"].tolist())
    assert table.preference.dtype == np.float64
    np.testing.assert_array_equal(table.preference, arrays["P"])
    exact = [
        [float(Fraction(1, 2) + Fraction(int(n), int(d))) for n, d in zip(*row, strict=True)]
        for row in zip(arrays["num"], arrays["den"], strict=True)
    ]
    np.testing.assert_allclose(table.preference, exact, rtol=0, atol=2e-16)
    assert table.completeness == 1.0
    if "wins" in arrays:
        ties = arrays["games"] - arrays["wins"] - arrays["wins"].T
        np.testing.assert_array_equal(table.counts, arrays["wins"] + ties / 2)
        np.testing.assert_array_equal(table.counts + table.counts.T, arrays["games"])
        np.testing.assert_allclose(counts_to_preference(table.counts, 0), exact, rtol=0, atol=2e-16)
    else:
        assert table.counts is None


def test_crowd_votes_reproduce_the_crowd_game(shared, tmp_path):
    """Votes with a column for the verdict, rewritten as labels, add up to the shared counts."""
    with gzip.open(shared / "data/llmfao/crowd_comparisons.csv.gz", "rt", encoding="utf-8") as file:
        votes = list(csv.DictReader(file))
    label = {"left": "1", "right": "0", "tie": "0.5"}
    path = tmp_path / "votes.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("prompt,first,second,prefer_first\n")
        for vote in votes:
            file.write(f'{vote["prompt"]},"{vote["left"]}","{vote["right"]}",{label[vote["winner"]]}\n')
    table = load_preferences(path)
    assert len(table.names) == 59
    assert table.completeness == pytest.approx(0.54, abs=0.005)
    assert table.counts is not None
    assert table.counts.sum() == len(votes) == 8931
    crowd = load_preferences(shared / "data/games/llm_crowd15.npz")
    position = [table.names.index(name) for name in crowd.names]
    np.testing.assert_array_equal(table.counts[np.ix_(position, position)], crowd.counts)
    # The file as it is shipped has other columns, and says so.
    with pytest.raises(InputError, match=r":1: has the columns \['winner'\], but comparisons"):
        load_preferences(shared / "data/llmfao/crowd_comparisons.csv.gz")


def test_ratings_of_one_prompt_as_comparisons(shared, tmp_path):
    ratings = np.load(shared / "data/hanna/ratings.npz")
    human, systems = ratings["human"][7].astype(int), ratings["systems"].tolist()
    votes = human.reshape(len(systems), -1)
    path = tmp_path / "votes.jsonl"
    with path.open("w") as file:
        for i, first in enumerate(systems):
            for j, second in list(enumerate(systems))[:i]:
                for a, b in zip(votes[i], votes[j], strict=True):
                    row = {"first": first, "second": second, "prefer_first": (1 + float(np.sign(a - b))) / 2}
                    file.write(json.dumps(row) + "\n")
    table = load_preferences(path, prior=0, names=systems)
    wins = (votes[:, None] > votes[None]).sum(-1) + (votes[:, None] == votes[None]).sum(-1) / 2
    np.fill_diagonal(wins, 9)
    np.testing.assert_array_equal(table.preference, wins / 18)


def test_names_order_the_table(tmp_path):
    path = tmp_path / "game.csv"
    path.write_text(",a,b\na,0.5,0.9\nb,0.1,0.5\n")
    assert load_preferences(path, names=["b", "a"]).preference[0, 1] == 0.1
    with pytest.raises(InputError, match="'b' is in the file, but not among the names"):
        load_preferences(path, names=["a", "c"])
    with pytest.raises(InputError, match="'c' is among the names given, but not in the file"):
        load_preferences(path, names=["a", "b", "c"])
    with pytest.raises(InputError, match="one string"):
        load_preferences(path, names="ab")
    bare = tmp_path / "bare.csv"
    bare.write_text("0.5,0.9\n0.1,0.5\n")
    assert load_preferences(bare).names == ("0", "1")
    assert load_preferences(bare, names=["x", "y"]).names == ("x", "y")
    with pytest.raises(InputError, match="3 names for a matrix of 2"):
        load_preferences(bare, names=["x", "y", "z"])
    votes = tmp_path / "votes.csv"
    votes.write_text("winner,loser\nb,a\n")
    table = load_preferences(votes, prior=0, names=["a", "b", "c"])
    assert table.names == ("a", "b", "c")
    assert table.completeness == pytest.approx(1 / 3)
    np.testing.assert_array_equal(table.preference, [[0.5, 0, 0.5], [1, 0.5, 0.5], [0.5, 0.5, 0.5]])


def test_warnings_and_errors_of_a_file_name_it(tmp_path):
    path = tmp_path / "game.csv"
    path.write_text("a,b\n0.5,0.9\n0.1000001,0.5\n")
    with pytest.warns(UserWarning, match=r"game\.csv: P \+ P\^T differs from 1 by up to 1\.0e-07"):
        load_preferences(path)
    path.write_text("a,b\n0.5,0.9\n0.2,0.5\n")
    with pytest.raises(InputError, match=r"game\.csv: entries \[0, 1\] \('a' over 'b'\) = 0.9"):
        load_preferences(path)
