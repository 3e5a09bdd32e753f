"""The rational solver against brute force over vertices, published exact equilibria and hand-solved games."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from tabular import make_game, rational, solve

HALF = Fraction(1, 2)


def solve_linear(rows: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Solution of a square system by textbook elimination, ``None`` if it is singular."""
    table = [[*row, value] for row, value in zip(rows, right, strict=True)]
    for c in range(len(table)):
        found = next((r for r in range(c, len(table)) if table[r][c] != 0), None)
        if found is None:
            return None
        table[c], table[found] = table[found], table[c]
        table[c] = [value / table[c][c] for value in table[c]]
        for r in range(len(table)):
            if r != c:
                table[r] = [a - table[r][c] * b for a, b in zip(table[r], table[c], strict=True)]
    return [row[-1] for row in table]


def all_vertices(centred: list[list[Fraction]]) -> set[tuple[Fraction, ...]]:
    """Every vertex of {p >= 0, Σp = 1, M p <= 0}, from every choice of A - 1 tight inequalities."""
    size = len(centred)
    unit = [[Fraction(i == j) for j in range(size)] for i in range(size)]
    found = set()
    for tight in itertools.combinations(unit + centred, size - 1):
        point = solve_linear([*tight, [Fraction(1)] * size], [Fraction(0)] * (size - 1) + [Fraction(1)])
        if point is not None and min(point) >= 0 and max(payoff(centred, point)) <= 0:
            found.add(tuple(point))
    return found


def payoff(centred: list[list[Fraction]], policy: list[Fraction]) -> list[Fraction]:
    return [sum(a * b for a, b in zip(row, policy, strict=True)) for row in centred]


def skew(size: int, upper: list[Fraction]) -> list[list[Fraction]]:
    values = dict(zip(itertools.combinations(range(size), 2), upper, strict=True))
    return [[values.get((i, j), -values.get((j, i), Fraction(0))) for j in range(size)] for i in range(size)]


def preference_of(centred: list[list[Fraction]]) -> np.ndarray:
    return np.array([[value + HALF for value in row] for row in centred], object)


@st.composite
def rational_games(draw, max_size=4):
    """Games with entries in few levels, so that ties, duplicates and degenerate vertices are common."""
    size = draw(st.integers(1, max_size))
    levels = draw(st.sampled_from([1, 2, 5]))
    number = size * (size - 1) // 2
    values = draw(st.lists(st.integers(-levels, levels), min_size=number, max_size=number))
    return skew(size, [Fraction(value, 2 * levels) for value in values])


def check_against_vertices(centred: list[list[Fraction]]) -> None:
    vertices = all_vertices(centred)
    solution = rational.solve_exact(preference_of(centred))
    assert min(solution.fractions) >= 0
    assert sum(solution.fractions) == 1
    assert max(payoff(centred, solution.fractions)) <= 0
    assert solution.unique == (len(vertices) == 1)
    if solution.unique:
        assert solution.fractions in vertices
    assert tuple(rational._exact_simplex(centred)) in vertices


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rational_games())
def test_agrees_with_enumeration_of_all_vertices(centred):
    check_against_vertices(centred)


def test_agrees_with_enumeration_on_five_actions():
    rng = np.random.default_rng(0)
    for levels in (1, 2, 50, 50):
        upper = [Fraction(int(value), 2 * levels) for value in rng.integers(-levels, levels + 1, 10)]
        check_against_vertices(skew(5, upper))


def test_equals_the_published_fractions_of_real_preference_data(shared):
    folder = shared / "data" / "games"
    records = json.loads((folder / "games.json").read_text())
    assert len(records) == 10
    for record in records:
        with np.load(folder / f"{record['name']}.npz") as table:
            items, preference, nash = table["items"], table["P"], table["nash"]
            pairs = zip(table["num"].ravel().tolist(), table["den"].ravel().tolist(), strict=True)
            exact = np.array([HALF + Fraction(*pair) for pair in pairs], object).reshape(preference.shape)
        want = {name: Fraction(mass) for name, mass in record["exact_nash"].items()}
        for matrix in (exact, preference):  # the floats are read back as the rationals they came from
            solution = rational.solve_exact(matrix)
            assert {str(items[i]): mass for i, mass in enumerate(solution.fractions) if mass} == want
            assert solution.unique == record["exact_nash_unique"]
            assert solution.support.sum() == record["exact_support"]
            np.testing.assert_allclose(solution.policy, nash, atol=1e-15)
            assert 0 <= solution.exploitability < 1e-16
        game = solve(make_game(preference, beta=0))  # as they are from the floats that a game holds
        assert game.fractions == (solution.fractions,)
        assert game.unique == (solution.unique,)


