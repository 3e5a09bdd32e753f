"""Draw the slack figure and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.slack.run import Instance, Panel, Result

COLUMNS = 6
LOWEST = 1e-6  # a bound a million times too high is loose, however loose
STATUS = {"theorem": "published theorem", "derived": "derived here", "empirical": "empirical"}
BAND, WORST, ADVERSARIAL = "#7A8CA3", "#4B0082", "#C2185B"  # of the bank and the search; no method has them
MEDIAN: Any = {"color": BAND, "linestyle": (0, (5, 1.5))}
FOUND: Any = {"color": ADVERSARIAL, "marker": "o", "markersize": 4}
BOUND: Any = {"color": "black", "linewidth": 0.8, "linestyle": ":"}


def plot(result: Result) -> Figure:
    """Return the figure: one panel a claim, grouped by method.

    The grey line and band are the median and the 10 to 90 % quantiles of the bank at the longest step that
    the claim covers, violet its worst instance, red the one found by gradient search; the line at 1 is the
    bound. The numbers are the largest ratios of the two.
    """
    places = layout(result.panels)
    rows = 1 + max(row for row, _ in places)
    highest = max(each.highest for panel in result.panels for each in (panel.worst, panel.adversarial))
    finding = f"The largest measured / bound of {len(result.panels)} claims is {near_one(highest)}"
    with panels.sheet(10.8, 2.2 * rows + 0.9, f"{finding} (1: attained; above: false)") as figure:
        grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        drawn: set[str] = set()
        for panel, (row, column) in zip(result.panels, places, strict=True):
            axes = grid[row, column]
            axes.set_visible(True)
            _draw(axes, panel)
            method = panel.name.split(".")[0]
            if method not in drawn:
                style = palette.style(method)
                look = {"color": style.colour, "weight": "bold", "annotation_clip": False}
                axes.annotate(style.label, (0, 1.34), xycoords="axes fraction", **look)
            drawn.add(method)
            if column == 0:
                axes.set_ylabel("measured / bound")
            if (row + 1, column) not in places:
                axes.tick_params(labelbottom=True)
                axes.set_xlabel("step")
        handles = [
            panels.handle("median of the bank", **MEDIAN),
            panels.patch("its 10 to 90 %", color=BAND, alpha=0.3),
            panels.handle("its worst instance", WORST),
            panels.handle("found by gradient search", **FOUND),
            panels.handle("the bound", **BOUND),
        ]
        panels.legend_below(figure, handles, 5)
    return figure


def layout(claims: list[Panel]) -> list[tuple[int, int]]:
    """Return row and column of every panel: a method stays together, in the first row with room for it."""
    methods: dict[str, int] = {}
    for panel in claims:
        method = panel.name.split(".")[0]
        methods[method] = methods.get(method, 0) + 1
    free: list[int] = []
    first: dict[str, tuple[int, int]] = {}
    for method in sorted(methods, key=lambda name: -methods[name]):
        row = next((row for row, room in enumerate(free) if room >= methods[method]), len(free))
        if row == len(free):
            free.append(COLUMNS)
        first[method] = (row, COLUMNS - free[row])
        free[row] -= methods[method]
    places, seen = [], dict.fromkeys(methods, 0)
    for panel in claims:
        method = panel.name.split(".")[0]
        row, column = first[method]
        places.append((row, column + seen[method]))
        seen[method] += 1
    return places


def _draw(axes: Axes, panel: Panel) -> None:
    step = np.arange(1, len(panel.median) + 1)
    low, high = _numbers(panel.low), _numbers(panel.high)
    # where the lower quantile is at the floor of rounding, the band reaches the end of the axis
    low = np.where(np.isnan(low) & ~np.isnan(high), LOWEST / 10, low)
    axes.fill_between(step, low, high, color=BAND, alpha=0.3, lw=0)
    axes.plot(step, _numbers(panel.median), **MEDIAN)
    axes.plot(step, _numbers(panel.worst.ratio), color=WORST)
    axes.plot(step, _numbers(panel.adversarial.ratio), color=ADVERSARIAL, linewidth=1.0)
    axes.plot(panel.adversarial.step, panel.adversarial.highest, **FOUND)
    axes.axhline(1.0, **BOUND)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, len(step))
    axes.set_ylim(LOWEST, 4)
    axes.set_yticks([1e-6, 1e-4, 1e-2, 1.0])
    axes.minorticks_off()
    axes.set_title(f"{panel.name.split('.', 1)[1]}\n{STATUS[panel.status]}", loc="left")
    for level, instance, colour in ((0.17, panel.adversarial, ADVERSARIAL), (0.03, panel.worst, WORST)):
        axes.text(
            0.04,
            level,
            near_one(instance.highest),
            transform=axes.transAxes,
            color=colour,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6},
        )


def near_one(ratio: float) -> str:
    """Show a ratio in three digits, and its distance from 1 where three digits would hide it.

    >>> near_one(0.31525), near_one(0.99999841), near_one(0.00414), near_one(1.0)
    ('0.315', '1 - 1.6e-06', '0.0041', '1')
    """
    if 0.9995 <= ratio <= 1.0005 and ratio != 1:
        return f"1 {'-' if ratio < 1 else '+'} {abs(1 - ratio):.1e}"
    return f"{ratio:.3g}" if ratio >= 0.01 else f"{ratio:.2g}"


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.asarray([np.nan if value is None else value for value in values])


def table(result: Result) -> str:
    """Return the Markdown table, one row a claim.

    ``worst`` and ``adversarial`` are the largest measured/bound over steps; the median is over the bank at
    the last step (``-``: at the floor of rounding).
    """
    header = ["claim", "status", "instances", "median, last step", "worst", "at step", "of"]
    header += ["adversarial", "at step", "actions", "β", "statement"]
    rows = []
    for panel in result.panels:
        last, worst, found = panel.median[-1], panel.worst, panel.adversarial
        cells = [panel.name, panel.status, panel.instances, "-" if last is None else f"{last:.2g}"]
        cells += [near_one(worst.highest), worst.step, _words(worst), near_one(found.highest), found.step]
        rows.append([*cells, found.about["actions"], f"{found.about['beta']:.3g}", panel.statement])
    return "\n".join(markdown(header, rows)) + "\n"


def _words(instance: Instance) -> str:
    about = instance.about
    return f"{about['game'].replace('_', ' ')}, A = {about['actions']}, β = {about['beta']:.3g}"
