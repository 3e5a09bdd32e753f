import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from tabular.games import Game, make_game, with_beta
from tabular.payoff import BradleyTerry

TWO = [[0.5, 0.9], [0.1, 0.5]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.floats(0, 10))
def test_the_advantage_is_skew_to_the_last_bit(entries, beta):
    matrix = np.full((4, 4), 0.5)
    matrix[np.triu_indices(4, 1)] = entries
    matrix[np.tril_indices(4, -1)] = (1 - matrix.T)[np.tril_indices(4, -1)]
    game = make_game(matrix, beta=beta)
    advantage = np.asarray(game.advantage)
    np.testing.assert_array_equal(advantage, -advantage.swapaxes(1, 2))
    np.testing.assert_allclose(game.preference[0], matrix, rtol=0, atol=2e-16)
    assert game.num_actions == 4
    assert float(game.beta) == beta


def test_defaults_and_shapes():
    game = make_game(TWO)
    np.testing.assert_allclose(np.exp(game.log_ref), [[0.5, 0.5]], rtol=1e-15)
    np.testing.assert_array_equal(game.context_prob, [1.0])
    three = make_game(np.broadcast_to(TWO, (3, 2, 2)), np.log([0.25, 0.75]), 0.5)
    assert three.advantage.shape == (3, 2, 2)
    np.testing.assert_allclose(np.exp(three.log_ref), [[0.25, 0.75]] * 3, rtol=1e-15)
    np.testing.assert_allclose(three.context_prob, [1 / 3] * 3, rtol=1e-15)


def test_an_excluded_action_stays_excluded():
    game = make_game(TWO, [0.0, -np.inf])
    np.testing.assert_array_equal(game.log_ref, [[0.0, -np.inf]])


def test_single_precision_tables_make_single_precision_games():
    with jax.enable_x64(False):
        for seed in range(20):
            key = jax.random.key(seed)
            scores = jax.random.normal(key, (6,))
            matrix = jax.nn.sigmoid(scores[:, None] - scores[None, :])
            game = make_game(matrix, jax.nn.log_softmax(scores))
            assert game.advantage.dtype == game.log_ref.dtype == jnp.float32


def test_with_beta():
    game = with_beta(make_game(TWO, beta=1.0), 0.25)
    assert float(game.beta) == 0.25
    assert with_beta(game, np.array([0.1, 0.2])).beta.shape == (2,)
    with pytest.raises(InputError, match="beta is -1"):
        with_beta(game, -1.0)


def test_a_game_is_a_pytree_and_may_be_structured():
    game = Game(BradleyTerry(jnp.array([[0.0, 2.0]])), jnp.log(jnp.full((1, 2), 0.5)), jnp.ones(1), 0.1)
    np.testing.assert_allclose(game.preference[0, 1, 0], 1 / (1 + np.exp(-2.0)), rtol=1e-14)
    assert jax.tree.map(lambda leaf: leaf, game).num_actions == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5],), r"has shape \(2,\), but it must be \[A, A\] or \[X, A, A\]"),
        ((np.ones((2, 3)),), r"has shape \(1, 2, 3\)"),
        (([[0.5, np.nan], [0.5, 0.5]],), r"preference\[0, 0, 1\] is nan, but every entry must be finite"),
        (([[0.5, 1.2], [-0.2, 0.5]],), r"preference\[0, 0, 1\] is 1\.2, outside \[0, 1\]"),
        (
            ([[0.5, 0.9], [0.2, 0.5]],),
            r"0, 1\] \+ preference\[0, 1, 0\] = 1\.1, but it must be 1",
        ),
        (([[0.6, 0.9], [0.1, 0.5]],), r"preference\[0, 0, 0\] \+ preference\[0, 0, 0\] = 1\.2"),
        ((TWO, np.log([0.5, 0.3, 0.2])), "the reference has 3 entries, but the game has 2 actions"),
        ((TWO, np.log([[0.5, 0.5]] * 3)), r"the reference has shape \(3, 2\), but the game has 1 contexts"),
        ((TWO, np.log([0.5, 0.4])), r"reference sums to 0\.9, but it must sum to 1"),
        ((TWO, [np.nan, 0.0]), "reference has an entry that is negative or not finite"),
        ((TWO, None, -0.1), r"beta is -0\.1"),
        ((TWO, None, 0.1, [0.9]), r"context_prob sums to 0\.9"),
        (([TWO, TWO], None, 0.1, [1.5, -0.5]), "context_prob has an entry that is negative"),
        ((TWO, None, 0.1, [0.5, 0.5]), r"context_prob has shape \(2,\), but the game has 1 contexts"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        make_game(*arguments)
