"""Draw the convergence figure and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.convergence.methods import REGULARISED, UNREGULARISED, Method
from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.convergence.curves import Curve
    from experiments.figures.convergence.run import Panel, Result


MARK: Any = {"linestyle": "none", "marker": "o", "markersize": 2.2, "markeredgewidth": 0}


def plot(result: Result) -> Figure:
    """Return the figure: one column a game, one row a β, the unregularised game below.

    Solid lines are medians over seeds with a band from the 10 % to the 90 % quantile, dashed lines claimed
    bounds, dotted lines predicted biased limits; the grey zone is below the floating-point floor.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    rows = list(dict.fromkeys(panel.beta for panel in result.panels))
    columns = list(dict.fromkeys(panel.game for panel in result.panels))
    with matplotlib.rc_context(STYLE):
        figure, grid = plt.subplots(
            len(rows),
            len(columns),
            figsize=(2.2 * len(columns), 1.95 * len(rows) + 0.9),
            sharey="row",
            squeeze=False,
        )
        for panel in result.panels:
            row, column = rows.index(panel.beta), columns.index(panel.game)
            axes = grid[row, column]
            _draw(axes, panel)
            if row == 0:
                axes.set_title(panel.title)
            if column == 0:
                axes.set_ylabel(_row_label(panel))
            if row == len(rows) - 1 or row == len(rows) - 2:
                axes.set_xlabel("payoff queries")
        _legends(figure)
        figure.tight_layout(h_pad=1.0, w_pad=0.6, rect=(0, 0.085, 1, 1))
        plt.close(figure)
    return figure


def _row_label(panel: Panel) -> str:
    if panel.beta == 0:
        return "β = 0\nexploitability"
    return f"β = {panel.beta:g}\nKL(Nash ‖ policy)"


def _draw(axes: Axes, panel: Panel) -> None:
    methods = UNREGULARISED if panel.beta == 0 else REGULARISED
    for curve in panel.curves:
        colour = methods[curve.method].colour
        queries = np.asarray(curve.queries)
        shown = queries >= (1 if panel.beta == 0 else 0)
        # a marked method lies on another one, whose bound is the same line
        if curve.bound is not None and not methods[curve.method].marked:
            bound = np.where(np.asarray(curve.bound) > 0, curve.bound, np.nan)
            axes.plot(
                queries[shown], bound[shown], color=colour, linestyle=(0, (4, 2)), linewidth=0.8, alpha=0.75
            )
        if curve.limit is not None:
            axes.axhline(curve.limit, color=colour, linestyle=":", linewidth=0.9)
        axes.fill_between(
            queries[shown],
            np.asarray(curve.low)[shown],
            np.asarray(curve.high)[shown],
            color=colour,
            alpha=0.18,
            lw=0,
        )
        median = np.asarray(curve.median)[shown]
        if methods[curve.method].marked:
            axes.plot(queries[shown][::8], median[::8], color=colour, **MARK)
        else:
            axes.plot(queries[shown], median, color=colour)
    axes.set_yscale("log")
    if panel.beta == 0:
        axes.set_xscale("log")
        axes.set_ylim(1e-9, 2)
    else:
        axes.set_ylim(1e-33, 1e3)
        axes.set_yticks([1e0, 1e-10, 1e-20, 1e-30])
        axes.set_xlim(0, panel.max_queries)
        axes.axhspan(1e-40, panel.floor, color="0.88", lw=0, zorder=0)
    axes.minorticks_off()


def _legends(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def handles(methods: dict[str, Method]) -> list[Line2D]:
        return [
            Line2D([], [], color=method.colour, label=method.label, **(MARK if method.marked else {}))
            for method in methods.values()
        ]

    meanings = [
        Line2D([], [], color="0.3", linestyle=(0, (4, 2)), linewidth=0.9, label="claimed bound"),
        Line2D([], [], color="0.3", linestyle=":", linewidth=0.9, label="predicted biased limit"),
        Patch(color="0.88", label="floating-point floor"),
    ]
    figure.legend(
        handles=handles(REGULARISED) + meanings, loc="lower center", ncol=6, bbox_to_anchor=(0.5, 0.035)
    )
    figure.legend(
        handles=handles(UNREGULARISED), loc="lower center", ncol=6, bbox_to_anchor=(0.5, 0.0), title=None
    )


def table(result: Result) -> str:
    """Return the Markdown table of fitted against proved rates, one row a curve.

    Rates are nats a query (linear) or exponents (power), medians over seeds with 10 to 90 % quantiles;
    ``measured/bound`` is the largest over steps and seeds, so at most 1 where the theorem holds.
    """
    lines = [
        "| game | β | method | queries | fitted rate | 10-90 % | proved rate | measured/bound | final |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for panel in result.panels:
        methods = UNREGULARISED if panel.beta == 0 else REGULARISED
        for curve in panel.curves:
            lines.append(_table_row(panel, curve, methods[curve.method]))
    return "\n".join(lines) + "\n"


def _table_row(panel: Panel, curve: Curve, method: Method) -> str:
    unit = {"linear": " nats/query", "power": " (power)"}.get(curve.rate_kind, "")

    def number(value: float | None, pattern: str = "{:.4g}") -> str:
        return "-" if value is None else pattern.format(value)

    if curve.limit is not None:
        fitted, interval = f"stalls; predicted limit {curve.limit:.3g}", "-"
    elif curve.rate is None:
        fitted, interval = "at the floor from the start", "-"
    else:
        fitted, interval = number(curve.rate) + unit, f"{number(curve.rate_low)} to {number(curve.rate_high)}"
    return (
        f"| {panel.title} | {panel.beta:g} | {method.label} | {curve.queries[-1]} | {fitted} | {interval} | "
        f"{number(curve.proved_rate)} | {number(curve.worst_ratio, '{:.3g}')} | {curve.final:.2g} |"
    )
