"""The bank takes its equilibria from numpy: the certified solver must agree, the games be worth a test."""

import bank
import numpy as np
import pytest

from tabular import solve


@pytest.mark.parametrize("name", ["uniform_skew", "contextual", "planted", "tournament"])
def test_equilibria_agree_with_the_certified_solver(name):
    game, log_nash = bank.known(name)
    solution = solve(game)
    np.testing.assert_allclose(log_nash, solution.log_policy, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", bank.GAMES)
def test_games_are_asymmetric_and_do_not_start_at_their_equilibrium(name):
    game, log_nash = bank.known(name)
    assert np.isfinite(log_nash).all()
    assert np.abs(np.asarray(log_nash - game.log_ref)).max() > 0.05
    for policy in np.exp(np.asarray(log_nash)):
        assert len(np.unique(np.round(policy, 6))) == game.num_actions