ROCK_PAPER_SCISSORS = [[0.5, 0.0, 1.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    ("preference", "want", "unique"),
    [
        pytest.param([[0.5]], [1], True, id="one action"),
        pytest.param([[0.5, 0.6], [0.4, 0.5]], [1, 0], True, id="two actions"),
        pytest.param(ROCK_PAPER_SCISSORS, [Fraction(1, 3)] * 3, True, id="rock, paper, scissors"),
        pytest.param(
            [[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]],
            [Fraction(4, 11), Fraction(3, 11), Fraction(4, 11)],
            True,
            id="decimals with exact answers",
        ),
        pytest.param(
            [[0.5, 0.7, 0.9, 0.6], [0.3, 0.5, 0, 1], [0.1, 1, 0.5, 0], [0.4, 0, 1, 0.5]],
            [1, 0, 0, 0],
            True,
            id="Condorcet winner over a cycle",
        ),
        pytest.param(np.full((4, 4), 0.5), None, False, id="all ties"),
        pytest.param(
            [[0.5, 0.5, 0, 1], [0.5, 0.5, 0, 1], [1, 1, 0.5, 0], [0, 0, 1, 0.5]], None, False, id="duplicate"
        ),
        pytest.param(
            # the last action ties with the mixture of the cycle, so it is tight without being needed
            [[0.5, 0, 1, 0.5], [1, 0.5, 0, 0.5], [0, 1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]],
            None,
            False,
            id="even size with a continuum",
        ),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], None, False, id="two actions tied"),
    ],
)
def test_games_solved_by_hand(preference, want, unique):
    solution = rational.solve_exact(preference)
    assert rational.verify_exact(solution.fractions, rational.rational_game(preference))
    assert solution.unique is unique
    if want is not None:
        assert list(solution.fractions) == want
    np.testing.assert_array_equal(solution.support, [mass > 0 for mass in solution.fractions])


@pytest.mark.parametrize("size", [6, 13, 30])
def test_random_floats_are_proved_and_their_support_is_odd(size):
    rng = np.random.default_rng(size)
    for _ in range(3):
        upper = np.triu(rng.random((size, size)), 1)
        preference = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(size)
        solution = rational.solve_exact(preference)
        entry = rational.rational_game(preference)
        assert rational.verify_exact(solution.fractions, entry)
        assert solution.unique
        assert solution.support.sum() % 2 == 1  # a skew matrix of even size is generically regular
        assert all(
            float(entry(i, j) + HALF) == preference[i, j] for i, j in itertools.combinations(range(size), 2)
        )
        if size <= 13:
            assert tuple(
                rational._exact_simplex([[entry(i, j) for j in range(size)] for i in range(size)])
            ) == (solution.fractions)


def test_a_perturbed_policy_fails_the_certificate():
    entry = rational.rational_game(ROCK_PAPER_SCISSORS)
    third, tiny = Fraction(1, 3), Fraction(1, 10**40)
    assert rational.verify_exact([third, third, third], entry)
    assert not rational.verify_exact([third + tiny, third - tiny, third], entry)
    assert not rational.verify_exact([third, third, third - tiny], entry)
    assert not rational.verify_exact([Fraction(2), Fraction(-1), Fraction(0)], entry)
    ties = rational.rational_game(np.full((2, 2), 0.5))
    assert not rational.verify_exact([Fraction(2), Fraction(-1)], ties)


@pytest.mark.parametrize("answer", [None, [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 1.0]])
def test_recovers_when_the_linear_program_fails_or_misjudges_the_support(monkeypatch, answer):
    preference = [[0.5, 0, 1, 0.6], [1, 0.5, 0, 0.7], [0, 1, 0.5, 0.8], [0.4, 0.3, 0.2, 0.5]]
    monkeypatch.setattr(rational, "_linear_program", lambda _: None if answer is None else np.array(answer))
    solution = rational.solve_exact(preference)
    assert list(solution.fractions) == [Fraction(1, 3)] * 3 + [0]
    assert solution.unique


def test_large_games_are_polished_and_say_that_they_are_not_proved(monkeypatch):
    rng = np.random.default_rng(1)
    upper = np.triu(rng.random((220, 220)), 1)
    preference = upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(220)
    solution = rational.solve_exact(preference)
    assert solution.fractions is None
    assert solution.unique is None
    assert solution.exploitability < 1e-14
    np.testing.assert_allclose(solution.policy.sum(), 1, rtol=1e-14)
    assert solution.policy.min() >= 0
    monkeypatch.setattr(rational, "_linear_program", lambda _: None)
    with pytest.raises(ArithmeticError, match="220 actions"):
        rational.solve_exact(preference)


def test_floats_are_read_as_the_rationals_they_stand_for():
    third = 1 / 3
    for value, want in [
        (0.1, Fraction(1, 10)),
        (0.123456789, Fraction(123456789, 10**9)),
        (third, Fraction(1, 3)),
        (22886 / 160202, Fraction(22886, 160202)),
        (0.5, HALF),
        (0.0, Fraction(0)),
        (1.0, Fraction(1)),
    ]:
        assert rational.as_fraction(value, float(1 - want)) == want
    # a complement that does not match, or digits without a pattern, leave the binary value
    assert rational.as_fraction(0.1, 0.9 + 1e-12) == Fraction(0.1)
    irrational = float(np.sqrt(2) - 1)
    assert rational.as_fraction(irrational, 1 - irrational) == Fraction(irrational)


def test_input_that_is_no_game_is_refused():
    with pytest.raises(InputError, match="must be 1"):
        rational.solve_exact([[0.5, 0.9], [0.9, 0.5]])
    with pytest.raises(InputError, match="solve one at a time"):
        rational.solve_exact(np.full((2, 3, 3), 0.5))
    with pytest.raises(InputError, match="shape"):
        rational.solve_exact(np.full((2, 3), 0.5))
    with pytest.raises(InputError, match="finite"):
        rational.solve_exact([[0.5, np.nan], [np.nan, 0.5]])
