"""Draw the figure ``people-vs-models`` and its table from a result, without running anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.output.style import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.people_vs_models.run import Interval, Match, Panel, Result, Triples

LOOK: Any = {**STYLE, "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8}
LOOK |= {"xtick.labelsize": 8, "ytick.labelsize": 9, "axes.titleweight": "bold"}
REAL, MADE_UP, TWIN = "#0072B2", "#009E73", "#9A9A9A"
RANGE: Any = {"color": TWIN, "linewidth": 5, "alpha": 0.45, "solid_capstyle": "butt"}
LINEAR = 1.0  # thousandths: the axes of gains are linear within this distance from 0, logarithmic beyond
MODELS = (
    ("nash", "bradley_terry_nash", "its Nash policy", "#0072B2", "o"),
    ("nash", "matched", "its optimum, same KL", "#D55E00", "s"),
    ("nash", "optimum", "its optimum, same β", "#7A5195", "D"),
)
ATTACKS = (
    ("nash", "against_nash", "Nash, general model", "#0072B2", "o"),
    ("matched", "against_matched", "optimum, same KL", "#D55E00", "s"),
    ("optimum", "against_optimum", "optimum, same β", "#7A5195", "D"),
)
COLUMNS = (
    ("nash", "optimum"),
    ("nash", "matched"),
    ("nash", "bradley_terry_nash"),
    ("nash", "reference"),
    ("optimum", "reference"),
    ("nash", "against_nash"),
    ("matched", "against_matched"),
    ("optimum", "against_optimum"),
)
SHOWN_BETA = 0  # the first of the config's: the least regularised


def plot(result: Result) -> Figure:
    """Return the figure: a row a data set, and five columns.

    Gains in log-loss and accuracy of the general model on held-out people, with 95 % bootstrap intervals, and
    in grey what it gains on transitive twins of these people; cyclic triples, likewise; win rates of its Nash
    policy over the policies of Bradley-Terry; win rates of policies against their best answers.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    panels = result.panels
    with matplotlib.rc_context(LOOK):
        figure, axes = plt.subplots(
            1,
            5,
            figsize=(13.2, 2.1 + 0.62 * len(panels)),
            sharey=True,
            gridspec_kw={"width_ratios": [1.2, 1.2, 1, 1, 1]},
        )
        for row, panel in enumerate(panels):
            colour = REAL if panel.real else MADE_UP
            score = panel.score
            _gain(axes[0], row, score.loss_gain, score.loss_gain_by_seed, panel.twin_loss_gain, colour, 1e3)
            _gain(
                axes[1],
                row,
                score.accuracy_gain,
                score.accuracy_gain_by_seed,
                panel.twin_accuracy_gain,
                colour,
                1e2,
            )
            _cycles(axes[2], row, panel, colour)
            _rates(axes[3], row, panel, MODELS, result.config.betas[SHOWN_BETA])
            _rates(axes[4], row, panel, ATTACKS, result.config.betas[SHOWN_BETA])
        _decorate(axes, result)
        figure.tight_layout(w_pad=1.0, rect=(0, 0.65 / figure.get_figheight(), 1, 1))
        _legends(figure, axes)
        plt.close(figure)
    return figure


def _gain(
    axes: Axes, row: int, gain: Interval, seeds: list[float], twins: list[float], colour: str, unit: float
) -> None:
    axes.plot(np.array(twins) * unit, np.full(len(twins), row + 0.22), "|", color=TWIN, markersize=7)
    axes.plot([gain.low * unit, gain.high * unit], [row - 0.08] * 2, color=colour, linewidth=2.0)
    axes.plot(np.array(seeds) * unit, np.full(len(seeds), row - 0.26), ".", color=colour, markersize=3)
    axes.plot(gain.value * unit, row - 0.08, "o", color=colour, markersize=5)


