"""Draw the figure of CPL's consistency and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.cpl_consistency.run import FEW, Curve, Rate, Result

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7A8CA3"
SHADES = ("#CC79A7", "#E69F00", "#56B4E9", "#0072B2")  # of λ, the last is λ = 1
LABELS = {
    "regret": "CPL, regret labels",
    "return": "CPL, partial-return labels",
    "cloning": "cloning the preferred",
}
COLOURS = {"regret": BLUE, "return": ORANGE, "cloning": GREEN}
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
MARK: Any = {"linestyle": "none", "marker": "o", "markersize": 3, "markeredgewidth": 0}


def plot(result: Result) -> Figure:
    """Return the figure: eight panels, medians over runs with a band from the 10 % to the 90 % quantile.

    Masses on unseen actions are means with a 95 % interval.

    Dotted lines are limits with exact labels, dashed ones the theory: slopes -1/2 and -1, and how many
    directions n comparisons leave flat at least.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(STYLE):
        figure, grid = plt.subplots(2, 4, figsize=(10.4, 5.0))
        for (name, title), axes in zip(TITLES.items(), grid.flat, strict=True):
            axes.set_title(title.format(few=FEW), loc="left")
            if name in ("segments", "actions"):
                _recovery(axes, result, name)
            elif name == "loss":
                _loss(axes, result)
            elif name == "discount":
                _discount(axes, result)
            elif name == "unseen":
                _unseen(axes, result)
            elif name == "bias":
                _bias(axes, result)
            else:
                _identified(axes, result, name)
        figure.tight_layout(h_pad=1.4, w_pad=1.0)
        plt.close(figure)
    return figure


def _line(axes: Axes, curve: Curve, colour: str, label: str | None = None, **look: Any) -> None:
    axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, lw=0)
    axes.plot(curve.x, curve.middle, color=colour, label=label, **look)


def _rate_of(result: Result, panel: str, name: str) -> Rate:
    return next(rate for rate in result.rates if (rate.panel, rate.name) == (panel, name))


def _slope(axes: Axes, curve: Curve, exponent: float, label: str) -> None:
    x = np.asarray(curve.x)
    axes.plot(
        x, curve.middle[-1] * (x / x[-1]) ** exponent, color="black", ls=(0, (4, 2)), lw=0.8, label=label
    )


def _recovery(axes: Axes, result: Result, panel: str) -> None:
    for curve in result.panels[panel]:
        fitted = _rate_of(result, panel, curve.name)
        told = f": $n^{{{fitted.mean:.2f}}}$" if curve.name == "regret" else ""
        _line(axes, curve, COLOURS[curve.name], LABELS[curve.name] + told)
        if curve.name == "return" and curve.limit is not None:
            words = "its limit" if panel == "segments" else "distance of the myopic policy"
            axes.axhline(curve.limit, color=ORANGE, ls=":", lw=1.0, label=words)
        if curve.name == "regret":
            _slope(axes, curve, -0.5, "slope -1/2")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("labels n")
    axes.set_ylabel("RMSE of log π, nats")
    low = min(curve.low[-1] for curve in result.panels[panel])
    axes.set_ylim(low / 12, None)  # room for the legend
    axes.legend(loc="lower left", fontsize=6.3)


def _loss(axes: Axes, result: Result) -> None:
    (curve,) = result.panels["loss"]
    fitted = _rate_of(result, "loss", "regret")
    _line(axes, curve, BLUE, f"{LABELS['regret']}: $n^{{{fitted.mean:.2f}}}$")
    _slope(axes, curve, -1.0, "slope -1")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("labels n")
    axes.set_ylabel("soft-value loss")
    axes.legend(loc="lower left", fontsize=6.3)


def _discount(axes: Axes, result: Result) -> None:
    curves = {curve.name: curve for curve in result.panels["discount"]}
    _line(axes, curves["segments"], GREEN, "partial return, 3 steps")
    _line(axes, curves["actions"], ORANGE, "partial return, actions")
    axes.plot(curves["myopic"].x, curves["myopic"].middle, color="black", label="myopic policy", **MARK)
    most = result.config.pairs * 2**result.config.doublings
    _line(axes, curves["regret"], BLUE, f"regret, n = {most}")
    axes.set_xlabel("discount γ")
    axes.set_ylabel("soft-value loss / uniform's")
    axes.set_xlim(0, 1)
    top = max(max(curve.high) for curve in curves.values())
    axes.set_ylim(-0.02 * top, 1.5 * top)
    axes.legend(loc="upper left", fontsize=6.3)


