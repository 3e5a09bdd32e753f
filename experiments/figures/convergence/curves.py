"""From the values of many seeds to one curve of a figure: quantiles, bound, fitted rate, worst ratio."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared.curves import Curve, Interval, quantiles
from nlhf.base import Claim, Constants
from nlhf.errors import InputError
from proofs_checks.rates import fit_linear, fit_power

MAX_CURVE_POINTS = 160
RATIO_FLOOR = 1e-20  # below this a ratio of measured to bound compares rounding errors


@dataclasses.dataclass(frozen=True, repr=False)
class Measured(Curve):
    """One method in one panel, over queries: median over seeds, 10 and 90 % quantiles, bound."""

    bound: list[float] | None  # median proved bound, or ``None`` where nothing is proved
    limit: float | None  # predicted biased limit, median over seeds, or ``None``
    rate_kind: str  # ``"linear"`` (nats a query), ``"power"`` (exponent) or ``""``
    # fitted rates, their median with 10 and 90 % quantiles; ``None`` where too few points are above the floor
    rate: Interval | None
    proved_rate: float | None  # rate that theory guarantees, in the same unit, or ``None``
    worst_ratio: float | None  # largest measured / bound over steps and seeds above 1e-20, or ``None``
    final: float  # median at the end


class Promise(NamedTuple):
    """A claim, evaluated for a batch of runs."""

    kind: str  # ``"linear"``, ``"power"`` or ``"none"``, as in a claim
    bound: np.ndarray  # ``[..., N]`` ceiling of the metric at each record
    rate: np.ndarray  # proved rate a step, broadcast to ``[..., 1]``; NaN without one

    def at(self, game: int, beta: int, keep: np.ndarray) -> Promise:
        """Return the promise of one panel, at the records that are kept."""
        return Promise(self.kind, self.bound[game, :, beta][:, keep], self.rate[game, :, beta])


def promise(claim: Claim, steps: np.ndarray, constants: Constants, shape: tuple[int, ...]) -> Promise:
    """Evaluate a claim on runs of the given shape.

    Args:
      steps: ``[N]`` steps made at each record.
      constants: entries broadcast against ``[..., 1]``.
      shape: ``[..., N]``.
    """
    bound, rate = _evaluate(claim, jnp.asarray(steps, float), constants)
    return Promise(claim.rate_kind, np.broadcast_to(bound, shape), np.broadcast_to(rate, (*shape[:-1], 1)))


@jax.jit
def _evaluate(claim: Claim, steps: jax.Array, constants: Constants) -> tuple[jax.Array, jax.Array]:
    bound = claim.bound(steps.reshape((1, 1, 1, -1)), constants)
    return bound, jnp.asarray(jnp.nan) if claim.rate is None else claim.rate(constants)


def reduce(
    name: str,
    queries_a_step: int,
    queries: np.ndarray,
    value: np.ndarray,
    promised: Promise | None,
    limit: float | None,
) -> Measured:
    """Reduce the values of all seeds to quantiles, bound, fitted rate and worst ratio.

    Args:
      queries: ``[N]`` queries made at each record.
      value: ``[S, N]`` metric.
      promised: what theory promises of this curve, ``bound [S, N]``, or ``None``.
      limit: predicted biased limit, or ``None``.
    """
    bound = ratio = proved = None
    kind = ""
    if promised is not None:
        valid = (value > RATIO_FLOOR) & np.isfinite(promised.bound)
        ratio = float((value[valid] / promised.bound[valid]).max()) if valid.any() else 0.0
        ratio = ratio if np.isfinite(value).all() else np.inf  # a run that left the numbers kept no promise
        bound = np.median(promised.bound, axis=0)
        kind = promised.kind
        per_step = float(np.median(promised.rate))
        proved = {"linear": per_step / queries_a_step, "power": per_step, "none": None}[kind]
    if limit is None and kind in ("", "none"):
        kind = "power"  # nothing promises a shape: fit what a figure in log-log shows
    fits = [] if limit is not None else _fits(kind, queries, value)
    keep = _thin(len(queries), spaced_log=kind == "power")
    median, low, high = (each[keep].tolist() for each in quantiles(value))
    return Measured(
        name,
        queries[keep].tolist(),
        median,
        low,
        high,
        bound=None if bound is None else bound[keep].tolist(),
        limit=limit,
        rate_kind=kind,
        rate=Interval(*(float(each) for each in np.quantile(fits, [0.5, 0.1, 0.9]))) if fits else None,
        proved_rate=None if limit is not None else proved,
        worst_ratio=ratio,
        final=median[-1],
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
