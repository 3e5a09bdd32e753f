"""Parts of figures that several draw: the sheet, a curve with its band, lines of theory, labels, legends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette
from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from experiments.figures.shared.curves import Curve

DASHED: Any = (0, (4, 2))
DOTTED: Any = (0, (1.5, 1.5))
COLUMN = 9.0  # inches of a page or notebook at 100 dots an inch, to which wider figures are shrunk
POINTS = 7.5  # size of letters in that column


@contextlib.contextmanager
def sheet(width: float, height: float, finding: str = "", *, points: float = POINTS) -> Iterator[Figure]:
    """Make a figure that has its parts arranged by matplotlib, and closed afterwards: no window opens.

    Args:
      width: inches; the letters of figures wider than ``COLUMN`` grow, to stay readable when it is shrunk.
      finding: what the figure shows, in a sentence above it.
      points: size of its letters at that width of a column, or below it.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    size = points * max(1.0, width / COLUMN)
    look: Any = {name: size for name in ("font.size", "axes.labelsize", "legend.fontsize")}
    look |= {"axes.titlesize": size + 0.5, "xtick.labelsize": size - 0.5, "ytick.labelsize": size - 0.5}
    with matplotlib.rc_context({**STYLE, **look}):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        if finding:
            figure.suptitle(finding, x=0.005, ha="left", weight="bold", fontsize=size + 1.5)
        yield figure
        plt.close(figure)


def letters(factor: float = 1.0) -> float:
    """Return a size of letters in the sheet that is being drawn."""
    import matplotlib

    return factor * float(matplotlib.rcParams["font.size"])


def draw(axes: Axes, curve: Curve, *, band: bool = True, unit: float = 1.0, **look: Any) -> None:
    """Draw a curve and its band, in the colour of its method unless ``color`` says another."""
    colour = look.pop("color", None) or palette.colour(curve.name)
    low, middle, high = (np.asarray(each) / unit for each in (curve.low, curve.middle, curve.high))
    if band:
        axes.fill_between(curve.x, low, high, color=colour, alpha=0.15, lw=0)
    axes.plot(curve.x, middle, color=colour, **look)


def error_bars(axes: Axes, curve: Curve, **look: Any) -> None:
    """Draw a curve as marks with bars for its interval."""
    colour = look.pop("color", None) or palette.colour(curve.name)
    middle = np.asarray(curve.middle)
    spread = np.stack([middle - curve.low, np.asarray(curve.high) - middle]).clip(0)
    settings = {"marker": "o", "markersize": 3.5, "capsize": 2, "elinewidth": 0.8, **look}
    axes.errorbar(curve.x, middle, yerr=spread, color=colour, **settings)


def log_log(axes: Axes, x: str, y: str) -> None:
    """Give both axes logarithmic scales and their labels."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def reference_line(axes: Axes, x: Any, y: Any, text: str, *, at: int = -1, **place: Any) -> None:
    """Draw a line of theory, dotted, with its name beside the point ``at``."""
    axes.plot(x, y, color=palette.THEORY, linestyle=DOTTED, linewidth=1.0, zorder=1)
    note(axes, text, (x[at], y[at]), **{"xytext": (3, 4), "color": palette.THEORY, **place})


def note(axes: Axes, text: str, place: tuple[float, float], **look: Any) -> None:
    """Write beside a point; ``xytext`` is the offset in points."""
    axes.annotate(text, place, **{"textcoords": "offset points", "fontsize": letters(0.95), **look})


def label_ends(
    axes: Axes, ends: list[tuple[str, str, float]], *, gap: float = 0.075, x: float = 1.02
) -> None:
    """Write labels beside the right end of curves, moved apart where they would overlap.

    Args:
      axes: with its scales and limits set.
      ends: (text, colour, height in data coordinates) each.
      gap: least distance of two labels, as a share of the axis.
      x: where, as a share of the axis.
    """
    low, high = axes.get_ylim()
    left, scale = axes.get_xlim()[0], axes.transData.transform
    bottom, top = scale((left, low))[1], scale((left, high))[1]
    places = [
        float((scale((left, min(max(height, low), high)))[1] - bottom) / (top - bottom))
        for _, _, height in ends
    ]
    for (label, colour, _), height in zip(ends, spread(places, gap), strict=True):
        axes.text(
            x, height, label, color=colour, transform=axes.transAxes, va="center", fontsize=letters(0.95)
        )


def spread(places: list[float], gap: float) -> list[float]:
    """Move numbers in [0, 1] apart until neighbours differ by ``gap``; their order is kept.

    >>> [round(place, 3) for place in spread([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, float)[order]
    for _ in range(200):
        short = gap - np.diff(moved)
        if (short <= 1e-9).all():
            break
        push = np.maximum(short, 0) / 2
        moved[:-1] -= push
        moved[1:] += push
    # never above the top, nor below the bottom
    moved = np.minimum(moved, 1 - gap * np.arange(len(moved))[::-1])
    moved = np.maximum(moved, gap * np.arange(len(moved)))
    placed = np.empty_like(moved)
    placed[order] = moved
    return [float(place) for place in placed]


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis from low to high at 1 and 3 times powers of ten, as plain numbers."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [tick for tick in np.sort(np.concatenate([powers, 3 * powers])) if low <= tick <= high]
    if len(ticks) > 6:
        ticks = [tick for tick in powers if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def handle(label: str, color: str, **look: Any) -> Any:
    """Return a line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, color=color, **look)


def patch(label: str, **look: Any) -> Any:
    """Return a coloured field for a legend."""
    from matplotlib.patches import Patch

    return Patch(label=label, **look)


def legend_below(figure: Any, handles: list[Any], columns: int, **more: Any) -> None:
    """Put a legend below all panels of a figure (or of a part of one)."""
    figure.legend(handles=handles, loc="outside lower center", ncol=columns, **more)
