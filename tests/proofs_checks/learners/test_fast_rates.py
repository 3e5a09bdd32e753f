"""Fast rates: what tells log T from √T, and (the costly ones slow) the rows."""

import numpy as np
import pytest

from proofs_checks.learners import fast_rates
from proofs_checks.rows import Effort, decide

CHEAP = ("bandit.gap_is_variance", "bandit.gap_is_integral")


def param(check):
    marks = [] if check.name in CHEAP else [pytest.mark.slow]
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in fast_rates.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in fast_rates.CHECKS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("power", "gain"), [(1.0, 1.0), (0.5, 2.0), (0.0, 4.0)])
def test_gain_tells_the_orders_apart(power, gain):
    gaps = np.arange(1.0, 40001.0) ** -power
    assert abs(fast_rates.gain(gaps[None]) - gain) < 0.01


def test_the_class_of_the_ladder_holds_every_truth_and_its_swap():
    # the slopes leave out the first level, and the quick run has to keep two
    assert len(fast_rates.LEVELS) >= 4
    assert fast_rates.RARE * np.exp(fast_rates.LEVELS[1] / fast_rates.COLD) > 10
