"""Draw the figure of offline learning and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import estimate, markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.vpo_offline.run import Panel, Result

LABELS = {"vpo": "VPO, pessimistic", "dpo": "DPO", "ipo": "IPO", "slic": "SLiC"}


def plot(result: Result) -> Figure:
    """Return the figure: suboptimality over N and over two coverage coefficients."""
    config = result.config
    titles = (
        ("(a) poor coverage; with exponents of N", "N, labelled pairs"),
        (f"(b) π* loses coverage, N = {config.covered}", r"$C^\star = \max\,\pi^\star/\pi_b$"),
        (f"(c) only others lose it, N = {config.covered}", r"$\max\,\pi/\pi_b$ over all policies $\pi$"),
    )
    better = result.panels[0].better[-1]
    finding = (
        f"On poorly covered data pessimism pays: VPO is better than DPO in {better:.0%} of the largest sets"
    )
    with panels.sheet(12.6, 4.4, finding) as figure:
        grid = figure.subplots(1, 3)
        for axes, panel, (title, label) in zip(grid, result.panels, titles, strict=True):
            axes.set_title(title, loc="left")
            _draw(axes, panel)
            axes.set_xlabel(label)
        grid[0].set_ylabel("suboptimality J(π*) - J(π)")
        vpo = result.panels[0].curves[0]
        x = np.asarray(vpo.x)
        line = 0.6 * vpo.middle[0] * (x / x[0]) ** -0.5
        panels.reference_line(grid[0], x, line, r"$N^{-1/2}$", at=1, xytext=(-36, -8))
        for axes, panel in zip(grid, result.panels, strict=True):
            _labels(axes, panel, result.exponents if panel is result.panels[0] else None)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for curve in panel.curves:
        panels.draw(axes, curve, marker="o", markersize=3)
    x = panel.curves[0].x
    axes.plot(x, panel.start, color=palette.THEORY, linestyle=panels.DASHED, linewidth=1.0)
    axes.set_xlim(min(x), max(x))
    panels.plain_ticks(axes.xaxis, *axes.get_xlim())
    panels.plain_ticks(axes.yaxis, *axes.get_ylim())


def _labels(axes: Axes, panel: Panel, exponents: list[float] | None) -> None:
    ends = []
    for index, curve in enumerate(panel.curves):
        label = LABELS[curve.name] + ("" if exponents is None else f" {exponents[index]:.2f}")
        ends.append((label, palette.colour(curve.name), curve.middle[-1]))
    ends.append(("reference", palette.THEORY, panel.start[-1]))
    panels.label_ends(axes, ends)


def table(result: Result) -> str:
    """Return the Markdown table, one row a point; intervals are 95 % bootstrap over seeds."""
    names = [LABELS[curve.name] for curve in result.panels[0].curves]
    rows = []
    for panel in result.panels:
        for index, coverage in enumerate(panel.best_coverage):
            cells = [estimate(curve, index, ".4f") for curve in panel.curves]
            about = [panel.name, f"{panel.curves[0].x[index]:.4g}", f"{coverage:.3g}"]
            rows.append([*about, *cells, f"{panel.start[index]:.4f}", f"{panel.better[index]:.0%} of seeds"])
    slopes = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, result.exponents, strict=True))
    lines = markdown(["panel", "x", "C*", *names, "reference", "VPO better than DPO"], rows)
    return "\n".join([*lines, "", f"Exponents in N: {slopes}."]) + "\n"
