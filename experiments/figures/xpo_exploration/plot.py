"""Draw the XPO exploration figure and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import estimate, markdown, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.xpo_exploration.run import Result

STYLES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))  # one a β
ARMS = {"good": "0.35", "bad": "0.72"}
PROGRAMS = {
    ("on-policy", False): "on-policy pairs,\nno bonus (online DPO)",
    ("on-policy", True): "on-policy pairs,\nbonus (VPO)",
    ("reference", False): "reference draw,\nno bonus (DPO, ref.)",
    ("reference", True): "reference draw,\nbonus (XPO)",
}


def plot(result: Result) -> Figure:
    """Return the figure: rounds over 1/β, regret over T, the ablation, the sweep of the optimism."""
    finding = "XPO finds a good arm that online DPO needs exp(1/(8β)) rounds to find"
    with panels.sheet(9.6, 7.4, finding) as figure:
        grid = figure.subplots(2, 2)
        titles = [
            _rounds(grid[0, 0], result),
            _regret(grid[0, 1], result),
            _ablation(grid[1, 0], result),
            _sweep(grid[1, 1], result),
        ]
        for axes, letter, title in zip(grid.flat, "abcd", titles, strict=True):
            axes.set_title(f"({letter}) {title}", loc="left")
    return figure


def _rounds(axes: Axes, result: Result) -> str:
    dpo, xpo = result.rounds
    axes.set_yscale("log")
    for curve in (dpo, xpo):
        panels.error_bars(axes, curve)
    caps, x = np.asarray(result.caps, float), np.asarray(dpo.x)
    stopped = np.asarray(dpo.high) >= 0.99 * caps
    colour = palette.colour("dpo")
    axes.plot(x[stopped], caps[stopped], "^", color=colour, markersize=6, mfc="white")
    middle = len(x) // 2
    line = dpo.middle[middle] * np.exp((x - x[middle]) / 8)
    panels.reference_line(axes, x, line, "slope 1/8", at=middle, xytext=(8, -14))
    words = f"{palette.label('dpo')}\nslope {result.wall:.3f}"
    axes.text(x[middle] - 2, 3.2 * dpo.middle[middle], words, color=colour, ha="right")
    place = (x[middle - 1], xpo.middle[middle - 1])
    panels.note(axes, palette.label("xpo"), place, xytext=(8, -14), color=palette.colour("xpo"))
    axes.set_xlabel("1/β")
    axes.set_ylabel("rounds at gap ≥ 1/8 (25 % quantile)")
    if stopped.any():
        look: Any = {"transform": axes.transAxes, "color": palette.THEORY, "ha": "right"}
        axes.text(0.9, 0.94, "△: interval reaches the cap", fontsize=panels.letters(0.95), **look)
    return "rounds until the good rare arm is found"


def _regret(axes: Axes, result: Result) -> str:
    panels.log_log(axes, "T, rounds (one labelled pair each)", "mean gap over T rounds")
    betas = list(dict.fromkeys(panel.inverse_beta for panel in result.regret))
    for panel in result.regret:
        style = STYLES[betas.index(panel.inverse_beta) % len(STYLES)]
        # the intervals of the three β are nearly one: one band says it
        panels.draw(axes, panel.curve, linestyle=style, band=panel.inverse_beta == betas[0])
    xpo = [panel for panel in result.regret if panel.curve.name == "xpo"]
    first = xpo[0].curve
    x = np.asarray(first.x)
    line = 0.6 * first.middle[0] * (x / x[0]) ** -0.5
    panels.reference_line(axes, x, line, r"$T^{-1/2}$", at=1, xytext=(-22, -14))
    for index, beta in enumerate(betas):
        axes.plot([], [], color="0.2", linestyle=STYLES[index % len(STYLES)], label=f"1/β = {beta}")
    axes.legend(loc="lower left")
    exponents = [panel.exponent for panel in xpo]
    words = f"XPO, exponents {min(exponents):.2f} to {max(exponents):.2f}"
    panels.note(axes, words, (x[1], first.high[1]), xytext=(4, 8), color=palette.colour("xpo"))
    lowest = min(panel.curve.low[-1] for panel in result.regret if panel.curve.name == "dpo")
    look: Any = {"xytext": (0, -14), "ha": "right", "color": palette.colour("dpo")}
    panels.note(axes, palette.label("dpo"), (x[-1], lowest), **look)
    return "mean regret, good and bad arm averaged"


def _ablation(axes: Axes, result: Result) -> str:
    config = result.config
    settings = list(dict.fromkeys((cell.draw, cell.bonus) for cell in result.ablation))
    arms = list(dict.fromkeys(cell.arm for cell in result.ablation))
    for cell in result.ablation:
        row, column = settings.index((cell.draw, cell.bonus)), arms.index(cell.arm)
        place = len(settings) - 1 - row + 0.18 * (1 - 2 * column)
        spread = [[max(cell.solved - cell.low, 0)], [max(cell.high - cell.solved, 0)]]
        bars = {"elinewidth": 0.8, "capsize": 2, "ecolor": "0.2"}
        axes.barh(place, cell.solved, xerr=spread, height=0.32, color=ARMS[cell.arm], error_kw=bars)
        words = f"{cell.arm} arm: gap {cell.gap:.2f}"
        axes.text(max(cell.high, 0) + 0.025, place, words, va="center", fontsize=panels.letters(0.95))
    axes.set_yticks(range(len(settings)), [PROGRAMS[setting] for setting in settings[::-1]])
    axes.set_xlim(0, 1.5)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("share of seeds with final gap < 1/8 (text: median final gap)")
    return f"what solves it: 1/β = {config.ablation_inverse_beta}, T = {config.ablation_rounds}"


def _sweep(axes: Axes, result: Result) -> str:
    config, colour = result.config, palette.colour("xpo")
    axes.set_xscale("log")
    good, bad = (
        next(each.curve for each in result.sweep if (each.arm, each.curve.name) == (arm, "xpo"))
        for arm in ("good", "bad")
    )
    panels.draw(axes, good, linewidth=0.9)
    panels.note(axes, "XPO, good arm", (good.x[0], good.middle[0]), xytext=(0, 9), color=colour)
    panels.draw(axes, bad, linestyle=STYLES[1], linewidth=0.9)
    look: Any = {"xytext": (-4, 0), "ha": "right", "color": colour}
    panels.note(axes, "XPO, bad arm", (bad.x[-1], bad.middle[-1]), **look)
    x, mean = good.x, (np.asarray(good.middle) + bad.middle) / 2
    axes.plot(x, mean, color=colour, linewidth=2.4)
    panels.note(axes, "mean of both", (x[-2], mean[-2]), xytext=(-12, -18), color=colour, weight="bold")
    flipped = next(each for each in result.sweep if (each.arm, each.curve.name) == ("good", "xpo_flipped"))
    panels.draw(axes, flipped.curve, marker="x", markersize=4, linestyle=":")
    worst = min(flipped.failed)
    fails = f"{worst:.0%} of seeds fail" if worst < 1 else "every seed fails"
    panels.note(axes, f"flipped sign, good arm: {fails}", (x[0], flipped.curve.middle[0]), xytext=(0, 6))
    theory = 0.6 / np.sqrt(config.sweep_rounds)
    axes.axvline(theory, color=palette.THEORY, linestyle=panels.DOTTED, linewidth=1.0)
    place = (theory, axes.get_ylim()[1])
    panels.note(axes, r"$0.6/\sqrt{T}$, as used", place, xytext=(3, -10), color=palette.THEORY)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("α/β")
    axes.set_ylabel("mean gap over T rounds")
    return f"optimism α: 1/β = {config.sweep_inverse_beta}, T = {config.sweep_rounds}"


def table(result: Result) -> str:
    """Return the Markdown tables of the four panels; intervals are 95 % bootstrap over seeds."""
    horizons, optimism = result.config.horizons, result.config.optimism
    rows: list[Any] = []
    for curve in result.rounds:
        for index, beta in enumerate(curve.x):
            cap = result.caps[index] if curve.name == "dpo" else horizons[-1]
            ends = span(curve.low[index], curve.high[index], ".0f")
            rows.append([f"{beta:g}", palette.label(curve.name), f"{curve.middle[index]:.0f}", ends, cap])
    lines = markdown(["1/β", "method", "rounds at gap >= 1/8, 25 % quantile", "interval", "cap"], rows)
    lines += ["", f"Slope of the logarithm for online DPO: {result.wall:.4f}, theory 1/8.", ""]
    head = [f"T = {horizon}" for horizon in horizons]
    lines += markdown(
        ["1/β", "method", *head, "exponent"],
        [
            [
                panel.inverse_beta,
                palette.label(panel.curve.name),
                *_points(panel.curve),
                f"{panel.exponent:.2f}",
            ]
            for panel in result.regret
        ],
    )
    lines += [
        "",
        *markdown(
            ["rare arm", "second draw", "bonus", "median final gap", "solved", "interval"],
            [
                [
                    cell.arm,
                    cell.draw,
                    "on" if cell.bonus else "off",
                    f"{cell.gap:.3f}",
                    f"{cell.solved:.0%}",
                    span(cell.low, cell.high, ".0%"),
                ]
                for cell in result.ablation
            ],
        ),
    ]
    head = [f"α/β = {alpha:g}" for alpha in optimism]
    rows = [
        [
            each.arm,
            palette.label(each.curve.name),
            *_points(each.curve),
            ", ".join(f"{share:.0%}" for share in each.failed),
        ]
        for each in result.sweep
    ]
    lines += ["", *markdown(["rare arm", "method", *head, "seeds that fail"], rows)]
    return "\n".join(lines) + "\n"


def _points(curve: Any) -> list[str]:
    return [estimate(curve, index) for index in range(len(curve.x))]
