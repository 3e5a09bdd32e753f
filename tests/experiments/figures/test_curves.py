"""The reduction of many seeds to one curve, on values whose answer is known."""

import numpy as np
import pytest

from experiments.figures.convergence.curves import MAX_CURVE_POINTS, promise, reduce
from nlhf import egpo
from nlhf.base import Constants

CLAIM = egpo(0.5, 0.2).claims[0]
QUERIES = 2 * np.arange(400)


def promised(kl_start):
    seeds = np.asarray(kl_start)
    constants = Constants(0.5, 0.2, seeds[None, :, None, None], np.nan)
    whole = promise(CLAIM, QUERIES / 2, constants, (1, len(seeds), 1, len(QUERIES)))
    return whole.at(0, 0, np.full(len(QUERIES), True))


def test_bound_ratio_and_rates_of_exact_exponentials():
    start = np.array([0.5, 1.0, 2.0])
    value = 0.5 * start[:, None] * np.exp(-0.12 * np.arange(400))[None]
    curve = reduce("egpo", 2, QUERIES, value, promised(start), None)
    assert curve.rate.value == pytest.approx(0.06)
    assert curve.proved_rate == pytest.approx(-np.log(0.9) / 2)
    assert curve.worst_ratio == pytest.approx(0.5)
    assert curve.middle[0] == pytest.approx(0.5)
    assert curve.bound[0] == pytest.approx(1.0)
    assert curve.low[0] < curve.middle[0] < curve.high[0]
    assert len(curve.x) == MAX_CURVE_POINTS


def test_a_violation_is_seen():
    value = np.exp(-0.05 * np.arange(400))[None]  # slower than the proved 0.105 a step
    assert reduce("egpo", 2, QUERIES, value, promised([1.0]), None).worst_ratio > 2


def test_a_run_that_became_nan_is_a_violation():
    value = np.exp(-0.2 * np.arange(400))[None].repeat(2, 0)
    value[1, 50:] = np.nan
    assert reduce("egpo", 2, QUERIES, value, promised([1.0, 1.0]), None).worst_ratio == np.inf


def test_rounding_at_the_floor_is_no_violation():
    value = np.maximum(np.exp(-0.5 * np.arange(400)), 1e-31)[None]
    assert reduce("egpo", 2, QUERIES, value, promised([1.0]), None).worst_ratio == 1.0


def test_a_known_limit_replaces_the_rate():
    curve = reduce("nash_md", 2, QUERIES, np.full((2, 400), 1e-3), None, 1e-3)
    assert curve.limit == 1e-3
    assert curve.rate is None
    assert curve.proved_rate is None
