"""Edges of stability: in closed form, as rows, and put where they are not."""

import numpy as np
import pytest

from proofs_checks.dynamics import edges
from proofs_checks.rows import Effort, decide


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", edges.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_edges_at_small_beta():
    tiny, largest = np.array([1e-7]), 1 / np.pi
    assert edges._extragradient_edge(tiny, largest)[0] == pytest.approx(np.pi, rel=1e-6)
    assert edges._optimistic_edge(tiny, largest)[0] == pytest.approx(np.pi / np.sqrt(3))
    assert edges._self_play_edge(tiny, largest)[0] == pytest.approx(2e-7 * np.pi**2, rel=1e-6)


def test_the_self_play_edge_is_where_the_factor_has_modulus_one():
    beta, largest = np.array([0.2]), 0.25
    eta = edges._self_play_edge(beta, largest)[0]
    assert abs(1 - eta * 0.2 + 1j * eta * largest) == pytest.approx(1)


def test_an_edge_put_too_low_is_rejected():
    """Half the true edge: the run a tenth above it comes closer, so the row must fail."""
    outcome = edges._judge_edge(
        Effort(quick=True),
        name="test",
        make=edges.online_mirror_descent,
        longest=lambda beta, largest: 0.5 * edges._self_play_edge(beta, largest),
        betas=(0.05, 0.1, 0.3),
        num_steps=2500,
    )
    assert outcome.worst > outcome.limit
