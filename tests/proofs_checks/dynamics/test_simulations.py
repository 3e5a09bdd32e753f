"""The simulation protocol: its settings, and rows as expected."""

import numpy as np
import pytest

from proofs_checks.dynamics import simulations
from proofs_checks.rows import Effort, decide


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", simulations.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_step_sizes_of_the_protocol():
    assert simulations.LARGE.step_size == pytest.approx(0.4)
    assert simulations.SMALL.step_size == pytest.approx(0.8)


def test_games_differ_and_references_too():
    game = simulations.draw(Effort(quick=True), 0.1)
    assert game.advantage.shape == (6, 1, 10, 10)
    assert len(np.unique(np.asarray(game.log_ref[:, 0, 0]))) == 6
