"""Draw the figure ``people-vs-models`` and its table from a result, without running anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import panels
from experiments.figures.shared.tables import markdown, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.people_vs_models.run import Interval, Match, Panel, Result, Triples

REAL, MADE_UP, TWIN = "#222255", "#228833", "#9A9A9A"
NASH, SAME_KL, SAME_BETA = "#222255", "#CC3311", "#7A5195"  # policies of a model, not methods
RANGE: Any = {"color": TWIN, "linewidth": 5, "alpha": 0.45, "solid_capstyle": "butt"}
LINEAR = 1.0  # thousandths: the axes of gains are linear within this distance from 0, logarithmic beyond
MODELS = (
    ("nash", "bradley_terry_nash", "its Nash policy", NASH, "o"),
    ("nash", "matched", "its optimum, same KL", SAME_KL, "s"),
    ("nash", "optimum", "its optimum, same β", SAME_BETA, "D"),
)
ATTACKS = (
    ("nash", "against_nash", "Nash, general model", NASH, "o"),
    ("matched", "against_matched", "optimum, same KL", SAME_KL, "s"),
    ("optimum", "against_optimum", "optimum, same β", SAME_BETA, "D"),
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
    rows = result.panels
    beta = result.config.betas[SHOWN_BETA]
    gains = [panel.score.loss_gain for panel in rows if panel.real]
    finding = "A general model of preferences predicts the made-up cyclic people better"
    if gains:
        better = sum(gain.low > 0 for gain in gains)
        finding += f", and {better} of {len(gains)} real data sets"
    with panels.sheet(13.2, 2.6 + 0.75 * len(rows), finding) as figure:
        axes = figure.subplots(1, 5, sharey=True, width_ratios=[1.2, 1.2, 1, 1, 1])
        for row, panel in enumerate(rows):
            colour, score = REAL if panel.real else MADE_UP, panel.score
            _gain(axes[0], row, score.loss_gain, score.loss_gain_by_seed, panel.twin_loss_gain, colour, 1e3)
            found = (score.accuracy_gain, score.accuracy_gain_by_seed, panel.twin_accuracy_gain)
            _gain(axes[1], row, *found, colour, 1e2)
            _cycles(axes[2], row, panel, colour)
            _rates(axes[3], row, panel, MODELS, beta)
            _rates(axes[4], row, panel, ATTACKS, beta)
        _decorate(axes, result)
        _legends(axes)
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
        axes.text(
            0.6,
            row,
            "two answers a prompt: no triples",
            va="center",
            fontsize=panels.letters(0.8),
            color="0.35",
        )


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
    rows, beta = result.panels, result.config.betas[SHOWN_BETA]
    titles = [
        ("a  Gain in log-loss\nof the general model", "0.001 nats a vote, log beyond 1"),
        ("b  Gain in accuracy\nof the general model", "points, log beyond 1"),
        ("c  Cyclic triples\nof majorities", "% of the strict triples"),
        ("d  General model's Nash\nover Bradley-Terry's", f"win rate in %, β = {beta:g}"),
        ("e  A policy over the\nanswer that beats it best", f"win rate in %, β = {beta:g}"),
    ]
    for index, (one, (title, label)) in enumerate(zip(axes, titles, strict=True)):
        one.set_title(title, loc="left")
        one.set_xlabel(label)
        one.axvline(50 if index > 2 else 0, color="black", linewidth=0.7, zorder=0)
        for row in range(1, len(rows)):
            heavy = rows[row].real != rows[row - 1].real
            one.axhline(row - 0.5, color="0.35" if heavy else "0.75", linewidth=0.5, zorder=0)
        one.tick_params(axis="y", length=0)
    for one in axes[:2]:
        one.set_xscale("symlog", linthresh=LINEAR, linscale=1.2)
        low, high = one.get_xlim()
        low, high = min(low, -1.5), max(high * 1.3, 1.5)
        one.set_xlim(low, high)
        ticks = [tick for tick in (-100, -10, -1, 0, 1, 10, 100) if low <= tick <= high]
        one.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        one.minorticks_off()
    axes[2].set_xlim(-1, None)
    axes[0].set_yticks(range(len(rows)), [_label(panel) for panel in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)


def _label(panel: Panel) -> str:
    return f"{panel.name}\n{panel.votes:,} votes, {panel.units:,} {unit_of(panel)}"


def unit_of(panel: Panel) -> str:
    """Return what is held out, in words."""
    return {"HANNA": "rater slots", "qa_feedback": "questions", "HH harmless": "pairs"}.get(
        panel.name, "people"
    )


def _legends(axes: Any) -> None:
    dot: Any = {"marker": "o", "markersize": 5}
    gains = [
        panels.handle("mean, 95 % interval", "black", **dot),
        panels.handle("one deal of the people", "black", marker=".", linewidth=0),
        panels.handle("a transitive twin", TWIN, marker="|", markersize=7, linewidth=0),
    ]
    cycles = [
        panels.handle("of each prompt", "black", linewidth=0, **dot),
        panels.handle("over all prompts", "black", marker="s", linewidth=0),
        panels.handle("transitive twins", **RANGE),
    ]
    kinds = {
        index: [
            panels.handle(name, colour, marker=marker, markersize=4)
            for _, _, name, colour, marker in (MODELS, ATTACKS)[index - 3]
        ]
        for index in (3, 4)
    }
    for index, handles in {0: gains, 2: cycles, **kinds}.items():
        axes[index].legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.02, -0.3), borderaxespad=0)


def table(result: Result) -> str:
    """Return two Markdown tables, one of predictions and one of policies, and notes.

    Log-losses are in nats a vote, a tie half a vote for each; accuracies leave ties out. Win rates are in %,
    over held-out votes. Intervals are 95 %, by a bootstrap over people, or prompts where they are not named.
    """
    header = ["people", "votes", "held out", "folds", "ties", "log-loss BT", "general", "gain x 1000"]
    header += ["on twins", "accuracy BT", "general", "gain, points", "on twins", "parameters BT", "general"]
    header += ["effective BT", "general", "skew part used", "cyclic triples, prompt by prompt", "on twins"]
    rows = []
    for panel in result.panels:
        score = panel.score
        cells = [panel.name, panel.votes, f"{panel.units} {unit_of(panel)}", panel.folds]
        cells += [f"{100 * panel.tie_share:.1f} %"]
        cells += [f"{score.loss_bradley_terry:.4f}", f"{score.loss_general:.4f}"]
        cells += [_interval(score.loss_gain, 1e3, 2), _range(panel.twin_loss_gain, 1e3, 2)]
        cells += [f"{100 * each:.2f} %" for each in (score.accuracy_bradley_terry, score.accuracy_general)]
        cells += [_interval(score.accuracy_gain, 1e2, 2), _range(panel.twin_accuracy_gain, 1e2, 2)]
        cells += [*panel.parameters, *(f"{number:.1f}" for number in panel.freedom)]
        cells += [f"{100 * panel.skew_used:.0f} %", *_triples(panel.by_prompt), *_triples(panel.overall)]
        rows.append(cells)
    lines = [*markdown([*header, "over prompts", "on twins"], rows), ""]
    header = ["people", "β", "Nash over optimum, same β", "over optimum, same KL"]
    header += ["over Bradley-Terry's Nash", "over uniform", "optimum over uniform"]
    header += ["Nash over its best answer", "optimum, same KL, over its", "optimum, same β, over its"]
    rows = []
    for panel in result.panels:
        for beta in result.config.betas:
            matches = [match_of(panel, *pair, beta) for pair in COLUMNS]
            rates = [_interval(match.win_rate, 1e2, 1) for match in matches]
            distances = [f"{matches[0].kl_one:.2f}", f"{matches[0].kl_other:.2f}"]
            covered = _range([match.covered for match in matches], 100, 1) + " %"
            rows.append([panel.name, f"{beta:g}", *rates, *distances, covered])
    lines += markdown([*header, "KL of Nash", "KL of optimum, same β", "pairs voted on"], rows)
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
    return span(unit * min(values), unit * max(values), f".{digits}f")


def _triples(triples: Triples | None) -> tuple[str, str]:
    if triples is None or not triples.triples:
        return "-", "-"
    found = f"{triples.cyclic} of {triples.triples} ({100 * _share(triples):.1f} %), in {triples.groups}"
    groups = f"{min(triples.twin_groups)} to {max(triples.twin_groups)}"
    return found, f"{_range(triples.twins, 100, 1)} %, in {groups}"
