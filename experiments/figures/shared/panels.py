"""Parts of panels that several figures draw: a curve with its band, and labels that keep apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared.learner_styles import STYLES
from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from experiments.figures.shared.exploration import Series

LOOK: Any = {**STYLE, "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5}
LOOK |= {"xtick.labelsize": 8, "ytick.labelsize": 8}


def draw(axes: Axes, curve: Series, *, band: bool = True, **style: Any) -> None:
    """Draw a curve and its interval in the colour of its method."""
    colour = style.pop("color", STYLES[curve.method].colour)
    if band:
        axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.14, lw=0)
    axes.plot(curve.x, curve.middle, color=colour, **style)


def error_bars(axes: Axes, curve: Series, **style: Any) -> None:
    """Draw a curve as marks with bars for its interval."""
    colour = style.pop("color", STYLES[curve.method].colour)
    middle = np.asarray(curve.middle)
    spread = np.stack([middle - curve.low, np.asarray(curve.high) - middle]).clip(0)
    settings = {"marker": "o", "markersize": 3.5, "capsize": 2, "elinewidth": 0.8, **style}
    axes.errorbar(curve.x, middle, yerr=spread, color=colour, **settings)


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
    scale = axes.transData.transform
    bottom, top = scale((axes.get_xlim()[0], low))[1], scale((axes.get_xlim()[0], high))[1]
    places = [
        float((scale((axes.get_xlim()[0], min(max(height, low), high)))[1] - bottom) / (top - bottom))
        for _, _, height in ends
    ]
    heights = spread(places, gap)
    for (label, colour, _), height in zip(ends, heights, strict=True):
        axes.text(x, height, label, color=colour, transform=axes.transAxes, va="center", fontsize=8)


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
    """Label a logarithmic axis at 1 and 3 times powers of ten, as plain numbers, and nowhere else.

    Args:
      axis: ``axes.xaxis`` or ``axes.yaxis``.
      low: lower end of the axis.
      high: upper end.
    """
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [tick for tick in np.sort(np.concatenate([powers, 3 * powers])) if low <= tick <= high]
    if len(ticks) > 6:
        ticks = [tick for tick in powers if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def reference_line(axes: Axes, x: Any, y: Any, text: str, *, at: int = -1, **place: Any) -> None:
    """Draw a theory line, dotted, with its name beside the point ``at``."""
    axes.plot(x, y, color="0.25", linestyle=(0, (1.5, 1.5)), linewidth=1.0, zorder=1)
    settings = {"textcoords": "offset points", "xytext": (3, 4), "fontsize": 8, "color": "0.25", **place}
    axes.annotate(text, (x[at], y[at]), **settings)
