"""Noise floors: the covariance of a labelled draw, the linearised law, and slopes that are known."""

import numpy as np
import pytest

from proofs_checks.dynamics import floors
from proofs_checks.dynamics.noise import plant
from proofs_checks.rows import Effort, decide


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", floors.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_covariance_of_a_draw():
    rng = np.random.default_rng(0)
    upper = np.triu(rng.uniform(-0.5, 0.5, (3, 3)), 1)
    advantage, policy = upper - upper.T, np.array([0.2, 0.5, 0.3])
    opponent = rng.choice(3, p=policy, size=200000)
    labels = (rng.uniform(size=(3, 200000)) < advantage[:, opponent] + 0.5) - 0.5
    np.testing.assert_allclose(floors.one_draw(advantage, policy), np.cov(labels), atol=4e-3)


def test_laws_agree_at_small_steps_and_part_at_long_ones():
    game, log_nash = plant(np.random.default_rng(1), np.array([0.5, 0.5]), 5)
    settled = floors.Settled(np.ones((2, 1)), game, log_nash, np.array([1e-4, 1.0]), np.array([0.5, 0.5]))
    exact = floors.predicted(settled, lambda advantage, policy: 0.01 * np.eye(5))
    ratio = exact / floors.first_order(settled, 0.1)
    assert ratio[0] == pytest.approx(1, abs=1e-4)
    assert abs(ratio[1] - 1) > 0.05


def test_slope_of_a_known_power():
    rng = np.random.default_rng(2)
    abscissa = np.geomspace(1, 10, 5)
    kl = abscissa[:, None] ** -1.5 * (1 + 0.1 * rng.normal(size=(5, 64)))
    value, error = floors.slope(abscissa, kl)
    assert abs(value + 1.5) < 4 * error
    assert error < 0.02
