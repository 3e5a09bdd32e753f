import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nlhf.errors import InputError
from tabular.game_statistics import (
    STRICT_MARGIN,
    Statistics,
    condorcet_winner,
    intransitive_triples,
    statistics,
    strict_majority,
    strict_triples,
)
from tabular.preferences import load_preferences

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


def complementary(upper: np.ndarray) -> np.ndarray:
    preference = np.triu(upper, 1)
    preference = preference + np.tril(1 - preference.T, -1)
    np.fill_diagonal(preference, 0.5)
    return preference


def triples_by_hand(preference: list[list[Fraction]]) -> tuple[int, int]:
    """Strict and cyclic triples by looking at each in exact arithmetic."""
    half, strict, cyclic = Fraction(1, 2), 0, 0
    for i, j, k in itertools.combinations(range(len(preference)), 3):
        if half in (preference[i][j], preference[j][k], preference[k][i]):
            continue
        strict += 1
        signs = {preference[i][j] > half, preference[j][k] > half, preference[k][i] > half}
        cyclic += len(signs) == 1
    return strict, cyclic


@given(st.integers(2, 9).flatmap(lambda a: hnp.arrays(np.int64, (a, a), elements=st.integers(0, 6))))
def test_agrees_with_exact_triple_loop(sixths):
    exact = [
        [
            Fraction(1, 2)
            if i == j
            else Fraction(int(sixths[i, j]), 6)
            if i < j
            else 1 - Fraction(int(sixths[j, i]), 6)
            for j in range(len(sixths))
        ]
        for i in range(len(sixths))
    ]
    preference = np.array(exact, dtype=float)
    result = statistics(preference)
    assert (result.strict_triples, result.intransitive_triples) == triples_by_hand(exact)
    assert result.tied_pairs == sum(
        exact[i][j] == Fraction(1, 2) for i, j in itertools.combinations(range(len(exact)), 2)
    )
    winners = [
        i for i, row in enumerate(exact) if all(p > Fraction(1, 2) for j, p in enumerate(row) if j != i)
    ]
    assert result.condorcet_winner == (winners[0] if winners else None)
    assert len(winners) <= 1


@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_relabelling_changes_only_the_label_of_the_winner(actions, seed):
    generator = np.random.default_rng(seed)
    preference = complementary(generator.integers(0, 5, (actions, actions)) / 4)
    order = generator.permutation(actions)
    plain, relabelled = statistics(preference), statistics(preference[np.ix_(order, order)])
    assert plain._replace(condorcet_winner=None) == relabelled._replace(condorcet_winner=None)
    if plain.condorcet_winner is None:
        assert relabelled.condorcet_winner is None
    else:
        assert order[relabelled.condorcet_winner] == plain.condorcet_winner


@pytest.mark.parametrize("game", GAMES)
def test_shared_games(shared, game):
    facts = {fact["name"]: fact for fact in json.loads((shared / "data/games/games.json").read_text())}[game]
    table = load_preferences(shared / f"data/games/{game}.npz")
    assert intransitive_triples(table.preference) == facts["cyclic_triples"]
    assert strict_triples(table.preference) == facts["strict_triples"]
    assert len(table.names) == facts["n"]
    # A strict Condorcet winner is an equilibrium on its own; a pure equilibrium may have ties.
    winner = condorcet_winner(table.preference)
    if winner is not None:
        assert facts["pure_nash_items"] == [table.names[winner]]


@pytest.mark.parametrize(
    ("file", "cycles"), [("nash_md_table3_palm2.csv", 2), ("nash_md_table2_regularised.csv", 0)]
)
def test_published_tables(shared, file, cycles):
    table = load_preferences(shared / "data/published" / file)
    winner = condorcet_winner(table.preference)
    assert winner is not None
    assert table.names[winner] == "MD1"
    assert intransitive_triples(table.preference) == cycles
    found = [
        {table.names[i] for i in triple}
        for triple in itertools.combinations(range(14), 3)
        if intransitive_triples(table.preference[np.ix_(triple, triple)])
    ]
    assert found == [{"RLHF", "SP", "MD4"}, {"RLHF", "SP", "EMA2*"}][:cycles]


def test_known_small_games():
    rock_paper_scissors = np.array([[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]])
    assert statistics(rock_paper_scissors) == Statistics(3, 0, 1, 1, 1.0, None)
    assert statistics(np.full((4, 4), 0.5)) == Statistics(4, 6, 0, 0, 0.0, None)
    assert statistics(complementary(np.full((5, 5), 0.9))) == Statistics(5, 0, 10, 0, 0.0, 0)


def test_margin_of_strictness():
    """A tie computed in floating point is a tie; a margin above the tolerance is not."""
    for margin, strict in ((STRICT_MARGIN / 2, 0), (STRICT_MARGIN * 2, 1)):
        above, below = 0.5 + margin, 0.5 - margin
        preference = np.array([[0.5, above, below], [below, 0.5, above], [above, below, 0.5]])
        assert intransitive_triples(preference) == strict_triples(preference) == strict
    # Both sides above 1/2, within the tolerance for complementarity: not strict for either.
    both = np.array([[0.5, 0.5 + 4e-10], [0.5 + 4e-10, 0.5]])
    assert not strict_majority(both).any()


def test_every_regular_tournament_has_the_known_number_of_cycles():
    """The largest possible number of cycles is (A^3 - A) / 24, reached where each action beats half."""
    for actions in (3, 5, 7, 101, 1001):
        index = np.arange(actions)
        beats = (index[None, :] - index[:, None]) % actions
        preference = np.where(beats == 0, 0.5, np.where(beats <= actions // 2, 0.75, 0.25))
        assert intransitive_triples(preference) == (actions**3 - actions) // 24
        assert strict_triples(preference) == actions * (actions - 1) * (actions - 2) // 6


def test_invalid_matrices_are_refused():
    for function in (statistics, intransitive_triples, strict_triples, condorcet_winner):
        with pytest.raises(InputError, match=r"sum to 1\.8"):
            function(np.array([[0.5, 0.9], [0.9, 0.5]]))
        with pytest.raises(InputError, match="nan"):
            function(np.array([[0.5, np.nan], [0.5, 0.5]]))
