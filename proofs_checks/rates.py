"""Fit a convergence rate to a measured curve, with an interval, and refuse where there is nothing to fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from nlhf.errors import InputError

MIN_POINTS = 8
MAX_POINTS = 200  # Theil-Sen looks at every pair of points


class Fit(NamedTuple):
    """A fitted rate."""

    rate: float  # nats per step (linear: value ~ exp(-rate step)) or exponent (power: value ~ step^-rate)
    low: float  # lower end of the 95 % interval
    high: float  # upper end
    start: int  # first step of the window
    stop: int  # last step of the window
    num_points: int  # points that the fit used


def window(step: np.ndarray, value: np.ndarray, floor: float, burn_in: float) -> np.ndarray:
    """Indices of the points between burn-in and the floating-point floor.

    The window ends at the first value at or below ``floor`` (what comes later is rounding) and begins after
    the share ``burn_in`` of the steps before that.

    Args:
      step: ``[N]`` increasing step numbers.
      value: ``[N]`` positive metric.
      floor: smallest value that still means something.
      burn_in: share in [0, 1) of the usable steps to leave out.
    """
    below = np.flatnonzero(~(value > floor))
    stop = int(below[0]) if below.size else len(value)
    start = int(np.searchsorted(step, step[0] + burn_in * (step[max(stop - 1, 0)] - step[0])))
    return np.arange(start, stop)


def fit_linear(step: np.ndarray, value: np.ndarray, *, floor: float = 1e-26, burn_in: float = 0.3) -> Fit:
    """Fit ``value ~ exp(-rate step)``: the Theil-Sen slope of log value, with its 95 % interval.

    Args:
      step: ``[N]`` increasing step numbers (or queries).
      value: ``[N]`` metric; must be float64 if it is to be fitted below 1e-6.
      floor: as in ``window``.
      burn_in: as in ``window``.

    Raises:
      InputError: if fewer than 8 points are left, or float32 values reach below 1e-6.
    """
    return _fit(np.asarray(step, float), value, floor, burn_in, np.asarray(step, float))


def fit_power(step: np.ndarray, value: np.ndarray, *, floor: float = 1e-26, burn_in: float = 0.3) -> Fit:
    """Fit ``value ~ step^-rate``: the Theil-Sen slope in log-log, with its 95 % interval.

    Args:
      step: ``[N]`` increasing step numbers; step 0 is left out.
      value: ``[N]`` metric; must be float64 if it is to be fitted below 1e-6.
      floor: as in ``window``.
      burn_in: as in ``window``.

    Raises:
      InputError: if fewer than 8 points are left, or float32 values reach below 1e-6.
    """
    step = np.asarray(step, float)
    positive = step > 0
    return _fit(step[positive], np.asarray(value)[positive], floor, burn_in, np.log(step[positive]))


def _fit(step: np.ndarray, value: np.ndarray, floor: float, burn_in: float, abscissa: np.ndarray) -> Fit:
    value = np.asarray(value)
    inside = window(step, value, floor, burn_in)
    if len(inside) < MIN_POINTS:
        raise InputError(
            f"{len(inside)} points lie between burn-in and the floor {floor:g}, but a rate needs "
            f"{MIN_POINTS}; record more often or run longer"
        )
    if value.dtype != np.float64 and value[inside].min() < 1e-6:
        raise InputError(
            f"the values are {value.dtype} and reach {value[inside].min():.2g}, but below 1e-6 only float64 "
            'carries a rate; call jax.config.update("jax_enable_x64", True) before the run'
        )
    thin = inside[np.unique(np.linspace(0, len(inside) - 1, min(len(inside), MAX_POINTS)).astype(int))]
    slope, _, low, high = stats.theilslopes(np.log(value[thin]), abscissa[thin], 0.95)
    return Fit(-float(slope), -float(high), -float(low), int(step[thin[0]]), int(step[thin[-1]]), len(thin))
