"""Draw the figure of CPL on CartPole and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import estimate, markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.figures.cpl_cartpole.run import Result

# label, colour, line, marker
LINES = {
    "cpl": ("CPL, λ = 1", palette.colour("cpl"), "-", "o"),
    "cpl_half": (*palette.style("cpl_half"), "-", "s"),
    "cloning_preferred": ("cloning the preferred", palette.colour("behaviour_cloning"), "--", "^"),
    "cloning_all": (*palette.style("cloning_all"), "--", "v"),
    "cpl_partial_return": (*palette.style("cpl_partial_return"), ":", "x"),
}
TITLES = {
    "greedy": "return, likelier action",
    "drawn": "return, action drawn",
    "distance": "KL(π*‖π), nats a state",
}


def plot(result: Result) -> Figure:
    """Return the figure: returns of the likelier action, returns of drawn ones, distance from π*.

    Lines are means over seeds, bands 95 % bootstrap intervals of the mean, against the number of comparisons;
    dotted lines are the soft optimum and coin flips.
    """
    finding = (
        "CPL on regret labels comes closest to the maximum-entropy optimum; partial returns teach nothing"
    )
    with panels.sheet(9.6, 3.9, finding) as figure:
        for axes, (metric, title) in zip(figure.subplots(1, 3), TITLES.items(), strict=True):
            for curve in result.curves[metric]:
                _, colour, line, marker = LINES[curve.name]
                panels.draw(axes, curve, color=colour, linestyle=line, marker=marker, markersize=4)
            axes.set_title(title, loc="left")
            axes.set_xscale("log")
            panels.plain_ticks(axes.xaxis, *axes.get_xlim())
            axes.set_xlabel("comparisons")
            if metric == "distance":
                axes.set_yscale("log")
                continue
            optimum = "optimum" if metric == "greedy" else "optimum drawn"
            for name, words in ((optimum, "optimum"), ("random", "coin flips")):
                axes.axhline(result.references[name], color=palette.THEORY, linewidth=0.9, linestyle=":")
                place = (result.config.pairs[0], result.references[name])
                panels.note(axes, words, place, xytext=(0, 2), color=palette.THEORY)
            axes.set_ylim(0, 540)
        handles = [
            panels.handle(label, colour, linestyle=line, marker=marker, markersize=4)
            for label, colour, line, marker in LINES.values()
        ]
        panels.legend_below(figure, handles, 5)
    return figure


def table(result: Result) -> str:
    """Return the Markdown table, mean and 95 % interval over seeds, and what it was measured against."""
    patterns = {"greedy": ".0f", "drawn": ".0f", "distance": ".3g"}
    rows = [
        [
            LINES[name][0],
            num,
            *(estimate(result.curves[metric][place], row, patterns[metric]) for metric in TITLES),
        ]
        for place, name in enumerate(LINES)
        for row, num in enumerate(result.config.pairs)
    ]
    references = ", ".join(f"{name} {value:.1f}" for name, value in result.references.items())
    median, high = result.residual
    source = "our own controller" if result.config.data is None else "the data"
    lines = [
        *markdown(["method", "comparisons", *TITLES.values()], rows),
        "",
        f"Mean returns: {references} (expert: {source}).",
        f"Soft Bellman residual of the grid between its corners, of 1/(1 - discount): median {median:.2%}, "
        f"90 % quantile {high:.2%}.",
        f"Share of regret labels that name the segment of larger Σ A*: {result.label_agreement:.1%}.",
    ]
    return "\n".join(lines) + "\n"