def _unseen(axes: Axes, result: Result) -> None:
    (curve,) = result.panels["unseen"]
    _line(axes, curve, BLUE, marker="o", markersize=3)
    axes.set_xlabel("λ")
    axes.set_ylabel("mass on unseen actions")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, None)


def _bias(axes: Axes, result: Result) -> None:
    curves = result.panels["bias"]
    for curve, colour in zip(curves, SHADES[-len(curves) :], strict=True):
        _line(axes, curve, colour, f"λ = {curve.name}")
    axes.axhline(1.0, color="black", lw=0.8, ls=":")
    axes.text(curves[0].x[-1], 1.08, "uniform policy", ha="right", va="bottom", fontsize=6.3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("labels n")
    axes.set_ylabel("soft-value loss / uniform's")
    axes.legend(loc="lower left", fontsize=6.3)


def _identified(axes: Axes, result: Result, panel: str) -> None:
    config = result.config
    size, free = config.num_states * config.num_actions, config.num_states * (config.num_actions - 1)
    if panel == "null":
        names = {"log-probabilities": (ORANGE, size, 1), "policies": (BLUE, free, 0)}
        for curve in result.panels[panel]:
            colour, total, floor = names[curve.name]
            _line(axes, curve, colour, f"of {curve.name}", marker="o", markersize=2.5, lw=0)
            n = np.arange(0, curve.x[-1] + 1)
            bound = f"max({'SA' if floor else 'S(A-1)'} - n, {floor})"
            axes.plot(n, np.maximum(total - n, floor), color=colour, ls=(0, (4, 2)), lw=0.8, label=bound)
        axes.set_ylabel("dimension")
        axes.legend(loc="upper right", fontsize=6.3)
    else:
        (curve,) = result.panels[panel]
        _line(axes, curve, BLUE, marker="o", markersize=2.5)
        axes.axvline(free, color="black", ls=(0, (4, 2)), lw=0.8)
        axes.text(free + 1.5, 0.3, f"S(A-1) = {free}", fontsize=6.3)
        axes.set_yscale("log")
        axes.set_ylabel("RMSE of log π, nats")
    axes.set_xlim(0, 66)
    axes.set_xlabel("comparisons n")


def table(result: Result) -> str:
    """Return the Markdown tables: fitted exponents, and every line at its ends.

    An exponent is the mean over runs of the slope of each, with its 95 % bootstrap interval. The masses on
    unseen actions are means, with theirs.
    """
    runs = result.config.seeds * result.config.mdps
    lines = [
        f"{runs} runs, each with its own MDP. From exact partial-return labels of pairs of actions,",
        f"the log π of CPL is the myopic policy's within {result.myopic_distance:.1e} nats.",
        "",
        "| panel | line | exponent of n | 95 % interval | theory |",
        "|---|---|---|---|---|",
    ]
    theory = {("segments", "regret"): "-1/2", ("actions", "regret"): "-1/2", ("loss", "regret"): "-1"}
    for rate in result.rates:
        expected = theory.get((rate.panel, rate.name), "does not fall")
        interval = f"{rate.low:.3f} to {rate.high:.3f}"
        lines.append(f"| {rate.panel} | {rate.name} | {rate.mean:.3f} | {interval} | {expected} |")
    lines += [
        "",
        "| panel | line | at | median | 10-90 % | at | median | 10-90 % | with exact labels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for panel, curves in result.panels.items():
        for curve in curves:
            cells = [panel, curve.name]
            for end in (0, -1):
                cells += [f"{curve.x[end]:g}", f"{curve.middle[end]:.3g}"]
                cells.append(f"{curve.low[end]:.3g} to {curve.high[end]:.3g}")
            cells.append("-" if curve.limit is None else f"{curve.limit:.3g}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
