"""Draw the figure of offline learning and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.figures.shared import panels
from experiments.figures.shared.learner_styles import STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.vpo_offline.run import Panel, Result

LABELS = {"vpo": "VPO, pessimistic", "dpo": "DPO", "ipo": "IPO", "slic": "SLiC"}


def plot(result: Result) -> Figure:
    """Return the figure: suboptimality over N and over two coverage coefficients."""
    import matplotlib
    import matplotlib.pyplot as plt

    config = result.config
    titles = (
        "(a) poor coverage, more data",
        f"(b) π* loses coverage, N = {config.covered}",
        f"(c) only other policies lose it, N = {config.covered}",
    )
    axis = (
        "N, labelled pairs",
        r"$C^\star = \max\,\pi^\star/\pi_b$",
        r"$\max\,\pi/\pi_b$ over all policies $\pi$",
    )
    with matplotlib.rc_context(panels.LOOK):
        figure, grid = plt.subplots(1, 3, figsize=(12.6, 3.9))
        for index, (axes, panel) in enumerate(zip(grid, result.panels, strict=True)):
            axes.set_title(titles[index], loc="left")
            _draw(axes, panel)
            axes.set_xlabel(axis[index])
        grid[0].set_ylabel("suboptimality J(π*) - J(π)")
        vpo = result.panels[0].curves[0]
        x = np.asarray(vpo.x)
        line = 0.6 * vpo.middle[0] * (x / x[0]) ** -0.5
        panels.reference_line(grid[0], x, line, r"$N^{-1/2}$", at=1, xytext=(-6, -14))
        for axes, panel in zip(grid, result.panels, strict=True):
            _labels(axes, panel, result.exponents if panel is result.panels[0] else None)
        figure.tight_layout(w_pad=1.5)
        plt.close(figure)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for curve in panel.curves:
        panels.draw(axes, curve, marker="o", markersize=3)
    x = panel.curves[0].x
    axes.plot(x, panel.start, color="0.25", linestyle=(0, (4, 2)), linewidth=1.0)
    axes.set_xlim(min(x), max(x))
    panels.plain_ticks(axes.xaxis, *axes.get_xlim())
    panels.plain_ticks(axes.yaxis, *axes.get_ylim())


def _labels(axes: Axes, panel: Panel, exponents: list[float] | None) -> None:
    ends = []
    for index, curve in enumerate(panel.curves):
        label = LABELS[curve.method] + ("" if exponents is None else f" {exponents[index]:.2f}")
        ends.append((label, STYLES[curve.method].colour, curve.middle[-1]))
    ends.append(("reference", "0.25", panel.start[-1]))
    panels.label_ends(axes, ends)


def table(result: Result) -> str:
    """Return the Markdown table, one row a point; intervals are 95 % bootstrap over seeds."""
    names = [LABELS[curve.method] for curve in result.panels[0].curves]
    lines = [
        f"| panel | x | C* | {' | '.join(names)} | reference | VPO better than DPO |",
        "|" + "---|" * (len(names) + 5),
    ]
    for panel in result.panels:
        for index in range(len(panel.best_coverage)):
            cells = " | ".join(
                f"{curve.middle[index]:.4f} ({curve.low[index]:.4f} to {curve.high[index]:.4f})"
                for curve in panel.curves
            )
            lines.append(
                f"| {panel.name} | {panel.curves[0].x[index]:.4g} | {panel.best_coverage[index]:.3g} "
                f"| {cells} | {panel.start[index]:.4f} | {panel.better[index]:.0%} of seeds |"
            )
    slopes = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, result.exponents, strict=True))
    lines += ["", f"Exponents in N: {slopes}."]
    return "\n".join(lines) + "\n"
