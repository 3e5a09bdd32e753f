"""What a run leaves behind: numbers by metric and iterate, and pictures of them beside the bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from nlhf.base import State
from nlhf.errors import InputError
from tabular.bounds import bounds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = jax.Array
ITERATES = ("last", "half", "average")
LABELS = {"kl_to_nash": "KL(Nash ‖ policy)", "kl_from_nash": "KL(policy ‖ Nash)"}
BAND = (0.1, 0.9)  # quantiles over a batch


class Measure(NamedTuple):
    """What to record: a metric of one of the iterates.

    Attributes:
      metric: a key of ``tabular.metrics.METRICS``.
      iterate: ``"last"``, ``"half"`` (the extrapolated policy in the state; the last iterate where an
        algorithm has none) or ``"average"`` (the arithmetic mean of the half iterates; where an algorithm has
        no half step, of iterates 0 to t - 1).
    """

    metric: str
    iterate: str = "last"


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False, repr=False)
class Origin:
    """What a bound is computed from: algorithm, game, start and Nash policy of a run, its space and axes."""

    arguments: tuple
    make_space: Callable
    axes: tuple

    def __eq__(self, other: object) -> bool:
        """All are equal, so that traces of several runs can be stacked; the first run's is kept."""
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return 0


class Trace(NamedTuple):
    """What a run leaves behind; every array has the batch axes in front.

    Attributes:
      step: ``[R]`` recorded step numbers, 0 first.
      queries: ``[R]`` payoff queries made before that step.
      values: one ``[R]`` array for each recorded ``Measure``.
      state: the algorithm's state after the last step.
      origin: what the bounds are computed from; ``None`` for a run inside another compiled function.
    """

    step: Array
    queries: Array
    values: dict[Measure, Array]
    state: State
    origin: Any = None

    def __repr__(self) -> str:
        batch = f", a batch {np.shape(self.step)[:-1]}" if np.ndim(self.step) > 1 else ""
        lines = [f"Trace of {np.shape(self.step)[-1]} records{batch}"]
        for measure, values in list(self.values.items())[:8]:
            ends = "" if isinstance(values, jax.core.Tracer) else _ends(np.asarray(values))
            lines.append(f"  {measure.metric} of {measure.iterate}{ends}")
        return "\n".join(lines)

    def plot(self, *, bound: bool = False) -> Axes:
        """Draw every recorded measure against queries, with a band over a batch; see ``tabular.plot_traces``.

        Args:
          bound: whether to draw, dashed, what the algorithm's claims promise.

        Returns:
          The axes of a new figure of matplotlib.

        Raises:
          InputError: if nothing was recorded.
        """
        _common({"the trace": self})
        found = bounds(self) if bound else {}
        axes = _new_axes()
        for measure, values in self.values.items():
            _draw(axes, self.queries, values, _label(measure), found.get(measure))
        axes.legend()
        return axes

    def of(self, metric: str, iterate: str = "last") -> Array:
        """Return the recorded values of a metric of an iterate.

        Raises:
          InputError: if it was not recorded; lists what was.
        """
        if (metric, iterate) not in self.values:
            recorded = ", ".join(f"{each.metric!r} of {each.iterate}" for each in self.values) or "nothing"
            raise InputError(
                f"{metric!r} of {iterate} was not recorded, but only {recorded}; add it to the run's measures"
            )
        return self.values[Measure(metric, iterate)]


def _ends(values: np.ndarray) -> str:
    first, last = (np.median(values[..., index]) for index in (0, -1))
    return f": {first:.3g} first, {last:.3g} last" + (" (medians)" if values.ndim > 1 else "")


def plot_traces(
    traces: Mapping[str, Trace], metric: str | None = None, iterate: str = "last", *, bound: bool = False
) -> Axes:
    """Draw one measure of several traces against their payoff queries, on a logarithmic axis.

    Args:
      traces: by label; a batch is drawn as its median and its 10 to 90 % band.
      metric: which one; ``None`` is one that all have recorded, with a bound if there is one.
      iterate: of what.
      bound: whether to draw, dashed in the trace's colour, what its algorithm's claims promise.

    Returns:
      The axes of a new figure of matplotlib, which notebooks show at the end of the cell, loops included.

    Raises:
      InputError: if there are no traces, or the metric was not recorded in all of them.
    """
    common = _common(traces)
    promised = {label: bounds(trace) if bound else {} for label, trace in traces.items()}
    if metric is None:
        bounded = (each for each in common if any(each in found for found in promised.values()))
        measure = next(bounded, common[0])
    else:
        measure = Measure(metric, iterate)
    values = {label: trace.of(*measure) for label, trace in traces.items()}
    axes = _new_axes()
    for label, trace in traces.items():
        _draw(axes, trace.queries, values[label], label, promised[label].get(measure))
    axes.set_ylabel(_label(measure))
    axes.legend()
    return axes


def _common(traces: Mapping[str, Trace]) -> list[Measure]:
    if not traces:
        raise InputError("there are 0 traces, but a picture needs one; give {label: trace}")
    first, *others = traces.values()
    common = [each for each in first.values if all(each in other.values for other in others)]
    if not common:
        raise InputError("the traces have no measure in common; record one in all of their runs")
    return common


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    axes = plt.subplots(figsize=(6.0, 3.7), layout="constrained")[1]
    axes.set_yscale("log")
    axes.set_xlabel("queries")
    return axes


def _draw(axes: Axes, queries: Any, values: Any, label: str, bound: np.ndarray | None) -> None:
    queries, values = _flat(queries)[0], _flat(values)
    (line,) = axes.plot(queries, _positive(np.median(values, 0)), label=label)
    if len(values) > 1:
        low, high = _positive(np.quantile(values, BAND, axis=0))
        axes.fill_between(queries, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if bound is not None and np.isfinite(bound).any():
        ceiling = _positive(np.median(_flat(bound), 0))
        axes.plot(queries, ceiling, "--", color=line.get_color(), linewidth=1, label=f"{label}: bound")


def _flat(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.reshape(-1, array.shape[-1])


def _positive(values: np.ndarray) -> np.ndarray:
    """Leave out what a logarithmic axis cannot show."""
    return np.where((values > 0) & np.isfinite(values), values, np.nan)


def _label(measure: Measure) -> str:
    name = LABELS.get(measure.metric, measure.metric.replace("_", " "))
    return name if measure.iterate == "last" else f"{name} of the {measure.iterate} policy"
