"""``solve``: one call for every β, contexts, excluded actions, refusals; see test_nash, test_rational."""

import jax
import numpy as np
import pytest

from nlhf.errors import InputError
from tabular import families, make_game, solve


@pytest.mark.parametrize("beta", [0.1, 0])
def test_solve_takes_contexts_and_agrees_with_single_games(beta):
    preference = families.uniform_skew(jax.random.key(0), 3, 2)
    log_ref = families.random_reference(jax.random.key(1), 3, 2)
    both = solve(make_game(preference, log_ref, beta))
    assert both.exploitability.shape == (2,)
    assert both.exploitability.max() < 1e-15
    for i in range(2):
        one = solve(make_game(preference[i], log_ref[i], beta))
        assert isinstance(one.log_policy, np.ndarray)
        np.testing.assert_allclose(both.log_policy[i], one.log_policy[0], rtol=1e-13)


def test_solve_is_never_silent():
    game = make_game(families.biased_rock_paper_scissors(), beta=0.01)
    with pytest.raises(ArithmeticError, match="raise beta or the tolerance"):
        solve(game, tolerance=0.0)
    with jax.enable_x64(False), pytest.raises(InputError, match="float64 is off, and equilibria need it"):
        solve(game)


def test_at_beta_0_an_action_without_reference_is_out_of_the_game():
    log_ref = np.log([0.5, 0.5, 0.0], where=[True, True, False], out=np.full(3, -np.inf))
    nash = solve(make_game([[0.5, 0.9, 0.1], [0.1, 0.5, 0.7], [0.9, 0.3, 0.5]], log_ref, 0))
    np.testing.assert_array_equal(nash.log_policy, [[0, -np.inf, -np.inf]])
    assert nash.fractions == ((1, 0, 0),)
    assert nash.unique == (True,)
