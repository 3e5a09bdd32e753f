"""Draw the figure of VPO on bandits and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown, span
from experiments.figures.vpo_bandit.run import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.vpo_bandit.run import Panel, Result


def plot(result: Result) -> Figure:
    """Return the figure: a row a problem, a column a β, and the wall at the right."""
    betas = list(result.config.betas)
    problems = list(dict.fromkeys(panel.problem for panel in result.panels))
    finding = (
        f"VPO leaves a bad arm after exp({result.slope:.2f}/β) rounds; XPO, which draws the reference, soon"
    )
    with panels.sheet(3.7 * len(betas) + 3.8, 3.4 * len(problems) + 0.8, finding) as figure:
        grid = figure.add_gridspec(len(problems), len(betas) + 1)
        for panel in result.panels:
            row, column = problems.index(panel.problem), betas.index(panel.beta)
            axes = figure.add_subplot(grid[row, column])
            _draw(axes, panel)
            if column == 0:
                axes.set_ylabel(f"{panel.problem}\ncumulative regret")
            pairs = (result.config.pairs, result.config.linear_pairs)[panel.problem != PROBLEMS[0]]
            axes.set_xlabel(f"rounds of {pairs} labelled pairs")
        _wall(figure.add_subplot(grid[:, -1]), result)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(f"β = {panel.beta:g}; numbers are exponents of T", loc="left")
    for curve in panel.curves:
        panels.draw(axes, curve)
    x = np.asarray(panel.curves[0].x)
    axes.set_xlim(0, x[-1])
    axes.set_ylim(0, max(max(curve.high) for curve in panel.curves))
    least = min(curve.middle[-1] for curve in panel.curves)
    panels.reference_line(axes, x, 0.7 * least * np.sqrt(x / x[-1]), r"$\sqrt{T}$", xytext=(-16, -14))
    ends = []
    for curve, exponent in zip(panel.curves, panel.exponent, strict=True):
        style = palette.style(curve.name)
        ends.append((f"{style.label} {exponent:.2f}", style.colour, curve.middle[-1]))
    panels.label_ends(axes, ends, gap=0.08)


def _wall(axes: Axes, result: Result) -> None:
    axes.set_title("bad rare arm: rounds until it is left", loc="left")
    axes.set_yscale("log")
    vpo, xpo = result.wall
    for curve in (vpo, xpo):
        panels.error_bars(axes, curve)
    caps, x, colour = np.asarray(result.caps, float), np.asarray(vpo.x), palette.colour("vpo")
    stopped = np.asarray(vpo.middle) >= 0.9 * caps
    axes.plot(x[stopped], caps[stopped], "^", color=colour, markersize=8, mfc="white")
    if stopped.any():
        look: Any = {"transform": axes.transAxes, "color": palette.THEORY, "ha": "right"}
        axes.text(0.97, 0.02, "△: at the cap", fontsize=panels.letters(0.95), **look)
    middle = len(x) // 2
    line = vpo.middle[middle] * np.exp(7 / 8 * (x - x[middle]))
    panels.reference_line(axes, x, line, "slope 7/8", at=-2, xytext=(-50, 8))
    words = f"VPO\nslope {result.slope:.3f}"
    axes.text(x[middle] - 0.25, 2.2 * vpo.middle[middle], words, color=colour, ha="right")
    axes.text(x[-1], 1.7 * max(xpo.high[-1], 1), "XPO", color=palette.colour("xpo"), ha="right")
    axes.set_xlabel("1/β")
    axes.set_ylabel("rounds at gap ≥ 1/16 (median)")


def table(result: Result) -> str:
    """Return the Markdown tables of regret and of the wall; intervals are 95 % bootstrap over seeds."""
    header = [
        "problem",
        "β",
        "method",
        "rounds",
        "cumulative regret",
        "interval",
        "exponent over the last 3/4",
    ]
    rows: list[Any] = []
    for panel in result.panels:
        for curve, exponent in zip(panel.curves, panel.exponent, strict=True):
            about = [panel.problem, f"{panel.beta:g}", palette.label(curve.name), f"{curve.x[-1]:g}"]
            ends = span(curve.low[-1], curve.high[-1], ".3g")
            rows.append([*about, f"{curve.middle[-1]:.3g}", ends, f"{exponent:.2f}"])
    lines = [*markdown(header, rows), ""]
    rows = []
    for curve in result.wall:
        for index, inverse_beta in enumerate(curve.x):
            cap = result.caps[index] if curve.name == "vpo" else min(result.caps)
            about = [f"{inverse_beta:g}", palette.label(curve.name), f"{curve.middle[index]:.0f}"]
            rows.append([*about, span(curve.low[index], curve.high[index], ".0f"), cap])
    lines += markdown(["1/β", "method", "median rounds at gap >= 1/16", "interval", "cap"], rows)
    lines += ["", f"Slope of the logarithm for VPO: {result.slope:.4f}, theory 7/8 for small β."]
    return "\n".join(lines) + "\n"
