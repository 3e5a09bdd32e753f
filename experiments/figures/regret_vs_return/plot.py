"""Draw the figure of regret against partial return and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.regret_vs_return.examples import Example
    from experiments.figures.regret_vs_return.run import Result

REGRET, RETURN = "#222255", palette.colour("cpl_partial_return")  # the reward learners are none of nlhf's
COLOURS = {"regret": REGRET, "return": RETURN, "cpl": palette.colour("cpl")}
LEARNERS = {"regret": "regret", "return": "partial return", "cpl": palette.label("cpl")}
TITLES = {"random": "random MDPs", "boards": "boards with a goal", "delivery": "delivery gridworld"}
EXAMPLES = {
    "shift": ("a constant c in every step\nof a task that ends", "c", "logistic labels, 3 steps"),
    "risk": (
        "the loss of a risky arm,\ndecided by a coin",
        "reward of the bad outcome",
        "labels without noise",
    ),
    "discount": ("the discount,\nsegments of one step", "γ", "logistic labels"),
}
DASH: Any = (0, (4, 1.6))
NOISE = {True: "labels without noise", False: "logistic labels"}


def plot(result: Result) -> Figure:
    """Return the figure: two rows of learning curves, and the three exact examples below.

    A colour is a learner, a solid line regret labels, a dashed one partial-return labels; bands are 95 %
    bootstrap intervals over processes or data sets.
    """
    columns = [(family, noiseless) for noiseless in (True, False) for family in result.config.families]
    finding = "Learning by regret from regret labels becomes optimal everywhere, from the fewest comparisons"
    with panels.sheet(12.0, 8.4, finding) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.9, 1.0), squeeze=False)[:, 0]
        grid = upper.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for column, (family, noiseless) in enumerate(columns):
            grid[0, column].set_title(f"{TITLES[family]}\n{NOISE[noiseless]}")
            for row, quantity in enumerate(("scaled", "share")):
                axes = grid[row, column]
                for each in result.curves:
                    if (each.family, each.noiseless) == (family, noiseless):
                        style = "-" if each.labels == "regret" else DASH
                        colour = COLOURS[each.learner]
                        panels.draw(axes, getattr(each, quantity), color=colour, linestyle=style)
                axes.set_xscale("log")
                axes.grid(axis="y", color="0.9", lw=0.6)
            grid[1, column].set_xlabel("comparisons n")
        grid[0, 0].set_ylabel("scaled return")
        grid[0, 0].set_ylim(-1.06, 1.06)
        grid[1, 0].set_ylabel("share near-optimal (> 0.9)")
        grid[1, 0].set_ylim(-0.03, 1.03)
        handles = [panels.handle(f"learner: {LEARNERS[name]}", colour) for name, colour in COLOURS.items()]
        handles.append(panels.handle("regret labels", "0.3"))
        handles.append(panels.handle("partial-return labels", "0.3", linestyle=DASH))
        panels.legend_below(upper, handles, 5)
        for axes, example in zip(lower.subplots(1, len(result.examples)), result.examples, strict=True):
            _example(axes, example)
    return figure


def _example(axes: Axes, example: Example) -> None:
    title, label, note = EXAMPLES[example.name]
    step = example.x[1] - example.x[0]
    inside = [x for x, other in zip(example.x, example.other_optimum, strict=True) if other]
    for x in inside:
        axes.axvspan(x - step / 2, x + step / 2, color="0.9", lw=0, zorder=0)
    axes.plot(example.x, example.by_regret, color=REGRET, label="by regret")
    axes.plot(example.x, example.by_return, color=RETURN, linestyle=DASH, label="by partial return")
    axes.axvline(example.base, color="black", lw=0.8, ls=":")
    top = max(example.by_regret)
    axes.set_ylim(-0.04 * top, 1.25 * top)
    small = panels.letters(0.9)
    if inside:
        middle = (inside[0] + inside[-1]) / 2
        look: Any = {"ha": "center", "va": "top", "fontsize": small}
        axes.text(middle, 1.22 * top, "another policy is optimal", **look)
    axes.set_xlim(example.x[0], example.x[-1])
    axes.set_title(f"{title}\n({note})", loc="left")
    axes.set_xlabel(f"{label}; compared with {example.base:g}")
    if example.name == "shift":
        axes.set_ylabel("largest change\nof a preference")
        axes.legend(loc="center left", fontsize=small)


def table(result: Result) -> str:
    """Return the Markdown tables: learning curves, the tests, and the three examples."""
    noise = {True: "none", False: "logistic"}
    curves = []
    for each in result.curves:
        about = [each.family, noise[each.noiseless], LEARNERS[each.labels], LEARNERS[each.learner]]
        both = zip(each.scaled.middle, each.share.middle, strict=True)
        curves.append([*about, *(f"{scaled:.3f} ({share:.0%})" for scaled, share in both)])
    tests = [
        [test.family, noise[test.noiseless], test.n, test.better, test.worse, f"{test.p:.2g}"]
        for test in result.tests
    ]
    exact = []
    for one in result.examples:
        other = [x for x, moved in zip(one.x, one.other_optimum, strict=True) if moved]
        where = f"{min(other):.3g} to {max(other):.3g}" if other else "-"
        moves = [f"{max(one.by_return):.2g}", f"{max(one.by_regret):.2g}", where]
        exact.append([one.name, f"{one.x[0]:g}", f"{one.x[-1]:g}", *moves])
    header = ["exact example", "from", "to", "preferences by return move", "by regret"]
    lines = [
        "Mean scaled return, clipped to [-1, 1] (share above 0.9), by number of comparisons.",
        "",
        *markdown(["family", "noise", "labels", "learner", *map(str, result.config.levels)], curves),
        "",
        "Regret labels, learning by regret or by partial return: Wilcoxon's signed-rank test, two-sided.",
        "",
        *markdown(["family", "noise", "n", "regret better", "worse", "p"], tests),
        "",
        *markdown([*header, "the optimum is another at"], exact),
    ]
    return "\n".join(lines) + "\n"
