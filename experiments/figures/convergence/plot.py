"""Draw the convergence figure and its table from a result, without running anything."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.convergence.methods import UNREGULARISED, Method, regularised
from experiments.figures.shared import panels
from experiments.figures.shared.tables import markdown, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.convergence.curves import Measured
    from experiments.figures.convergence.run import Panel, Result

FLOOR = "0.88"


def plot(result: Result) -> Figure:
    """Return the figure: one column a game, one row a β, the unregularised game below.

    Solid lines are medians over seeds with a band from the 10 % to the 90 % quantile, dashed lines claimed
    bounds, dotted lines predicted biased limits; the grey zone is below the floating-point floor.
    """
    rows = list(dict.fromkeys(panel.beta for panel in result.panels))
    columns = list(dict.fromkeys(panel.game for panel in result.panels))
    methods = regularised(result.config.add)
    ratios = [curve.worst_ratio for panel in result.panels for curve in panel.curves if curve.worst_ratio]
    finding = f"Unbiased methods converge down to rounding; largest measured / bound: {max(ratios):.4g}"
    with panels.sheet(2.2 * len(columns), 2.1 * len(rows) + 1.6, finding) as figure:
        grid = figure.subplots(len(rows), len(columns), sharey="row", squeeze=False)
        for panel in result.panels:
            row, column = rows.index(panel.beta), columns.index(panel.game)
            axes = grid[row, column]
            _draw(axes, panel, methods if panel.beta else UNREGULARISED)
            if row == 0:
                axes.set_title(textwrap.fill(panel.title, 21))
            if column == 0:
                metric = "KL(Nash ‖ policy)" if panel.beta else "exploitability"
                axes.set_ylabel(f"β = {panel.beta:g}\n{metric}")
            if row >= len(rows) - 2:
                axes.set_xlabel("payoff queries")
        _legend(figure, methods)
    return figure


def _draw(axes: Axes, panel: Panel, methods: dict[str, Method]) -> None:
    for curve in panel.curves:
        method = methods[curve.name]
        queries = np.asarray(curve.x)
        shown = queries >= (0 if panel.beta else 1)
        # a wide line lies under another one, whose bound is the same
        if curve.bound is not None and not method.wide:
            bound = np.where(np.asarray(curve.bound) > 0, curve.bound, np.nan)
            style = {"linestyle": panels.DASHED, "linewidth": 0.8, "alpha": 0.75}
            axes.plot(queries[shown], bound[shown], color=method.colour, **style)
        if curve.limit is not None:
            axes.axhline(curve.limit, color=method.colour, linestyle=":", linewidth=0.9)
        low, middle, high = (np.asarray(each)[shown] for each in (curve.low, curve.middle, curve.high))
        axes.fill_between(queries[shown], low, high, color=method.colour, alpha=0.18, lw=0)
        axes.plot(queries[shown], middle, color=method.colour, **_width(method))
    axes.set_yscale("log")
    if panel.beta == 0:
        axes.set_xscale("log")
        axes.set_ylim(1e-9, 2)
    else:
        axes.set_ylim(1e-33, 1e3)
        axes.set_yticks([1e0, 1e-10, 1e-20, 1e-30])
        axes.set_xlim(0, panel.max_queries)
        axes.axhspan(1e-40, panel.floor, color=FLOOR, lw=0, zorder=0)
    axes.minorticks_off()


def _width(method: Method) -> dict[str, Any]:
    return {"linewidth": 3.4, "zorder": 1.9} if method.wide else {"linewidth": 1.2}


def _legend(figure: Figure, methods: dict[str, Method]) -> None:
    handles = [
        panels.handle(method.label, method.colour, **_width(method))
        for method in (*methods.values(), *UNREGULARISED.values())
    ]
    handles += [
        panels.handle("claimed bound", "0.3", linestyle=panels.DASHED, linewidth=0.9),
        panels.handle("predicted biased limit", "0.3", linestyle=":", linewidth=0.9),
        panels.patch("floating-point floor", color=FLOOR),
    ]
    panels.legend_below(figure, handles, 4)


def table(result: Result) -> str:
    """Return the Markdown table of fitted against proved rates, one row a curve.

    Rates are nats a query (linear) or exponents (power), medians over seeds with 10 to 90 % quantiles;
    ``measured/bound`` is the largest over steps and seeds, so at most 1 where the theorem holds.
    """
    methods = regularised(result.config.add)
    header = ["game", "β", "method", "queries", "fitted rate", "10-90 %", "proved rate", "measured/bound"]
    rows = [
        _row(panel, curve, (methods if panel.beta else UNREGULARISED)[curve.name])
        for panel in result.panels
        for curve in panel.curves
    ]
    return "\n".join(markdown([*header, "final"], rows)) + "\n"


def _row(panel: Panel, curve: Measured, method: Method) -> list[str]:
    interval = "-"
    if curve.limit is not None:
        fitted = f"stalls; predicted limit {curve.limit:.3g}"
    elif curve.rate is None:
        fitted = "at the floor from the start"
    else:
        unit = {"linear": " nats/query", "power": " (power)"}.get(curve.rate_kind, "")
        fitted, interval = f"{curve.rate.value:.4g}{unit}", span(curve.rate.low, curve.rate.high, ".4g")
    proved = "-" if curve.proved_rate is None else f"{curve.proved_rate:.4g}"
    ratio = "-" if curve.worst_ratio is None else f"{curve.worst_ratio:.3g}"
    about = [panel.title, f"{panel.beta:g}", method.label, f"{curve.x[-1]}"]
    return [*about, fitted, interval, proved, ratio, f"{curve.final:.2g}"]
