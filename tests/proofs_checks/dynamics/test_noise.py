"""Sampled payoffs: the bounds hold, and what they rest on is as said."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import logspace
from nlhf.targets import explicit
from proofs_checks.dynamics import noise
from proofs_checks.rows import Effort, decide
from tabular.games import make_game
from tabular.metrics import kl_to_nash
from tabular.oracle import sampled
from tabular.payoff import payoff
from tabular.solution import solve


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", noise.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in noise.CHECKS]
    assert len(set(names)) == len(names) == 9


def test_planted_games_have_the_equilibrium_they_say():
    game, log_nash = noise.plant(np.random.default_rng(0), np.array([0.05, 1.0]), 4)
    for row in range(2):
        solved = solve(jax.tree.map(lambda leaf, row=row: leaf[row], game))
        np.testing.assert_allclose(solved.log_policy, log_nash[row], atol=1e-10)


def test_answers_are_unbiased():
    preference = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
    game = make_game(preference, beta=0.1)
    policy = logspace.normalise(jnp.array([[0.3, -1.0, 0.8]]))
    oracle = sampled(1)(game, lambda log_policy: log_policy)
    draws = jax.jit(jax.vmap(lambda key: oracle.payoff(key, policy).preference[0]))(
        jax.random.split(jax.random.key(0), 40000)
    )
    error = np.asarray(draws.std(0)) / 200
    assert np.abs(draws.mean(0) - payoff(game.advantage, policy)[0]).max() < 4 * error.max()
    assert draws.min() == -0.5
    assert draws.max() == 0.5


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_one_step_in_expectation_by_enumeration(share):
    """All answers to a two-action query, weighed exactly: the lemma without any sampling error."""
    preference, log_ref, beta = np.array([[0.5, 0.8], [0.2, 0.5]]), np.log([0.3, 0.7]), 0.2
    game = make_game(preference, log_ref, beta)
    log_nash = jnp.asarray(solve(game).log_policy)
    eta = share / beta
    policy = logspace.normalise(jnp.array([[2.0, 0.0]]))
    mixture = logspace.geometric_mixture(policy, game.log_ref, share)
    mean = 0.0
    for opponent, *labels in itertools.product((0, 1), repeat=3):
        chance = float(jnp.exp(mixture[0, opponent]))
        for action, label in enumerate(labels):
            chance *= preference[action, opponent] if label else 1 - preference[action, opponent]
        answer = jnp.asarray(labels, float)[None] - 0.5
        moved = logspace.normalise(explicit(mixture, game.log_ref, answer, step_size=eta, beta=0.0))
        mean += chance * float(kl_to_nash(game, moved, answer, log_nash))
    start = float(kl_to_nash(game, policy, answer, log_nash))
    assert mean <= (1 - share) * start + eta**2 / 8
    # Jensen: noise costs something, so that the bound of exact payoffs would be too small at long steps
    assert mean > 0
    if share == 1.0:
        assert mean > 0.02 * eta**2


@pytest.mark.slow
def test_a_bound_without_noise_is_rejected():
    effort = Effort(quick=True)
    runs = noise.sample(effort, "nash_md.decreasing")
    short = runs._replace(
        bank=runs.bank._replace(game=runs.bank.game._replace(beta=10 * runs.bank.game.beta))
    )
    lower = runs.kl.mean(1)[:, 1:]
    assert (lower <= noise.bound("nash_md.decreasing", runs)[:, 1:]).all()
    assert (lower > noise.bound("nash_md.decreasing", short)[:, 1:]).any()
