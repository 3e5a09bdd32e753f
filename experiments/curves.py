"""From the values of many seeds to one curve of a figure: quantiles, bound, fitted rate, worst ratio."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from nlhf.base import Claim, Constants
from nlhf.errors import InputError
from proofs_checks.rates import fit_linear, fit_power

MAX_CURVE_POINTS = 160
RATIO_FLOOR = 1e-20  # below this a ratio of measured to bound compares rounding errors


@dataclasses.dataclass(frozen=True)
class Curve:
    """One method in one panel: quantiles over seeds of the metric, its bound and its rates.

    Attributes:
      method: key of the method.
      queries: queries made at each kept point.
      median: median over seeds.
      low: 10 % quantile.
      high: 90 % quantile.
      bound: median proved bound, or ``None`` where nothing is proved.
      limit: predicted biased limit, median over seeds, or ``None``.
      rate_kind: ``"linear"`` (nats a query), ``"power"`` (exponent) or ``""``.
      rate: fitted rate, median over seeds, or ``None`` where too few points are above the floor.
      rate_low: 10 % quantile of the fitted rates.
      rate_high: 90 % quantile.
      proved_rate: rate that theory guarantees, in the same unit, or ``None``.
      worst_ratio: largest measured / bound over steps and seeds above 1e-20, or ``None``.
      final: median at the end.
    """

    method: str
    queries: list[int]
    median: list[float]
    low: list[float]
    high: list[float]
    bound: list[float] | None
    limit: float | None
    rate_kind: str
    rate: float | None
    rate_low: float | None
    rate_high: float | None
    proved_rate: float | None
    worst_ratio: float | None
    final: float


def reduce(
    name: str,
    queries_a_step: int,
    queries: np.ndarray,
    value: np.ndarray,
    claim: Claim | None,
    constants: Constants,
    limit: float | None,
) -> Curve:
    """Reduce the values of all seeds to quantiles, bound, fitted rate and worst ratio.

    Args:
      name: key of the method.
      queries_a_step: payoff queries a step.
      queries: ``[N]`` queries made at each record.
      value: ``[S, N]`` metric.
      claim: what theory promises of this curve, or ``None``.
      constants: of the claim; entries that differ between seeds are ``[S, 1]``.
      limit: predicted biased limit, or ``None``.
    """
    steps = queries / queries_a_step
    bound = ratio = proved = None
    kind = ""
    if claim is not None:
        full = np.broadcast_to(np.asarray(claim.bound(jnp.asarray(steps)[None], constants)), value.shape)
        valid = (value > RATIO_FLOOR) & np.isfinite(full)
        ratio = float((value[valid] / full[valid]).max()) if valid.any() else 0.0
        bound = np.median(full, axis=0)
        kind = claim.rate_kind
        per_step = float(np.asarray(claim.rate(constants)))
        proved = per_step / queries_a_step if kind == "linear" else per_step
    elif limit is None:
        kind = "power"
    fits = [] if limit is not None else _fits(kind, queries, value)
    quantiles = np.quantile(fits, [0.5, 0.1, 0.9]) if fits else (None, None, None)
    keep = _thin(len(queries), spaced_log=kind == "power")
    low, median, high = np.quantile(value, [0.1, 0.5, 0.9], axis=0)[:, keep]
    return Curve(
        method=name,
        queries=queries[keep].tolist(),
        median=median.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        bound=None if bound is None else [float(b) if np.isfinite(b) else 0.0 for b in bound[keep]],
        limit=limit,
        rate_kind=kind,
        rate=_or_none(quantiles[0]),
        rate_low=_or_none(quantiles[1]),
        rate_high=_or_none(quantiles[2]),
        proved_rate=None if limit is not None else proved,
        worst_ratio=ratio,
        final=float(median[-1]),
    )


def _fits(kind: str, queries: np.ndarray, value: np.ndarray) -> list[float]:
    fit = fit_power if kind == "power" else fit_linear
    rates = []
    for row in value:
        try:
            rates.append(fit(queries, row).rate)
        except InputError:  # a curve that starts at its floor has no rate
            continue
    return rates


def _thin(count: int, *, spaced_log: bool) -> np.ndarray:
    if spaced_log:
        points = np.geomspace(1, count, MAX_CURVE_POINTS) - 1
    else:
        points = np.linspace(0, count - 1, MAX_CURVE_POINTS)
    return np.unique(np.round(points).astype(int))


def _or_none(value: Any) -> float | None:
    return None if value is None else float(value)
