"""Draw the figure of CPL's consistency and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.cpl_consistency.run import FEW
from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.cpl_consistency.run import Line, Rate, Result

CPL = palette.style("cpl").colour
LINES = {
    "regret": ("CPL, regret labels", CPL),
    "return": palette.style("cpl_partial_return"),
    "cloning": ("cloning the preferred", palette.colour("behaviour_cloning")),
}
OTHER = "#228833"  # of what no method is
SHADES = ("#D9C2E0", "#B58FC6", "#8A5AA5", CPL)  # of λ, the last is λ = 1
TITLES = {
    "segments": "a  segments of 3 steps",
    "actions": "b  pairs of actions in one state",
    "loss": "c  what the error costs",
    "discount": "d  the wrong label model",
    "unseen": "e  λ on {few} labels",
    "bias": "f  what λ costs",
    "null": "g  directions left flat",
    "exact": "h  error with exact labels",
}
LEVEL: Any = {"color": "black", "linestyle": panels.DASHED, "linewidth": 0.8}


def plot(result: Result) -> Figure:
    """Return the figure: eight panels, medians over runs with a band from the 10 % to the 90 % quantile.

    Masses on unseen actions are means with a 95 % interval.

    Dotted lines are limits with exact labels, dashed ones the theory: slopes -1/2 and -1, and how many
    directions n comparisons leave flat at least.
    """
    exponent = _rate(result, "segments", "regret").exponent.value
    finding = (
        f"With regret labels CPL's error falls as $n^{{{exponent:.2f}}}$; with partial-return labels it stops"
    )
    with panels.sheet(11.6, 6.2, finding) as figure:
        for (name, title), axes in zip(TITLES.items(), figure.subplots(2, 4).flat, strict=True):
            axes.set_title(title.format(few=FEW), loc="left")
            draw = {"loss": _loss, "discount": _discount, "unseen": _unseen, "bias": _bias}.get(name)
            draw = draw or {"null": _flat, "exact": _exact}.get(name)
            if draw is None:
                _recovery(axes, result, name)
            else:
                draw(axes, result)
    return figure


def _rate(result: Result, panel: str, name: str) -> Rate:
    return next(rate for rate in result.rates if (rate.panel, rate.name) == (panel, name))


def _slope(axes: Axes, curve: Line, exponent: float, label: str) -> None:
    x = np.asarray(curve.x)
    axes.plot(x, curve.middle[-1] * (x / x[-1]) ** exponent, label=label, **LEVEL)


def _legend(axes: Axes, place: Any) -> None:
    axes.legend(loc=place, fontsize=panels.letters(0.85), handlelength=1.4)


def _recovery(axes: Axes, result: Result, panel: str) -> None:
    for curve in result.panels[panel]:
        label, colour = LINES[curve.name]
        if curve.name == "regret":
            label += f": $n^{{{_rate(result, panel, curve.name).exponent.value:.2f}}}$"
        panels.draw(axes, curve, color=colour, label=label)
        if curve.name == "return" and curve.limit is not None:
            words = "its limit" if panel == "segments" else "distance of the myopic policy"
            axes.axhline(curve.limit, color=colour, ls=":", lw=1.0, label=words)
        if curve.name == "regret":
            _slope(axes, curve, -0.5, "slope -1/2")
    panels.log_log(axes, "labels n", "RMSE of log π, nats")
    axes.xaxis.set_minor_formatter("")
    low = min(curve.low[-1] for curve in result.panels[panel])
    axes.set_ylim(low / 25, None)  # room for the legend
    _legend(axes, "lower left")


def _loss(axes: Axes, result: Result) -> None:
    (curve,) = result.panels["loss"]
    exponent = _rate(result, "loss", "regret").exponent.value
    panels.draw(axes, curve, color=CPL, label=f"{LINES['regret'][0]}: $n^{{{exponent:.2f}}}$")
    _slope(axes, curve, -1.0, "slope -1")
    panels.log_log(axes, "labels n", "soft-value loss")
    axes.xaxis.set_minor_formatter("")
    _legend(axes, "lower left")


def _discount(axes: Axes, result: Result) -> None:
    curves = {curve.name: curve for curve in result.panels["discount"]}
    panels.draw(axes, curves["segments"], color=OTHER, label="partial return, 3 steps")
    panels.draw(axes, curves["actions"], color=LINES["return"][1], label="partial return, actions")
    marks: Any = {"linestyle": "none", "marker": "o", "markersize": 3, "markeredgewidth": 0}
    axes.plot(curves["myopic"].x, curves["myopic"].middle, color="black", label="myopic policy", **marks)
    most = result.config.pairs * 2**result.config.doublings
    panels.draw(axes, curves["regret"], color=CPL, label=f"regret, n = {most}")
    axes.set_xlabel("discount γ")
    axes.set_ylabel("soft-value loss / uniform's")
    axes.set_xlim(0, 1)
    top = max(max(curve.high) for curve in curves.values())
    axes.set_ylim(-0.02 * top, 1.6 * top)
    _legend(axes, "upper left")


def _unseen(axes: Axes, result: Result) -> None:
    panels.draw(axes, result.panels["unseen"][0], color=CPL, marker="o", markersize=3)
    axes.set_xlabel("λ")
    axes.set_ylabel("mass on unseen actions")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, None)


def _bias(axes: Axes, result: Result) -> None:
    curves = result.panels["bias"]
    for curve, colour in zip(curves, SHADES[-len(curves) :], strict=True):
        panels.draw(axes, curve, color=colour, label=f"λ = {curve.name}")
    axes.axhline(1.0, color="black", lw=0.8, ls=":")
    look: Any = {"ha": "right", "va": "bottom", "fontsize": panels.letters(0.85)}
    axes.text(curves[0].x[-1], 1.08, "uniform policy", **look)
    panels.log_log(axes, "labels n", "soft-value loss / uniform's")
    _legend(axes, "lower left")


def _sizes(result: Result) -> tuple[int, int]:
    """Numbers of log-probabilities and of free parameters of a policy."""
    config = result.config
    return config.num_states * config.num_actions, config.num_states * (config.num_actions - 1)


def _flat(axes: Axes, result: Result) -> None:
    size, free = _sizes(result)
    names = {"log-probabilities": (OTHER, size, 1, "SA"), "policies": (CPL, free, 0, "S(A-1)")}
    for curve in result.panels["null"]:
        colour, total, floor, letters = names[curve.name]
        panels.draw(axes, curve, color=colour, label=f"of {curve.name}", marker="o", markersize=2.5, lw=0)
        n = np.arange(0, curve.x[-1] + 1)
        bound = {**LEVEL, "color": colour, "label": f"max({letters} - n, {floor})"}
        axes.plot(n, np.maximum(total - n, floor), **bound)
    axes.set_ylabel("dimension")
    axes.set_xlabel("comparisons n")
    axes.set_xlim(0, 66)
    _legend(axes, "upper right")


def _exact(axes: Axes, result: Result) -> None:
    _, free = _sizes(result)
    panels.draw(axes, result.panels["exact"][0], color=CPL, marker="o", markersize=2.5)
    axes.axvline(free, **LEVEL)
    axes.text(free + 1.5, 0.3, f"S(A-1) = {free}", fontsize=panels.letters(0.85))
    axes.set_yscale("log")
    axes.set_ylabel("RMSE of log π, nats")
    axes.set_xlabel("comparisons n")
    axes.set_xlim(0, 66)


def table(result: Result) -> str:
    """Return the Markdown tables: fitted exponents, and every line at its ends.

    An exponent is the mean over runs of the slope of each, with its 95 % bootstrap interval. The masses on
    unseen actions are means, with theirs.
    """
    theory = {("segments", "regret"): "-1/2", ("actions", "regret"): "-1/2", ("loss", "regret"): "-1"}
    rates, ends = [], []
    for rate in result.rates:
        expected, found = theory.get((rate.panel, rate.name), "does not fall"), rate.exponent
        rates.append([rate.panel, rate.name, f"{found.value:.3f}", span(found.low, found.high), expected])
    for panel, curves in result.panels.items():
        for curve in curves:
            cells = [panel, curve.name]
            for end in (0, -1):
                cells += [f"{curve.x[end]:g}", f"{curve.middle[end]:.3g}"]
                cells.append(span(curve.low[end], curve.high[end], ".3g"))
            ends.append([*cells, "-" if curve.limit is None else f"{curve.limit:.3g}"])
    runs = result.config.seeds * result.config.mdps
    at = ["at", "median", "10-90 %"]
    lines = [
        f"{runs} runs, each with its own MDP. From exact partial-return labels of pairs of actions,",
        f"the log π of CPL is the myopic policy's within {result.myopic_distance:.1e} nats.",
        "",
        *markdown(["panel", "line", "exponent of n", "95 % interval", "theory"], rates),
        "",
        *markdown(["panel", "line", *at, *at, "with exact labels"], ends),
    ]
    return "\n".join(lines) + "\n"
