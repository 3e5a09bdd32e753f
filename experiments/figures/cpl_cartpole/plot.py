"""Draw the figure of CPL on CartPole and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared.learner_styles import STYLES
from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.figures.cpl_cartpole.run import Curve, Result

LOOK: Any = {**STYLE, "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 9}
LOOK |= {"xtick.labelsize": 8, "ytick.labelsize": 8}
# label, colour, line, marker
LINES = {
    "cpl": ("CPL, λ = 1", STYLES["cpl"].colour, "-", "o"),
    "cpl_half": ("CPL, λ = 1/2", "#56B4E9", "-", "s"),
    "cloning_preferred": ("cloning the preferred", "#009E73", "--", "^"),
    "cloning_all": ("cloning all", "#E69F00", "--", "v"),
    "cpl_partial_return": ("CPL, labels by partial return", "#D55E00", ":", "x"),
}
TITLES = {
    "greedy": "return, likelier action",
    "drawn": "return, action drawn",
    "distance": "KL(π*‖π), nats a state",
}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return mean, low and high: a 95 % bootstrap interval of the mean over seeds.

    Args:
      values: one a seed.

    >>> interval([2.0, 2.0, 2.0])
    (2.0, 2.0, 2.0)
    """
    sample = np.asarray(values, float)
    picks = np.random.default_rng(0).integers(0, len(sample), (4000, len(sample)))
    low, high = np.quantile(sample[picks].mean(1), (0.025, 0.975))
    return float(sample.mean()), float(low), float(high)


def plot(result: Result) -> Figure:
    """Return the figure: returns of the likelier action, returns of drawn ones, distance from π*.

    Lines are means over seeds, bands 95 % bootstrap intervals of the mean, against the number of comparisons;
    grey lines are the soft optimum and coin flips.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    pairs = np.asarray(result.config.pairs, float)
    with matplotlib.rc_context(LOOK):
        figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.1))
        for axes, (metric, title) in zip(panels, TITLES.items(), strict=True):
            for curve in result.curves:
                label, colour, line, marker = LINES[curve.name]
                mean, low, high = np.transpose([interval(values) for values in curve.values[metric]])
                axes.plot(pairs, mean, line, color=colour, marker=marker, markersize=4, label=label)
                axes.fill_between(pairs, low, high, color=colour, alpha=0.15, lw=0)
            axes.set_title(title, loc="left")
            axes.set_xscale("log")
            axes.set_xlabel("comparisons")
            if metric == "distance":
                axes.set_yscale("log")
            else:
                best = result.references["optimum" if metric == "greedy" else "optimum drawn"]
                axes.axhline(best, color="black", linewidth=0.8, linestyle=":")
                axes.axhline(result.references["random"], color="grey", linewidth=0.8, linestyle=":")
                axes.set_ylim(0, 520)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncol=5)
        figure.tight_layout(rect=(0, 0.08, 1, 1))
        plt.close(figure)
    return figure


def table(result: Result) -> str:
    """Return the Markdown table, mean and 95 % interval over seeds, and what it was measured against."""
    lines = [
        "| method | comparisons | " + " | ".join(TITLES.values()) + " |",
        "|---|---|---|---|---|",
    ]
    for curve in result.curves:
        for row, num in enumerate(result.config.pairs):
            cells = [LINES[curve.name][0], str(num), *(_cell(curve, metric, row) for metric in TITLES)]
            lines.append("| " + " | ".join(cells) + " |")
    references = ", ".join(f"{name} {value:.1f}" for name, value in result.references.items())
    median, high = result.residual
    source = "our own controller" if result.config.data is None else "the data"
    lines += [
        "",
        f"Mean returns: {references} (expert: {source}).",
        f"Soft Bellman residual of the grid between its corners, of 1/(1 - discount): median {median:.2%}, "
        f"90 % quantile {high:.2%}.",
        f"Share of regret labels that name the segment of larger Σ A*: {result.label_agreement:.1%}.",
    ]
    return "\n".join(lines) + "\n"


def _cell(curve: Curve, metric: str, row: int) -> str:
    mean, low, high = interval(curve.values[metric][row])
    if metric == "distance":
        return f"{mean:.3g} ({low:.3g} to {high:.3g})"
    return f"{mean:.0f} ({low:.0f} to {high:.0f})"
