from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from tabular import families
from tabular.games import make_game
from tabular.payoff import dense

KEY = jax.random.key(0)
RANDOM = {
    "uniform_skew": lambda key: families.uniform_skew(key, 5, 2),
    "tournament": lambda key: families.tournament(key, 5, 2),
    "low_rank_logits": lambda key: families.low_rank_logits(key, 5),
    "bradley_terry": lambda key: families.bradley_terry(jax.random.normal(key, (2, 5))),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_families_are_valid_games_and_follow_their_key(name):
    matrix = RANDOM[name](KEY)
    assert matrix.shape[1:] == (5, 5)
    make_game(matrix)
    np.testing.assert_array_equal(matrix, RANDOM[name](KEY))
    assert (np.asarray(matrix) != np.asarray(RANDOM[name](jax.random.key(1)))).any()


def test_entries_of_the_random_families():
    uniform = np.asarray(families.uniform_skew(KEY, 60))[0][np.triu_indices(60, 1)]
    # mean 1/2 and variance 1/12 within four standard errors
    assert abs(uniform.mean() - 0.5) < 4 * np.sqrt(1 / 12 / uniform.size)
    assert abs(uniform.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / uniform.size)
    decided = np.asarray(families.tournament(KEY, 60))[0]
    assert set(np.unique(decided)) == {0.0, 0.5, 1.0}
    assert (np.diag(decided) == 0.5).all()
    wins = decided[np.triu_indices(60, 1)]
    assert abs(wins.mean() - 0.5) < 4 * 0.5 / np.sqrt(wins.size)


def test_bradley_terry_adds_logits():
    scores = np.array([0.3, -1.0, 2.0])
    matrix = np.asarray(families.bradley_terry(jnp.asarray(scores)))
    odds = np.log(matrix / (1 - matrix))
    np.testing.assert_allclose(odds, scores[:, None] - scores[None, :], atol=1e-13)


def test_low_rank_logits_have_rank_two():
    matrix = np.asarray(families.low_rank_logits(KEY, 7))[0]
    values = np.linalg.svd(np.log(matrix / (1 - matrix)), compute_uv=False)
    assert values[1] > 0.1
    assert values[2] < 1e-9 * values[0]


def test_disc_is_a_factored_game_of_rank_two():
    game = families.disc(KEY, 50, beta=0.3)
    matrix = np.asarray(dense(game.advantage))[0]
    assert np.abs(matrix).max() <= 0.5
    values = np.linalg.svd(matrix, compute_uv=False)
    assert values[1] > 0.1
    assert values[2] < 1e-14
    assert float(game.beta) == 0.3
    np.testing.assert_allclose(np.exp(game.log_ref).sum(-1), 1, rtol=1e-14)
    # a million actions are never a matrix
    large = families.disc(KEY, 1_000_000)
    assert max(leaf.size for leaf in jax.tree.leaves(large)) == 1_000_000


@pytest.mark.parametrize("num_actions", [2, 3, 4, 5, 6, 9])
def test_rock_paper_scissors(num_actions):
    matrix = families.rock_paper_scissors(num_actions)
    make_game(matrix)
    np.testing.assert_array_equal(matrix.mean(1), 0.5)
    beaten = (num_actions - 1) // 2
    for a in range(num_actions):
        assert sum(matrix[a] == 1) == beaten
        for before in range(1, beaten + 1):
            assert matrix[a, (a - before) % num_actions] == 1


def test_large_circles_have_spectral_radius_one_over_pi():
    matrix = families.rock_paper_scissors(201) - 0.5
    radius = np.abs(np.linalg.eigvals(matrix / 201)).max()
    np.testing.assert_allclose(radius, 1 / np.pi, rtol=1e-4)


def rational(matrix):
    return [[Fraction(str(entry)) for entry in row] for row in np.round(matrix, 12).tolist()]


def test_biased_rock_paper_scissors_has_its_nash_policy_in_exact_fractions():
    nash = [Fraction(4, 11), Fraction(3, 11), Fraction(4, 11)]
    for row in rational(families.biased_rock_paper_scissors()):
        assert sum(entry * share for entry, share in zip(row, nash, strict=True)) == Fraction(1, 2)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1 / 3, 1 / 3))
def test_three_types_for_every_epsilon(epsilon):
    matrix = families.three_types(epsilon)
    make_game(matrix)
    nash = np.array([1 / 3 + epsilon / 2, 1 / 3 + epsilon / 2, 1 / 3 - epsilon])
    np.testing.assert_allclose(matrix @ nash, 0.5, atol=1e-15)
    # the entry [i, j] is "i is preferred to j"
    np.testing.assert_allclose(matrix[1, 0], 2 / 3 - epsilon / 2, rtol=1e-15)
    np.testing.assert_allclose(matrix[2, 0], 1 / 3 - epsilon / 4, rtol=1e-15)
    np.testing.assert_allclose(matrix[2, 1], 2 / 3 + epsilon / 4, rtol=1e-15)