def _cycles(axes: Axes, row: int, panel: Panel, colour: str) -> None:
    kinds = [(panel.by_prompt, "o", -0.14), (panel.overall, "s", 0.2)]
    for triples, marker, shift in kinds:
        if triples is None or not triples.triples:
            continue
        twins = 100 * np.array(triples.twins)
        if twins.size:
            axes.plot([twins.min(), twins.max()], [row + shift] * 2, **RANGE)
        axes.plot(100 * _share(triples), row + shift, marker, color=colour, markersize=5, zorder=3)
    if panel.overall is None and not panel.by_prompt.triples:
        axes.text(0.6, row, "two answers a prompt: no triples", va="center", fontsize=7, color="#555555")


def _rates(axes: Axes, row: int, panel: Panel, kinds: Any, beta: float) -> None:
    for (one, other, _, colour, marker), shift in zip(kinds, (-0.22, 0.0, 0.22), strict=True):
        rate = match_of(panel, one, other, beta).win_rate
        axes.plot([100 * rate.low, 100 * rate.high], [row + shift] * 2, color=colour, linewidth=1.6)
        axes.plot(100 * rate.value, row + shift, marker, color=colour, markersize=4)


def match_of(panel: Panel, one: str, other: str, beta: float) -> Match:
    """Return what was measured of two policies at one β."""
    return next(m for m in panel.matches if (m.one, m.other, m.beta) == (one, other, beta))


def _share(triples: Triples) -> float:
    return triples.cyclic / triples.triples if triples.triples else math.nan


def _decorate(axes: Any, result: Result) -> None:
    panels, beta = result.panels, result.config.betas[SHOWN_BETA]
    titles = [
        ("a  Gain in log-loss\nof the general model", "0.001 nats a vote, log beyond 1"),
        ("b  Gain in accuracy\nof the general model", "percentage points, log beyond 1"),
        ("c  Cyclic triples\nof majorities", "% of the strict triples"),
        ("d  General model's Nash\npolicy over Bradley-Terry's", f"win rate in %, β = {beta:g}"),
        ("e  A policy over the\nanswer that beats it best", f"win rate in %, β = {beta:g}"),
    ]
    for index, (one, (title, label)) in enumerate(zip(axes, titles, strict=True)):
        one.set_title(title, loc="left")
        one.set_xlabel(label)
        one.axvline(50 if index > 2 else 0, color="black", linewidth=0.7, zorder=0)
        for row in range(1, len(panels)):
            heavy = panels[row].real != panels[row - 1].real
            one.axhline(row - 0.5, color="#BBBBBB" if not heavy else "#555555", linewidth=0.5, zorder=0)
        one.tick_params(axis="y", length=0)
    for one, lowest in ((axes[0], LINEAR), (axes[1], LINEAR)):
        one.set_xscale("symlog", linthresh=lowest, linscale=1.2)
        low, high = one.get_xlim()
        one.set_xlim(min(low, -1.5), max(high * 1.3, 1.5))
        ticks = [
            tick
            for tick in (-100, -10, -3, -1, 0, 1, 10, 100)
            if one.get_xlim()[0] <= tick <= one.get_xlim()[1]
        ]
        one.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        one.minorticks_off()
    axes[2].set_xlim(-1, None)
    axes[0].set_yticks(range(len(panels)), [_label(panel) for panel in panels])
    axes[0].set_ylim(len(panels) - 0.5, -0.5)


def _label(panel: Panel) -> str:
    return f"{panel.name}\n{panel.votes:,} votes, {panel.units:,} {unit_of(panel)}"


def unit_of(panel: Panel) -> str:
    """Return what is held out, in words."""
    return {"HANNA": "rater slots", "qa_feedback": "questions", "HH harmless": "pairs"}.get(
        panel.name, "people"
    )


