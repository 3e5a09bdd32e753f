"""What results of figures are made of: curves with a band, intervals over seeds, one line to sum up."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from experiments.output.progress import Progress
from nlhf.errors import InputError

Announce = Callable[[str, int], None]  # of the next unit of work and the number of all; before each unit
ENDS = (0.025, 0.975)  # of a 95 % interval
R = TypeVar("R")


class Brief:
    """A record whose ``repr`` is one line, so that a result may be the last line of a notebook's cell."""

    def __repr__(self) -> str:
        """Return names, numbers, and how many entries the lists have."""
        parts = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # of subclasses, which are dataclasses
            value = getattr(self, field.name)
            if isinstance(value, list | dict) and len(value) > 1:
                parts.append(f"{field.name}[{len(value)}]")
            elif field.name != "config" and len(repr(value)) <= 60:
                parts.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclasses.dataclass(frozen=True, repr=False)
class Curve(Brief):
    """A curve with its band."""

    name: str  # key of the method, or of what else varies between the curves of a panel
    x: list[float]
    middle: list[float]  # mean or median over seeds, as the figure says
    low: list[float]  # lower end of the band at each of them
    high: list[float]  # upper end


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with the 2.5 and 97.5 % points of its bootstrap."""

    value: float
    low: float
    high: float


def curve(name: str, x: Any, band: tuple[Any, Any, Any]) -> Curve:
    """Return a curve of plain numbers; the band is (middle, low, high), each as long as ``x``."""
    return Curve(name, *(np.asarray(each, float).tolist() for each in (x, *band)))


def quantiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, 10 % and 90 % quantile over axis 0, the seeds."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    return middle, low, high


def bootstrap(
    values: Any, statistic: Callable[..., Any] = np.mean, *, seed: Any = 0, resamples: int = 1000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a statistic over seeds and its 95 % bootstrap interval (percentiles).

    Args:
      values: ``[S, ...]``.
      statistic: ``statistic(values, axis=axis)``.
      seed: of the draws, as ``numpy.random.default_rng`` takes it.
    """
    values = np.asarray(values, float)
    rows = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(statistic(values[rows], axis=1), ENDS, axis=0)
    return statistic(values, axis=0), low, high


def bootstrap_ratio(
    top: np.ndarray, bottom: np.ndarray, *, seed: Any, resamples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Σ top / Σ bottom over clusters and its 95 % interval (percentiles) over resampled clusters.

    Args:
      top: ``[C, ...]`` of each cluster.
      bottom: likewise, >= 0, with a sum above 0; ones make the ratio a mean.
    """
    counts = np.random.default_rng(seed).multinomial(
        len(top), np.full(len(top), 1 / len(top)), size=resamples
    )
    above, below = counts @ top, counts @ bottom
    drawn = np.divide(above, below, out=np.zeros(above.shape), where=below > 0)
    low, high = np.quantile(drawn, ENDS, axis=0)
    return top.sum(0) / bottom.sum(0), low, high


def check_seeds(seeds: int, most: int = 1000, *, least: int = 1) -> None:
    """Raise ``InputError`` unless ``least <= seeds <= most``."""
    if not least <= seeds <= most:
        raise InputError(
            f"seeds is {seeds}, but it must be in {least}..{most}; give --seeds {least + 7}, say"
        )


def check_known(names: tuple[str, ...], known: Any, what: str) -> None:
    """Raise ``InputError`` unless all names are known ones."""
    for name in names:
        if name not in known:
            raise InputError(f"{name!r} is no {what}; known are {', '.join(known)}")


def announced(run: Callable[[Any, Announce], R]) -> Callable[..., R]:
    """Let ``run(config, progress)`` show a bar of its own where no ``progress`` is given."""

    @functools.wraps(run)
    def shown(config: Any, progress: Announce | None = None) -> R:
        if progress is not None:
            return run(config, progress)
        with contextlib.closing(Progress()) as bar:
            return run(config, bar)

    return shown
