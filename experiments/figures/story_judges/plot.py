"""Draw the figure of story models and voting judges, and its table, from a result alone."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import panels
from experiments.figures.shared.palette import STYLES
from experiments.figures.story_judges.run import REFERENCE_NAME
from experiments.figures.story_judges.world import CRITERIA
from experiments.language_models import win_rates
from experiments.output import text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.story_judges.run import Result

LABELS = {REFERENCE_NAME: "reference", **{name: style.label for name, style in STYLES.items()}}
ASKS_FOR_LABELS = ("xpo", "xpo_plain", "vpo", "dpo")
GOAL = 0.6


def plot(result: Result) -> Figure:
    """Return the figure: win rate and KL along the budget, last win rates, and all against all."""
    with panels.sheet(11.2, 8.4, _finding(result)) as figure:
        grid = figure.subplots(2, 2, width_ratios=(1, 1.05))
        _along(grid[0, 0], result, "win_rate")
        _along(grid[0, 1], result, "kl")
        _last(grid[1, 0], result)
        _matrix(grid[1, 1], result)
    return figure


def _finding(result: Result) -> str:
    column = result.final.names.index(REFERENCE_NAME)
    wins = {name: row[column] for name, row in zip(result.final.names, result.final.matrix, strict=True)}
    del wins[REFERENCE_NAME]
    best = max(wins, key=lambda name: wins[name])
    above = sum(rate > GOAL for rate in wins.values())
    return (
        f"{above} of {len(wins)} methods win above {GOAL:.0%} against the reference; {LABELS[best]} wins most"
    )


def _along(axes: Axes, result: Result, what: str) -> None:
    wins = what == "win_rate"
    scale = 100 if wins else 1
    for curve in result.curves:
        values = scale * np.asarray(getattr(curve, what))
        colour = STYLES[curve.method].colour
        style = panels.DASHED if curve.method in ASKS_FOR_LABELS else "-"
        axes.fill_between(curve.responses, values.min(0), values.max(0), color=colour, alpha=0.12, lw=0)
        axes.plot(
            curve.responses,
            values.mean(0),
            color=colour,
            linestyle=style,
            linewidth=1.6,
            label=LABELS[curve.method],
        )
    axes.set_xlim(0, max(max(curve.responses) for curve in result.curves))
    axes.set_xlabel("responses drawn and judged in training")
    if wins:
        axes.set_title("wins against the reference, held-out prompts", loc="left")
        axes.axhline(50, color="0.6", linewidth=0.8)
        goal: Any = {"color": "0.25", "linestyle": panels.DOTTED, "linewidth": 1.0}
        axes.axhline(100 * GOAL, label=f"goal, {GOAL:.0%}", **goal)
        axes.set_ylabel("%")
        axes.plot([], [], color="0.25", label="asks for payoffs")
        axes.plot([], [], color="0.25", linestyle=panels.DASHED, label="asks for labels")
        axes.legend(loc="upper left", ncols=2)
        axes.set_ylim(top=axes.get_ylim()[1] + 0.35 * (axes.get_ylim()[1] - axes.get_ylim()[0]))
    else:
        axes.set_title("KL(policy ‖ reference), nats a response", loc="left")
        axes.set_ylabel("nats")


def _last(axes: Axes, result: Result) -> None:
    """Last win rate against the reference: interval over prompts, and a mark a seed."""
    final = result.final
    column = final.names.index(REFERENCE_NAME)
    names = [name for name in final.names if name != REFERENCE_NAME]
    for row, name in enumerate(names):
        place = final.names.index(name)
        middle = 100 * final.matrix[place][column]
        ends = [100 * final.low[place][column], 100 * final.high[place][column]]
        axes.plot(ends, [row, row], color=STYLES[name].colour, linewidth=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(middle, row, "|", color=STYLES[name].colour, markersize=14, markeredgewidth=2)
        axes.plot(
            100 * np.asarray(result.by_seed[name]), np.full(len(result.by_seed[name]), row), "o",
            color=STYLES[name].colour, markersize=3,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [LABELS[name] for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(50, color="0.6", linewidth=0.8)
    axes.axvline(100 * GOAL, color="0.25", linestyle=panels.DOTTED, linewidth=1.0)
    axes.set_xlabel("% of wins against the reference: bar 95 % over prompts, dots single seeds")
    axes.set_title("last policies, fresh responses", loc="left")


def _matrix(axes: Axes, result: Result) -> None:
    win_rates.draw(axes, _readable(result), size=8)
    axes.set_title("wins of the row against the column, %", loc="left", pad=18)


def table(result: Result) -> str:
    """Return what was measured: settings, last policies, all against all, continuations."""
    config, final = result.config, result.final
    column = final.names.index(REFERENCE_NAME)
    budget = max(max(curve.responses) for curve in result.curves)
    divergence = {curve.method: np.asarray(curve.kl)[:, -1] for curve in result.curves}
    rows = []
    for place, name in enumerate(final.names):
        wins = [""] * 4
        if name != REFERENCE_NAME:
            rate, low, high = (100 * each[place][column] for each in (final.matrix, final.low, final.high))
            seeds = ", ".join(f"{100 * each:.1f}" for each in result.by_seed[name])
            wins = [f"{rate:.1f}", f"{low:.1f} to {high:.1f}", seeds, f"{divergence[name].mean():.2f}"]
        scores = [f"{value:.3f}" for value in result.scores[name]]
        rows.append([LABELS[name], *wins, *scores, f"{result.tokens[name]:.1f}", f"{final.nash[place]:.3f}"])
    header = ["policy", "wins %", "95 % over prompts", "by seed", "KL", *CRITERIA, "tokens", "Nash"]
    lines = [
        f"{result.model}, {result.parameters:,} parameters; {config.seeds} seeds; {budget} responses a run "
        f"({config.queries} queries of {config.prompts * config.responses}), up to {config.size} tokens each",
        f"held out: {config.held_out} prompts, {config.draws} fresh responses of each policy",
        f"continuations of the reference, ten a prompt: {100 * result.cyclic:.1f} % of prompts with a circle "
        f"of three, {100 * result.no_winner:.1f} % without one that is preferred to all others",
        "",
        text.table(header, rows, "<" + ">" * (len(header) - 1)),
        "",
        win_rates.report(_readable(result)),
    ]
    for each in result.texts:
        lines += ["", *_wrapped("prompt", each.prompt)]
        for name, answer in each.answers.items():
            lines += _wrapped(LABELS[name], answer)
    return "\n".join(lines) + "\n"


def _readable(result: Result) -> win_rates.WinRates:
    return dataclasses.replace(result.final, names=[LABELS[name] for name in result.final.names])


def _wrapped(label: str, said: str) -> list[str]:
    return textwrap.wrap(f"{label}: {said}", 100, subsequent_indent="    ")
