"""Iterative Nash policy optimisation (INPO) is online mirror descent with step 1/η, so it has no file.

Its loss on a pair drawn from the current policy, winner first, is (h - 1/(2η))² with
h = Δ log π - (τ/η) Δ log π_ref - (1 - τ/η) Δ log π_t, Δ the winner's value minus the loser's
(arXiv:2407.00617). Its population minimiser is found here by SciPy, from the loss alone.
"""

import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from nlhf import online_mirror_descent
from nlhf.errors import RangeWarning
from tabular.games import make_game
from tabular.runner import run


def inpo_minimiser(preference, log_ref, log_policy, eta, tau):
    policy = np.exp(log_policy)
    weight = policy[:, None] * policy[None, :] * preference  # first of the pair wins

    def population_loss(logits):
        known = tau / eta * log_ref + (1 - tau / eta) * log_policy
        difference = logits - known
        h = difference[:, None] - difference[None, :]
        error = h - 1 / (2 * eta)
        residual = weight * error
        gradient = 2 * (residual.sum(1) - residual.sum(0))
        return (residual * error).sum(), gradient

    found = scipy.optimize.minimize(
        population_loss, log_policy, jac=True, method="BFGS", options={"gtol": 1e-12, "maxiter": 2000}
    )
    return scipy.special.log_softmax(found.x)


@pytest.mark.parametrize(("eta", "tau"), [(2.0, 0.5), (5.0, 0.1), (0.8, 0.8)])
def test_inpo_population_step_is_a_mirror_step(eta, tau):
    rng = np.random.default_rng(5)
    upper = np.triu(rng.uniform(-0.5, 0.5, (5, 5)), 1)
    preference = 0.5 + upper - upper.T
    log_ref = scipy.special.log_softmax(rng.normal(size=5))
    start = scipy.special.log_softmax(rng.normal(size=5))
    game = make_game(preference, log_ref, beta=tau)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RangeWarning
        )  # 1/η may lie outside the range of the last-iterate theorem
        trace = run(online_mirror_descent(1 / eta, tau), game, num_steps=1, start=start[None])
    np.testing.assert_allclose(
        trace.state.policy[0], inpo_minimiser(preference, log_ref, start, eta, tau), atol=1e-7
    )
    flipped = inpo_minimiser(preference.T, log_ref, start, eta, tau)
    assert np.abs(trace.state.policy[0] - flipped).max() > 1e-2
