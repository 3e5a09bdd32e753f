"""Rates are recovered where they are known, and refused where there is nothing to fit."""

import numpy as np
import pytest

from nlhf.errors import InputError
from proofs_checks.rates import MIN_POINTS, fit_linear, fit_power, window

STEP = np.arange(2000)


def test_linear_rate_with_oscillation_and_a_floor():
    rng = np.random.default_rng(0)
    value = 3.0 * np.exp(-0.037 * STEP + 0.5 * np.sin(0.3 * STEP) + 0.1 * rng.normal(size=STEP.size))
    value = np.maximum(value, 1e-30 * rng.uniform(1, 2, STEP.size))
    fit = fit_linear(STEP, value)
    assert fit.low < 0.037 < fit.high
    assert fit.high - fit.low < 0.02 * 0.037
    assert value[fit.stop] > 1e-26
    assert fit.start > 0.29 * fit.stop


def test_power_rate_leaves_out_step_zero():
    value = np.append(np.inf, 5 * STEP[1:] ** -1.5)
    fit = fit_power(STEP, value)
    assert fit.rate == pytest.approx(1.5, abs=1e-9)


def test_a_wrong_rate_is_told_apart():
    fit = fit_linear(STEP, np.exp(-0.01 * STEP))
    assert not fit.low <= 0.0101 <= fit.high


def test_window_ends_at_the_first_value_below_the_floor():
    value = np.array([1.0, 0.1, 1e-30, 0.1, 0.1])
    assert window(np.arange(5), value, 1e-26, 0.0).tolist() == [0, 1]
    assert window(np.arange(5), np.array([1.0, 0.5, np.nan, 0.1, 0.1]), 0.0, 0.0).tolist() == [0, 1]


def test_too_few_points_are_refused():
    value = np.where(STEP < MIN_POINTS - 1, 1.0, 0.0)
    with pytest.raises(InputError, match="a rate needs 8; record more often"):
        fit_linear(STEP, value, burn_in=0.0)


def test_float32_is_refused_below_its_noise():
    value = np.exp(-0.01 * STEP).astype(np.float32)
    with pytest.raises(InputError, match="jax_enable_x64"):
        fit_linear(STEP, value)
    assert fit_linear(STEP[:1000], value[:1000]).rate == pytest.approx(0.01, rel=1e-3)