def _legends(figure: Figure, axes: Any) -> None:
    from matplotlib.lines import Line2D

    def line(color: str, label: str, **more: Any) -> Line2D:
        return Line2D([], [], **{"color": color, "label": label, "linewidth": 1.6, **more})

    # half an inch below the axes, whatever their height
    below = -0.5 / (axes[0].get_position().height * figure.get_figheight())
    gains = [
        line("black", "mean, 95 % bootstrap interval", marker="o", markersize=5),
        line("black", "one deal of the people", marker=".", linewidth=0),
        line(TWIN, "a transitive twin of the people", marker="|", markersize=7, linewidth=0),
    ]
    cycles = [
        line("black", "majorities of each prompt", marker="o", linewidth=0),
        line("black", "majorities over all prompts", marker="s", linewidth=0),
        line(label="range over transitive twins", **RANGE),
    ]
    for one, handles in ((axes[0], gains), (axes[2], cycles)):
        one.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, below), borderaxespad=0)
    for one, kinds in ((axes[3], MODELS), (axes[4], ATTACKS)):
        handles = [line(colour, name, marker=marker, markersize=4) for _, _, name, colour, marker in kinds]
        one.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, below), borderaxespad=0)


def table(result: Result) -> str:
    """Return two Markdown tables, one of predictions and one of policies, and notes.

    Log-losses are in nats a vote, a tie half a vote for each; accuracies leave ties out. Win rates are in %,
    over held-out votes. Intervals are 95 %, by a bootstrap over people, or prompts where they are not named.
    """
    lines = [
        "| people | votes | held out | folds | ties | log-loss BT | general | gain x 1000 | on twins | "
        "accuracy BT | general | gain, points | on twins | parameters BT | general | effective BT | general |"
        " skew part used | cyclic triples, prompt by prompt | on twins | over prompts | on twins |",
        "|" + "---|" * 22,
    ]
    for panel in result.panels:
        score = panel.score
        cells = [
            panel.name,
            f"{panel.votes}",
            f"{panel.units} {unit_of(panel)}",
            f"{panel.folds}",
            f"{100 * panel.tie_share:.1f} %",
            f"{score.loss_bradley_terry:.4f}",
            f"{score.loss_general:.4f}",
            _interval(score.loss_gain, 1e3, 2),
            _range(panel.twin_loss_gain, 1e3, 2),
            f"{100 * score.accuracy_bradley_terry:.2f} %",
            f"{100 * score.accuracy_general:.2f} %",
            _interval(score.accuracy_gain, 1e2, 2),
            _range(panel.twin_accuracy_gain, 1e2, 2),
            *(f"{number}" for number in panel.parameters),
            *(f"{number:.1f}" for number in panel.freedom),
            f"{100 * panel.skew_used:.0f} %",
            *_triples(panel.by_prompt),
            *_triples(panel.overall),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| people | β | Nash over optimum, same β | over optimum, same KL | over Bradley-Terry's Nash | "
        "over uniform | optimum over uniform | Nash over its best answer | optimum, same KL, over its | "
        "optimum, same β, over its | KL of Nash | KL of optimum, same β | pairs voted on |",
        "|" + "---|" * 13,
    ]
    for panel in result.panels:
        for beta in result.config.betas:
            matches = [match_of(panel, *pair, beta) for pair in COLUMNS]
            cells = [
                panel.name,
                f"{beta:g}",
                *(_interval(match.win_rate, 1e2, 1) for match in matches),
                f"{matches[0].kl_one:.2f}",
                f"{matches[0].kl_other:.2f}",
                _range([match.covered for match in matches], 100, 1) + " %",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    if not any(panel.real for panel in result.panels):
        lines += ["", "These people are made up: no folder with votes of real ones was given."]
    lines += [line for note in result.notes for line in ("", note)]
    return "\n".join(lines) + "\n"


def _interval(interval: Interval, unit: float, digits: int) -> str:
    value, low, high = (
        f"{unit * number:.{digits}f}" for number in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def _range(values: list[float], unit: float, digits: int) -> str:
    return f"{unit * min(values):.{digits}f} to {unit * max(values):.{digits}f}"


def _triples(triples: Triples | None) -> tuple[str, str]:
    if triples is None or not triples.triples:
        return "-", "-"
    found = f"{triples.cyclic} of {triples.triples} ({100 * _share(triples):.1f} %), in {triples.groups}"
    return (
        found,
        f"{_range(triples.twins, 100, 1)} %, in {min(triples.twin_groups)} to {max(triples.twin_groups)}",
    )
