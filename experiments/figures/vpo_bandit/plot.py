"""Draw the figure of VPO on bandits and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.figures.shared import panels
from experiments.figures.shared.learner_styles import STYLES
from experiments.figures.vpo_bandit.run import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.vpo_bandit.run import Panel, Result


def plot(result: Result) -> Figure:
    """Return the figure: a row a problem, a column a β, and the wall at the right."""
    import matplotlib
    import matplotlib.pyplot as plt

    betas = list(result.config.betas)
    problems = list(dict.fromkeys(panel.problem for panel in result.panels))
    with matplotlib.rc_context(panels.LOOK):
        figure = plt.figure(figsize=(3.7 * len(betas) + 3.8, 6.6))
        widths = [1.0, 0.66] * len(betas) + [0.1, 1.2]
        grid = figure.add_gridspec(len(problems), len(widths), width_ratios=widths, wspace=0.12, hspace=0.36)
        for panel in result.panels:
            row, column = problems.index(panel.problem), betas.index(panel.beta)
            axes = figure.add_subplot(grid[row, 2 * column])
            _draw(axes, panel)
            if column == 0:
                axes.set_ylabel(f"{panel.problem}\ncumulative regret")
            pairs = (result.config.pairs, result.config.linear_pairs)[panel.problem != PROBLEMS[0]]
            axes.set_xlabel(f"rounds of {pairs} labelled pairs")
        _wall(figure.add_subplot(grid[:, -1]), result)
        plt.close(figure)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(f"β = {panel.beta:g}", loc="left")
    for curve in panel.curves:
        panels.draw(axes, curve)
    top = max(max(curve.high) for curve in panel.curves)
    x = np.asarray(panel.curves[0].x)
    axes.set_xlim(0, x[-1])
    axes.set_ylim(0, top)
    least = min(curve.middle[-1] for curve in panel.curves)
    panels.reference_line(axes, x, 0.7 * least * np.sqrt(x / x[-1]), r"$\sqrt{T}$", at=-1, xytext=(-16, -12))
    ends = [
        (f"{STYLES[curve.method].label} {exponent:.2f}", STYLES[curve.method].colour, curve.middle[-1])
        for curve, exponent in zip(panel.curves, panel.exponent, strict=True)
    ]
    panels.label_ends(axes, ends, gap=0.072)


def _wall(axes: Axes, result: Result) -> None:
    axes.set_title("bad rare arm: rounds until it is left", loc="left")
    axes.set_yscale("log")
    vpo, xpo = result.wall
    for curve in (vpo, xpo):
        panels.error_bars(axes, curve)
    caps = np.asarray(result.caps, float)
    x = np.asarray(vpo.x)
    stopped = np.asarray(vpo.middle) >= 0.9 * caps
    axes.plot(x[stopped], caps[stopped], "^", color=STYLES["vpo"].colour, markersize=8, mfc="white")
    if stopped.any():
        axes.text(0.97, 0.02, "△: at the cap", transform=axes.transAxes, ha="right", fontsize=8, color="0.25")
    middle = len(x) // 2
    line = vpo.middle[middle] * np.exp(7 / 8 * (x - x[middle]))
    panels.reference_line(axes, x, line, "slope 7/8", at=-2, xytext=(-44, 8))
    axes.text(
        x[middle] - 0.25,
        2.2 * vpo.middle[middle],
        f"VPO\nslope {result.slope:.3f}",
        color=STYLES["vpo"].colour,
        ha="right",
    )
    axes.text(x[-1], 1.7 * max(xpo.high[-1], 1), "XPO", color=STYLES["xpo"].colour, ha="right")
    axes.set_xlabel("1/β")
    axes.set_ylabel("rounds at gap ≥ 1/16 (median)")


def table(result: Result) -> str:
    """Return the Markdown tables of regret and of the wall; intervals are 95 % bootstrap over seeds."""
    lines = [
        "| problem | β | method | rounds | cumulative regret | interval | exponent over the last 3/4 |",
        "|---|---|---|---|---|---|---|",
    ]
    for panel in result.panels:
        for curve, exponent in zip(panel.curves, panel.exponent, strict=True):
            lines.append(
                f"| {panel.problem} | {panel.beta:g} | {STYLES[curve.method].label} | {curve.x[-1]:g} | "
                f"{curve.middle[-1]:.3g} | {curve.low[-1]:.3g} to {curve.high[-1]:.3g} | {exponent:.2f} |"
            )
    lines += ["", "| 1/β | method | median rounds at gap >= 1/16 | interval | cap |", "|---|---|---|---|---|"]
    for curve in result.wall:
        for index, inverse_beta in enumerate(curve.x):
            cap = result.caps[index] if curve.method == "vpo" else min(result.caps)
            lines.append(
                f"| {inverse_beta:g} | {STYLES[curve.method].label} | {curve.middle[index]:.0f} | "
                f"{curve.low[index]:.0f} to {curve.high[index]:.0f} | {cap} |"
            )
    lines += ["", f"Slope of the logarithm for VPO: {result.slope:.4f}, theory 7/8 for small β."]
    return "\n".join(lines) + "\n"
