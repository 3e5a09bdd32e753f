"""Draw the figure of transformers on an enumerable language, and its table, from a result alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.figures.language_nash.run import TABLE, TRANSFORMER
from experiments.figures.shared import panels
from experiments.figures.shared.palette import STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.language_nash.run import Panel, Result

LABELS = {name: style.label for name, style in STYLES.items()}
LABELS["nash_md"] += ", mixture of strings"
GOAL = 1e-3
MILLI = 1e-3


def plot(result: Result) -> Figure:
    """Return the figure: a row a length, and in it distance, mixtures along the run, mixtures by weight."""
    finding = "EGPO and Nash Mirror Prox train the transformer to the exact Nash of its language"
    with panels.sheet(11.4, 4.2 * len(result.panels) + 0.4, finding) as figure:
        grid = figure.subplots(len(result.panels), 3, squeeze=False, width_ratios=(1.7, 1, 1))
        for row, panel in zip(grid, result.panels, strict=True):
            _distance(row[0], result, panel)
            _apart(row[1], result, panel)
            _by_weight(row[2], panel)
    return figure


def _distance(axes: Axes, result: Result, panel: Panel) -> None:
    strings = result.config.vocabulary**panel.length
    axes.set_title(f"{strings} strings of {panel.length} tokens: KL(Nash ‖ policy)", loc="left")
    axes.set_yscale("log")
    for curve in panel.distance:
        if curve.world == TABLE:
            panels.draw(axes, curve, linestyle=panels.DASHED, linewidth=1.0)
        else:
            panels.draw(axes, curve, label=LABELS[curve.name], linewidth=1.5)
    axes.plot([], [], color="0.25", linestyle=panels.DASHED, linewidth=1.0, label="the same on a table")
    shown = [curve.low for curve in panel.distance if curve.world == TRANSFORMER]
    bottom = min(min(values) for values in shown)
    axes.set_ylim(min(bottom, GOAL) / 4, 2 * max(panel.start))
    axes.set_xlim(0, result.config.queries)
    axes.axhline(GOAL, color="0.25", linestyle=panels.DOTTED, linewidth=1.0, label=f"goal, {GOAL:g} nats")
    axes.set_xlabel("payoff queries")
    axes.set_ylabel("KL in nats")
    axes.legend(loc="upper right")


def _apart(axes: Axes, result: Result, panel: Panel) -> None:
    weight = result.config.step_size * result.config.beta
    axes.set_title(f"mixtures at weight ηβ = {weight:g}", loc="left")
    for curve in panel.apart:
        panels.draw(axes, curve, unit=MILLI, label=LABELS[curve.name])
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, result.config.queries)
    axes.set_xlabel("payoff queries")
    axes.set_ylabel("KL(of strings ‖ of tokens) in 10⁻³ nats")
    if panel.apart:
        axes.legend(loc="lower right")


def _by_weight(axes: Axes, panel: Panel) -> None:
    axes.set_title("mixtures of the last policy", loc="left")
    for curve in panel.by_weight:
        panels.draw(axes, curve, unit=MILLI, marker="o", markersize=3)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.set_xlabel("weight of the reference")
    axes.set_ylabel("KL(of strings ‖ of tokens) in 10⁻³ nats")


def table(result: Result) -> str:
    """Return the Markdown table of last distances; median, least and largest over languages."""
    lines = [
        "| strings | method | world | queries | KL(Nash ‖ policy) | least | largest | KL(table ‖ model) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for panel in result.panels:
        strings = result.config.vocabulary**panel.length
        start = np.median(panel.start)
        lines.append(
            f"| {strings} | reference | both | 0 | {start:.2e} | {min(panel.start):.2e} | "
            f"{max(panel.start):.2e} | |"
        )
        for curve in panel.distance:
            beside = ""
            if curve.world == TRANSFORMER:
                beside = f"{np.median(panel.agreement[curve.name]):.2e}"
            lines.append(
                f"| {strings} | {LABELS[curve.name]} | {curve.world} | {curve.x[-1]:g} | "
                f"{curve.middle[-1]:.2e} | {curve.low[-1]:.2e} | {curve.high[-1]:.2e} | {beside} |"
            )
    weight = result.config.step_size * result.config.beta
    lines += ["", f"| strings | method | largest KL(mixture of strings ‖ of tokens) at ηβ = {weight:g} |"]
    lines.append("|---|---|---|")
    for panel in result.panels:
        strings = result.config.vocabulary**panel.length
        lines += [f"| {strings} | {LABELS[curve.name]} | {max(curve.high):.2e} |" for curve in panel.apart]
        lines += [
            f"| {strings} | {LABELS[curve.name]}, largest over all weights | {max(curve.high):.2e} |"
            for curve in panel.by_weight
        ]
    return "\n".join(lines) + "\n"