@pytest.mark.parametrize(("epsilon", "favourite"), [(0.2, 0), (-0.2, 1)])
def test_three_types_flip_the_choice_of_reward_learning(epsilon, favourite):
    # the best Bradley-Terry fit from uniform pairs matches each action's mean preference, so their order
    assert families.three_types(epsilon).mean(1).argmax() == favourite


def test_dice_cycle_at_five_ninths():
    matrix = families.dice()
    make_game(matrix)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        assert {
            Fraction(matrix[i, j]).limit_denominator(100),
            Fraction(matrix[j, i]).limit_denominator(100),
        } == {
            Fraction(5, 9),
            Fraction(4, 9),
        }
    np.testing.assert_allclose([matrix[0, 1], matrix[1, 2], matrix[2, 0]], 5 / 9, rtol=1e-15)


def test_elo_example_separates_reward_from_preference():
    matrix = families.elo_example()
    scores = np.log([1.0, 9.0, 2.0])
    np.testing.assert_allclose(matrix[1, 0], 9 / 10, rtol=1e-15)
    np.testing.assert_allclose(matrix[2, 1], 2 / 11, rtol=1e-14)
    family = [np.array([2 * s, s, 1 - 3 * s]) for s in np.linspace(0, 1 / 3, 301)]
    rewards = [policy @ scores for policy in family]
    np.testing.assert_allclose(family[int(np.argmax(rewards))], [2 / 3, 1 / 3, 0], atol=1e-12)
    by_preference = np.array([0.0, 0.0, 1.0])
    against = [by_preference @ matrix @ policy for policy in family]
    assert min(against) >= 0.5
    np.testing.assert_allclose(by_preference @ matrix @ np.array([2 / 3, 1 / 3, 0]), 50 / 99, rtol=1e-14)


@pytest.mark.parametrize(("beta", "spread"), [(1.0, 1.0), (0.1, 1.0), (0.01, 0.5)])
def test_planted_policy_is_the_fixed_point(beta, spread):
    game, log_nash = families.planted(KEY, families.uniform_skew(jax.random.key(1), 6, 2), beta, spread)
    preference, log_ref = np.asarray(game.preference), np.asarray(game.log_ref)
    for x in range(2):
        nash = np.exp(log_nash[x])
        logits = log_ref[x] + (preference[x] - 0.5) @ nash / beta
        np.testing.assert_allclose(
            np.log(reference.softmax(logits)), log_nash[x], rtol=0, atol=1e-15 * max(10, 5 / beta)
        )
        solved = reference.regularised_nash(preference[x], np.exp(log_ref[x]), beta)
        np.testing.assert_allclose(solved, nash, rtol=0, atol=1e-13)
    assert abs(float(jnp.std(log_nash)) - spread) < spread


@pytest.mark.parametrize("num_actions", [3, 4, 7])
def test_full_support_equilibrium(num_actions):
    matrix, nash = families.full_support(KEY, num_actions)
    make_game(matrix)
    np.testing.assert_allclose((matrix - 0.5) @ nash, 0, atol=1e-15)
    np.testing.assert_allclose(nash.sum(), 1, rtol=1e-15)
    assert nash.min() > 0.2 / num_actions / 1.01
    np.testing.assert_allclose(np.abs(matrix - 0.5).max(), 0.5, rtol=1e-15)
    rank = np.linalg.matrix_rank(matrix - 0.5, tol=1e-10)
    assert rank == (num_actions - 1 if num_actions % 2 else num_actions - 2)


def test_full_support_of_two_actions_is_a_tie():
    matrix, _ = families.full_support(KEY, 2)
    np.testing.assert_allclose(matrix, 0.5, atol=1e-15)


def test_random_reference():
    table = families.random_reference(KEY, 400, 3, spread=2.0)
    assert table.shape == (3, 400)
    np.testing.assert_allclose(np.exp(table).sum(-1), 1, rtol=1e-13)
    # standard deviation of 1200 normal logits within four standard errors
    assert abs(float(jnp.std(table)) - 2) < 4 * 2 / np.sqrt(2 * 1200) + 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: families.uniform_skew(KEY, 1), "num_actions is 1, but a game needs at least 2"),
        (lambda: families.tournament(KEY, 0), "num_actions is 0"),
        (lambda: families.rock_paper_scissors(1), "num_actions is 1"),
        (lambda: families.full_support(KEY, 1), "num_actions is 1"),
        (lambda: families.disc(KEY, 3, beta=-1.0), "beta is -1"),
        (lambda: families.three_types(0.4), r"epsilon is 0\.4"),
        (lambda: families.planted(KEY, families.dice(), 0.0), "beta is 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
