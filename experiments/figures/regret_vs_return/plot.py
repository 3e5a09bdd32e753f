"""Draw the figure of regret against partial return and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.regret_vs_return.examples import Example
    from experiments.figures.regret_vs_return.run import Curve, Result

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
COLOURS = {"regret": BLUE, "return": ORANGE, "cpl": GREEN}
LEARNERS = {"regret": "regret", "return": "partial return", "cpl": "CPL"}
TITLES = {"random": "random MDPs", "boards": "boards with a goal", "delivery": "delivery gridworld"}
EXAMPLES = {
    "shift": ("a constant c added to every step of a task that ends", "c", "logistic labels, 3 steps"),
    "risk": (
        "the loss of a risky arm, decided by a coin",
        "reward of the bad outcome",
        "labels without noise",
    ),
    "discount": ("the discount, segments of one step", "γ", "logistic labels"),
}
DASH: Any = (0, (4, 1.6))


def plot(result: Result) -> Figure:
    """Return the figure: two rows of learning curves, and the three exact examples below.

    A colour is a learner, a solid line regret labels, a dashed one partial-return labels; bands are 95 %
    bootstrap intervals over processes or data sets.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    families = result.config.families
    columns = [(family, noiseless) for noiseless in (True, False) for family in families]
    with matplotlib.rc_context(STYLE):
        figure = plt.figure(figsize=(10.8, 6.6))
        upper, lower = figure.subfigures(2, 1, height_ratios=(2.0, 1.0), squeeze=False)[:, 0]
        grid = upper.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (family, noiseless) in enumerate(columns):
            grid[0, column].set_title(
                f"{TITLES[family]}\n{'labels without noise' if noiseless else 'logistic labels'}"
            )
            for row, quantity in enumerate(("scaled", "share")):
                axes = grid[row, column]
                for curve in result.curves:
                    if (curve.family, curve.noiseless) == (family, noiseless):
                        _draw(axes, curve, quantity)
                axes.set_xscale("log")
                axes.grid(axis="y", color="0.9", lw=0.6)
            grid[1, column].set_xlabel("comparisons n")
        grid[0, 0].set_ylabel("scaled return")
        grid[0, 0].set_ylim(-1.06, 1.06)
        grid[1, 0].set_ylabel("share near-optimal (> 0.9)")
        grid[1, 0].set_ylim(-0.03, 1.03)
        upper.subplots_adjust(left=0.06, right=0.99, top=0.91, bottom=0.2, wspace=0.14, hspace=0.14)
        _legend(upper)
        for axes, example in zip(lower.subplots(1, len(result.examples)), result.examples, strict=True):
            _example(axes, example)
        lower.subplots_adjust(left=0.06, right=0.99, top=0.86, bottom=0.17, wspace=0.2)
        plt.close(figure)
    return figure


def _draw(axes: Axes, curve: Curve, quantity: str) -> None:
    colour = COLOURS[curve.learner]
    low, high = getattr(curve, f"{quantity}_low"), getattr(curve, f"{quantity}_high")
    axes.fill_between(curve.n, low, high, color=colour, alpha=0.14, lw=0)
    style = "-" if curve.labels == "regret" else DASH
    axes.plot(curve.n, getattr(curve, quantity), color=colour, linestyle=style)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, label=f"learner: {LEARNERS[learner]}")
        for learner, colour in COLOURS.items()
    ]
    handles += [
        Line2D([], [], color="0.3", label="regret labels"),
        Line2D([], [], color="0.3", linestyle=DASH, label="partial-return labels"),
    ]
    figure.legend(handles=handles, loc="lower center", ncol=5, bbox_to_anchor=(0.5, 0.0))


def _example(axes: Axes, example: Example) -> None:
    title, label, note = EXAMPLES[example.name]
    step = example.x[1] - example.x[0]
    for x, other in zip(example.x, example.other_optimum, strict=True):
        if other:
            axes.axvspan(x - step / 2, x + step / 2, color="0.9", lw=0, zorder=0)
    axes.plot(example.x, example.by_regret, color=BLUE, label="by regret")
    axes.plot(example.x, example.by_return, color=ORANGE, linestyle=DASH, label="by partial return")
    axes.axvline(example.base, color="black", lw=0.8, ls=":")
    inside = [x for x, other in zip(example.x, example.other_optimum, strict=True) if other]
    top = max(example.by_regret)
    axes.set_ylim(-0.04 * top, 1.22 * top)
    if inside:
        middle = (inside[0] + inside[-1]) / 2
        axes.text(middle, 1.19 * top, "another policy is optimal", ha="center", va="top", fontsize=6.8)
    axes.set_xlim(example.x[0], example.x[-1])
    axes.set_title(f"{title}\n({note})", loc="left")
    axes.set_xlabel(f"{label}; compared with {example.base:g}")
    if example.name == "shift":
        axes.set_ylabel("largest change\nof a preference")
        axes.legend(loc="upper left", fontsize=6.8)


def table(result: Result) -> str:
    """Return the Markdown tables: learning curves, the tests, and the three examples."""
    config = result.config
    lines = [
        "Mean scaled return, clipped to [-1, 1] (share above 0.9), by number of comparisons.",
        "",
        "| family | noise | labels | learner | " + " | ".join(f"{n}" for n in config.levels) + " |",
        "|" + "---|" * (4 + len(config.levels)),
    ]
    for curve in result.curves:
        noise = "none" if curve.noiseless else "logistic"
        cells = [curve.family, noise, LEARNERS[curve.labels], LEARNERS[curve.learner]]
        cells += [f"{a:.3f} ({b:.0%})" for a, b in zip(curve.scaled, curve.share, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Regret labels, learning by regret or by partial return: Wilcoxon's signed-rank test, two-sided.",
        "",
        "| family | noise | n | regret better | worse | p |",
        "|---|---|---|---|---|---|",
    ]
    for test in result.tests:
        noise = "none" if test.noiseless else "logistic"
        lines.append(f"| {test.family} | {noise} | {test.n} | {test.better} | {test.worse} | {test.p:.2g} |")
    lines += [
        "",
        "| exact example | from | to | preferences by return move | by regret | the optimum is another at |",
        "|---|---|---|---|---|---|",
    ]
    for example in result.examples:
        other = [x for x, moved in zip(example.x, example.other_optimum, strict=True) if moved]
        where = f"{min(other):.3g} to {max(other):.3g}" if other else "-"
        lines.append(
            f"| {example.name} | {example.x[0]:g} | {example.x[-1]:g} | {max(example.by_return):.2g} | "
            f"{max(example.by_regret):.2g} | {where} |"
        )
    return "\n".join(lines) + "\n"
