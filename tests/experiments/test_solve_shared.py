"""``nlhf solve`` on every game of the development data, against what is stored there and other solvers."""

import json

import mpmath
import numpy as np
import pytest
from scipy.optimize import linprog

from tabular.game_statistics import statistics

GAMES = (
    "rrps43", "soccer10", "atari_rainbow", "football_europe27", "epl_2022_23", "bundesliga_2014_15",
    "laliga_2023_24", "pokemon_types_gen1", "llm_crowd15", "minneapolis2013",
)  # fmt: skip
PUBLISHED = ("nash_md_table2_regularised", "nash_md_table3_palm2")
TOLERANCE = 1e-10
LARGEST_FOR_MPMATH = 20


def solve(nlhf, *words):
    done = nlhf("solve", *words, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def linear_program(preference):
    """The equilibrium and the value of a game, from SciPy."""
    size = len(preference)
    rows = np.column_stack([-preference.T, np.ones(size)])  # v <= (x P)_j for every reply j
    result = linprog(
        np.append(np.zeros(size), -1.0), rows, np.zeros(size), np.append(np.ones(size), 0.0)[None], [1.0],
        [(0, None)] * size + [(None, None)], options={"primal_feasibility_tolerance": 1e-10},
    )  # fmt: skip
    assert result.status == 0
    return result.x[:size], -result.fun


def fifty_digits(preference, beta, start):
    """The regularised equilibrium for a uniform reference, by Newton's method in 50 digits."""
    with mpmath.workdps(50):
        size = len(preference)
        # as the game is: the upper triangle, and one minus it below
        matrix = mpmath.matrix(size, size)
        for i in range(size):
            for j in range(i):
                value = mpmath.mpf(float(preference[j, i])) - mpmath.mpf(1) / 2
                matrix[j, i], matrix[i, j] = value, -value
        log_policy = mpmath.matrix([mpmath.mpf(value) for value in start])
        for _ in range(6):
            policy = log_policy.apply(mpmath.exp)
            policy = policy / mpmath.fsum(policy)
            gap = log_policy - matrix * policy / beta
            mean = mpmath.fsum(gap) / size
            gap = gap - mean * mpmath.ones(size, 1)
            pull = matrix * policy
            jacobian = mpmath.matrix(size, size)
            for i in range(size):
                for j in range(size):
                    jacobian[i, j] = (i == j) - (matrix[i, j] - pull[i]) * policy[j] / beta
            log_policy = log_policy - mpmath.lu_solve(jacobian, gap)
        assert mpmath.norm(gap) < mpmath.mpf(10) ** -40
        policy = log_policy.apply(mpmath.exp)
        return np.array([float(value) for value in policy / mpmath.fsum(policy)])


@pytest.fixture(scope="module")
def facts(shared):
    return {game["name"]: game for game in json.loads((shared / "data/games/games.json").read_text())}


@pytest.mark.parametrize("name", GAMES)
def test_unregularised(nlhf, shared, facts, name):
    path = shared / "data/games" / f"{name}.npz"
    stored = np.load(path)
    found = solve(nlhf, path, "--beta", "0")
    assert found["names"] == stored["items"].tolist()
    assert found["intransitive_triples"] == facts[name]["cyclic_triples"]
    assert statistics(stored["P"]).strict_triples == facts[name]["strict_triples"]
    assert len(found["support"]) == facts[name]["exact_support"]
    assert found["exploitability"] == pytest.approx(0, abs=1e-15)
    policy, value = linear_program(stored["P"])
    assert value == pytest.approx(0.5, abs=TOLERANCE)
    np.testing.assert_allclose(found["policy"], stored["nash"], atol=TOLERANCE)
    np.testing.assert_allclose(found["policy"], policy, atol=TOLERANCE)


@pytest.mark.parametrize("name", GAMES)
def test_regularised(nlhf, shared, name):
    path = shared / "data/games" / f"{name}.npz"
    stored = np.load(path)
    for beta in ("1.0", "0.1", "0.01"):
        found = solve(nlhf, path, "--beta", beta)
        np.testing.assert_allclose(found["policy"], stored[f"qre_uniform_tau{beta}"], atol=TOLERANCE)
        assert found["residual"] < 1e-13
        assert found["duality_gap"] < 1e-20
        if len(found["names"]) <= LARGEST_FOR_MPMATH and beta == "0.1":
            precise = fifty_digits(stored["P"], float(beta), found["log_policy"])
            np.testing.assert_allclose(found["policy"], precise, atol=TOLERANCE)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(nlhf, shared, name):
    path = shared / "data/published" / f"{name}.csv"
    preference = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 15))
    exact = solve(nlhf, path, "--beta", "0")
    assert exact["condorcet_winner"] == "MD1"
    assert exact["support"] == ["MD1"]
    assert exact["intransitive_triples"] == (2 if name.endswith("palm2") else 0)
    policy, value = linear_program(preference)
    assert value == pytest.approx(0.5, abs=TOLERANCE)
    np.testing.assert_allclose(exact["policy"], policy, atol=TOLERANCE)
    for beta in ("1.0", "0.1", "0.01"):
        found = solve(nlhf, path, "--beta", beta)
        precise = fifty_digits(preference, float(beta), found["log_policy"])
        np.testing.assert_allclose(found["policy"], precise, atol=TOLERANCE)
