"""The rows of proximal-point steps and of the original game at quick effort, and closed forms beside them."""

import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import nash_md
from nlhf.logspace import normalise, uniform
from proofs_checks.lemmas import original_game, proximal
from proofs_checks.lemmas.bank import step
from proofs_checks.rows import Effort, decide
from tabular.families import from_upper, rock_paper_scissors
from tabular.games import make_game

QUICK = Effort(quick=True)
CHECKS = (*proximal.CHECKS, *original_game.CHECKS)


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_row(check):
    outcome = check.judge(QUICK)
    row = decide(check, outcome)
    assert row.as_expected, (outcome.worst, outcome.control_worst, outcome.witness)
    assert outcome.instances >= 40


def test_every_game_has_the_equilibria_it_is_judged_by():
    games, _, residual = proximal._outer(QUICK)
    payoff = np.einsum("gab,gqb->gqa", games.advantage, games.nash)
    assert payoff.max() < 1e-14
    np.testing.assert_allclose(games.nash.sum(-1), 1, atol=1e-12)
    assert games.nash.min() >= 0
    assert residual.max() < 1e-14
    several = np.ptp(games.nash, axis=1).max(-1) > 1e-3
    assert several.any()
    assert not several.all()


def test_points_on_the_line_reach_the_boundary():
    centred = np.zeros((2, 2))
    points = proximal._on_the_line(centred, np.array([0.4, 0.6]))
    np.testing.assert_allclose(sorted(points[:, 0]), sorted([0.4, *{1.0, 0.0}, points[3, 0]]), atol=1e-12)
    np.testing.assert_allclose(points.sum(-1), 1)


def test_proximal_iterates_of_a_cycle_keep_their_centre():
    # uniform play is the equilibrium and a fixed point of every proximal step
    game = jnp.asarray(rock_paper_scissors(3) - 0.5)
    log_policies, _ = proximal._iterate(game[None], uniform(3)[None], jnp.ones(1))
    np.testing.assert_allclose(log_policies, -np.log(3), rtol=1e-12)


def test_the_limit_of_the_constant_step_is_a_fixed_point():
    beta, eta = 0.5, 1.0
    matrix = np.random.default_rng(3).random((4, 4))
    game = make_game(from_upper(jnp.asarray(matrix)), beta=beta)
    advantage = np.asarray(game.advantage[0])
    mixture = np.full(4, 0.25)
    for _ in range(200):  # temperature β/(1 - ηβ) = 1, where the best-response map contracts by 1/2
        weight = np.exp(advantage @ mixture)
        mixture = weight / weight.sum()
    limit = normalise(game.log_ref + jnp.asarray(advantage @ mixture / beta)[None])
    method = nash_md(eta, beta)
    after = step(method, method.init(limit), game).policy
    np.testing.assert_allclose(after, limit, atol=1e-12)
    response = normalise(game.log_ref + (game.advantage[0] @ jnp.exp(limit[0]) / beta)[None])
    assert np.abs(response - limit).max() > 1e-3  # not the regularised Nash policy


def test_plan_by_hand():
    planned = original_game.plan(0.2, np.array([10]))
    beta = 0.1 / np.log(10)
    assert planned.beta[0] == pytest.approx(beta)
    queries = 2 * np.log((1 + 1 / beta) * np.log(10) / 0.2) / np.log(1 + 2 * beta)
    assert queries <= 2 * planned.steps[0] < queries + 2


def test_exploitability_and_contraction_give_the_plan_for_small_beta():
    # at g = 2: (1 + √(1 + c²))/4 + 1/(4β(1 + 2β)), times 1 + 2β for the step that it looks back
    for beta in np.geomspace(1e-5, 0.3, 200):
        factor = (1 + np.sqrt(1 + 2 / (beta * (1 + 2 * beta)))) / 4 + 1 / (4 * beta * (1 + 2 * beta))
        assert factor * (1 + 2 * beta) <= (1 + 1 / beta) / 2
