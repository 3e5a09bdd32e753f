"""Fitted rates and exponents: the rows, and what a claim too large or a table too short does."""

import numpy as np
import pytest

from nlhf.base import Constants
from proofs_checks.dynamics import scaling
from proofs_checks.rows import Effort, decide


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", scaling.CHECKS, ids=lambda check: check.name)
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


@pytest.mark.parametrize("name", scaling.METHODS)
def test_the_claim_that_is_fitted_is_linear(name):
    claim = scaling.linear_claim(name)
    assert (claim.rate_kind, claim.iterate, claim.regularised) == ("linear", "last", True)
    assert float(claim.rate(Constants(0.1, 0.1, 1.0, 1.0))) > 0


def test_the_fitted_rate_is_about_twice_the_claim():
    """What the linearisation says of every method here: the slowest mode does not rotate."""
    runs = scaling.curves(Effort(quick=True), "egpo")
    claim = scaling.linear_claim("egpo")
    for row in range(4):
        kl, beta = runs.kl[row], float(runs.bank.game.beta[row])
        fit = scaling.fit_linear(np.arange(len(kl)), kl) if kl[0] > scaling.NEGLIGIBLE else None
        if fit is not None:
            assert fit.high >= float(claim.rate(Constants(runs.step_size[row], beta, 1.0, 1.0)))
