"""Draw the XPO exploration figure and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import panels
from experiments.figures.shared.learner_styles import STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.xpo_exploration.run import Result

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))  # one a β
ARMS = {"good": "#44AA99", "bad": "#882255"}  # no method has these colours


def plot(result: Result) -> Figure:
    """Return the figure: rounds over 1/β, regret over T, the ablation, the sweep of the optimism."""
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(panels.LOOK):
        figure, grid = plt.subplots(2, 2, figsize=(9.6, 7.0))
        _rounds(grid[0, 0], result)
        _regret(grid[0, 1], result)
        _ablation(grid[1, 0], result)
        _sweep(grid[1, 1], result)
        for axes, letter in zip(grid.flat, "abcd", strict=True):
            axes.set_title(f"({letter}) {axes.get_title()}", loc="left")
            axes.set_title("")
        figure.tight_layout(h_pad=2.0, w_pad=2.0)
        plt.close(figure)
    return figure


def _rounds(axes: Axes, result: Result) -> None:
    dpo, xpo = result.rounds
    axes.set_title("good rare arm: rounds until it is found")
    axes.set_yscale("log")
    for curve in (dpo, xpo):
        panels.error_bars(axes, curve)
    caps = np.asarray(result.caps, float)
    stopped = np.asarray(dpo.high) >= 0.99 * caps
    axes.plot(
        np.asarray(dpo.x)[stopped],
        caps[stopped],
        "^",
        color=STYLES["dpo"].colour,
        markersize=6,
        mfc="white",
    )
    x = np.asarray(dpo.x)
    middle = len(x) // 2
    line = dpo.middle[middle] * np.exp((x - x[middle]) / 8)
    panels.reference_line(axes, x, line, "slope 1/8", at=middle + 1, xytext=(6, -12))
    axes.text(
        x[middle] - 2,
        3.2 * dpo.middle[middle],
        f"{STYLES['dpo'].label}\nslope {result.wall:.3f}",
        color=STYLES["dpo"].colour,
        ha="right",
    )
    axes.text(x[-1], 1.9 * xpo.high[-1] + 2, STYLES["xpo"].label, color=STYLES["xpo"].colour, ha="right")
    axes.set_xlabel("1/β")
    axes.set_ylabel("rounds at gap ≥ 1/8 (25 % quantile)")
    if stopped.any():
        axes.text(
            0.97,
            0.03,
            "△: interval reaches the cap",
            transform=axes.transAxes,
            fontsize=8,
            color="0.25",
            ha="right",
        )


def _regret(axes: Axes, result: Result) -> None:
    axes.set_title("mean regret, good and bad arm averaged")
    axes.set_xscale("log")
    axes.set_yscale("log")
    betas = list(dict.fromkeys(panel.inverse_beta for panel in result.regret))
    for panel in result.regret:
        style = DASHES[betas.index(panel.inverse_beta) % len(DASHES)]
        # the intervals of the three β are nearly one: one band says it
        panels.draw(axes, panel.curve, linestyle=style, band=panel.inverse_beta == betas[0])
    first = next(panel.curve for panel in result.regret if panel.curve.method == "xpo")
    x = np.asarray(first.x)
    panels.reference_line(
        axes, x, 0.6 * first.middle[0] * (x / x[0]) ** -0.5, r"$T^{-1/2}$", at=1, xytext=(-22, -14)
    )
    for index, beta in enumerate(betas):
        axes.plot([], [], color="0.2", linestyle=DASHES[index % len(DASHES)], label=f"1/β = {beta}")
    axes.legend(loc="lower left")
    exponents = [panel.exponent for panel in result.regret if panel.curve.method == "xpo"]
    axes.annotate(
        f"XPO, exponents {min(exponents):.2f} to {max(exponents):.2f}",
        (x[1], first.high[1]),
        textcoords="offset points",
        xytext=(4, 8),
        ha="left",
        color=STYLES["xpo"].colour,
    )
    dpo = [panel.curve for panel in result.regret if panel.curve.method == "dpo"]
    axes.annotate(
        STYLES["dpo"].label,
        (x[-1], min(curve.low[-1] for curve in dpo)),
        textcoords="offset points",
        xytext=(0, -14),
        ha="right",
        color=STYLES["dpo"].colour,
    )
    axes.set_xlabel("T, rounds (one labelled pair each)")
    axes.set_ylabel("mean gap over T rounds")


def _ablation(axes: Axes, result: Result) -> None:
    config = result.config
    axes.set_title(f"what solves it: 1/β = {config.ablation_inverse_beta}, T = {config.ablation_rounds}")
    settings = list(dict.fromkeys((cell.draw, cell.bonus) for cell in result.ablation))
    arms = list(dict.fromkeys(cell.arm for cell in result.ablation))
    for cell in result.ablation:
        row, column = settings.index((cell.draw, cell.bonus)), arms.index(cell.arm)
        place = len(settings) - 1 - row + 0.18 * (1 - 2 * column)
        spread = [[max(cell.solved - cell.low, 0)], [max(cell.high - cell.solved, 0)]]
        axes.barh(
            place,
            cell.solved,
            xerr=spread,
            height=0.32,
            color=ARMS[cell.arm],
            error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": "0.2"},
        )
        axes.text(
            max(cell.high, 0.0) + 0.025, place, f"{cell.arm} arm: gap {cell.gap:.2f}", va="center", fontsize=8
        )
    names = [f"{draw} pairs" if draw == "on-policy" else "reference draw" for draw, _ in settings]
    names = [
        f"{name},\n{'bonus' if bonus else 'no bonus'}"
        for name, (_, bonus) in zip(names, settings, strict=True)
    ]
    methods = ["(online DPO)", "(VPO)", "(DPO, ref.)", "(XPO)"]
    axes.set_yticks(range(len(settings)), [f"{a} {b}" for a, b in zip(names, methods, strict=True)][::-1])
    axes.set_xlim(0, 1.42)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("share of seeds with final gap < 1/8 (text: median final gap)")


def _sweep(axes: Axes, result: Result) -> None:
    config = result.config
    axes.set_title(f"optimism α: 1/β = {config.sweep_inverse_beta}, T = {config.sweep_rounds}")
    axes.set_xscale("log")
    total = None
    for sweep in result.sweep:
        if sweep.curve.method == "xpo_flipped":
            continue
        style: Any = "-" if sweep.arm == "good" else (0, (4, 1.5))
        panels.draw(axes, sweep.curve, linestyle=style, linewidth=0.9)
        total = np.asarray(sweep.curve.middle) if total is None else total + np.asarray(sweep.curve.middle)
        at = 0 if sweep.arm == "good" else -1
        axes.annotate(
            f"XPO, {sweep.arm} arm",
            (sweep.curve.x[at], sweep.curve.middle[at]),
            textcoords="offset points",
            xytext=(0, 9) if sweep.arm == "good" else (-4, 0),
            ha="left" if sweep.arm == "good" else "right",
            color=STYLES["xpo"].colour,
        )
    assert total is not None
    x = np.asarray(config.optimism)
    axes.plot(x, total / 2, color=STYLES["xpo"].colour, linewidth=2.4)
    axes.annotate(
        "mean of both",
        (x[-2], total[-2] / 2),
        textcoords="offset points",
        xytext=(-12, -18),
        color=STYLES["xpo"].colour,
        weight="bold",
    )
    flipped = next(s for s in result.sweep if s.curve.method == "xpo_flipped" and s.arm == "good")
    panels.draw(axes, flipped.curve, marker="x", markersize=4, linestyle=":")
    worst = min(flipped.failed)
    axes.annotate(
        f"flipped sign, good arm: {worst:.0%} of seeds fail"
        if worst < 1
        else "flipped sign, good arm: every seed fails",
        (x[0], flipped.curve.middle[0]),
        textcoords="offset points",
        xytext=(0, 6),
    )
    theory = 0.6 / np.sqrt(config.sweep_rounds)
    axes.axvline(theory, color="0.25", linestyle=(0, (1.5, 1.5)), linewidth=1.0)
    axes.annotate(
        r"$0.6/\sqrt{T}$",
        (theory, axes.get_ylim()[1]),
        textcoords="offset points",
        xytext=(3, -10),
        color="0.25",
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("α/β")
    axes.set_ylabel("mean gap over T rounds")


def table(result: Result) -> str:
    """Return the Markdown tables of the four panels; intervals are 95 % bootstrap over seeds."""
    lines = [
        "| 1/β | method | rounds at gap >= 1/8, 25 % quantile | interval | cap |",
        "|---|---|---|---|---|",
    ]
    for curve in result.rounds:
        for index, beta in enumerate(curve.x):
            cap = str(result.caps[index]) if curve.method == "dpo" else str(result.config.horizons[-1])
            lines.append(
                f"| {beta:g} | {STYLES[curve.method].label} | {curve.middle[index]:.0f} | "
                f"{curve.low[index]:.0f} to {curve.high[index]:.0f} | {cap} |"
            )
    lines += ["", f"Slope of the logarithm for online DPO: {result.wall:.4f}, theory 1/8.", ""]
    horizons = result.config.horizons
    head = " | ".join(f"T = {horizon}" for horizon in horizons)
    lines += [f"| 1/β | method | {head} | exponent |", "|" + "---|" * (len(horizons) + 3)]
    for panel in result.regret:
        cells = " | ".join(_span(panel.curve, index) for index in range(len(horizons)))
        lines.append(
            f"| {panel.inverse_beta} | {STYLES[panel.curve.method].label} | {cells} | {panel.exponent:.2f} |"
        )
    lines += [
        "",
        "| rare arm | second draw | bonus | median final gap | solved | interval |",
        "|---|---|---|---|---|---|",
    ]
    for cell in result.ablation:
        bonus = "on" if cell.bonus else "off"
        lines.append(
            f"| {cell.arm} | {cell.draw} | {bonus} | {cell.gap:.3f} | {cell.solved:.0%} "
            f"| {cell.low:.0%} to {cell.high:.0%} |"
        )
    head = " | ".join(f"α/β = {alpha:g}" for alpha in result.config.optimism)
    lines += [
        "",
        f"| rare arm | method | {head} | seeds that fail |",
        "|" + "---|" * (len(result.config.optimism) + 3),
    ]
    for sweep in result.sweep:
        cells = " | ".join(_span(sweep.curve, index) for index in range(len(sweep.curve.x)))
        failed = ", ".join(f"{share:.0%}" for share in sweep.failed)
        lines.append(f"| {sweep.arm} | {STYLES[sweep.curve.method].label} | {cells} | {failed} |")
    return "\n".join(lines) + "\n"


def _span(curve: Any, index: int) -> str:
    return f"{curve.middle[index]:.3f} ({curve.low[index]:.3f} to {curve.high[index]:.3f})"
