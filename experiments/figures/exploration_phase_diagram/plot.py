"""Draw the phase diagram of exploration and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.exploration_phase_diagram.run import Best, Map, Result

ARMS = {"random bandits": 4}  # the others have 2


def plot(result: Result) -> Figure:
    """Return the figure: a row an instance; heat maps a method, the best method, a cut at the longest T.

    Heat maps share one scale a row. Dashed: T = exp(1/(8β)), where the rare arm is drawn once. In the map of
    the best method pale cells are not separated from the next one by their interval.
    """
    from matplotlib.colors import LogNorm

    instances = [best.instance for best in result.best]
    methods = list(dict.fromkeys(each.method for each in result.maps))
    finding = "At small β greedy methods meet a wall on the good arm, T = exp(1/(8β)); XPO's bonus passes it"
    with panels.sheet(15.5, 2.9 * len(instances) + 0.7, finding) as figure:
        widths = [1.0] * len(methods) + [0.07, 1.0, 1.3]
        grid = figure.add_gridspec(len(instances), len(widths), width_ratios=widths)
        for row, instance in enumerate(instances):
            last = row == len(instances) - 1
            maps = [each for each in result.maps if each.instance == instance]
            values = np.concatenate([np.ravel(each.mean) for each in maps])
            lowest = max(float(values.min()), 1e-2)
            norm = LogNorm(lowest, float(values.max()))
            image: Any = None
            for column, each in enumerate(maps):
                axes = figure.add_subplot(grid[row, column])
                regret = np.asarray(each.mean).clip(lowest)
                image = axes.pcolormesh(*_edges(each, result), regret, norm=norm, cmap="cividis")
                if instance == "good rare arm":
                    _wall(axes, result, named=column == 0)
                _plane(axes, each, result, first=column == 0, last=last)
                style = palette.style(each.method)
                title = style.label if each.width is None else f"{style.label}, {each.width:g}u"
                axes.set_title(title, color=style.colour, weight="bold", fontsize=panels.letters(0.8))
                if column == 0:
                    axes.set_ylabel(f"{instance}\n1/β")
            bar = figure.colorbar(image, cax=figure.add_subplot(grid[row, len(methods)]))
            bar.set_label("cumulative regret")
            bar.outline.set_linewidth(0.4)
            _best(figure.add_subplot(grid[row, -2]), result.best[row], maps[0], result, last=last)
            _cut(figure.add_subplot(grid[row, -1]), maps, result, last=last)
    return figure


def _edges(each: Map, result: Result) -> tuple[np.ndarray, np.ndarray]:
    return _between(each.horizons), _between(result.config.inverse_betas)


def _between(centres: Any) -> np.ndarray:
    logs = np.log(np.asarray(centres, float))
    middle = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - middle[0]], middle, [2 * logs[-1] - middle[-1]]]))


def _plane(axes: Axes, each: Map, result: Result, *, first: bool, last: bool) -> None:
    panels.log_log(axes, "T" if last else "", "1/β" if first else "")
    edges = _edges(each, result)
    axes.set_xlim(edges[0][0], edges[0][-1])
    axes.set_ylim(edges[1][0], edges[1][-1])
    axes.set_xticks(each.horizons, [str(horizon) for horizon in each.horizons], rotation=45)
    axes.set_yticks(result.config.inverse_betas, [str(one) for one in result.config.inverse_betas])
    axes.minorticks_off()
    axes.tick_params(length=0, labelleft=first)


def _wall(axes: Axes, result: Result, *, named: bool) -> None:
    inverse_beta = np.geomspace(result.config.inverse_betas[0] / 2, 2 * result.config.inverse_betas[-1], 200)
    axes.plot(np.exp(inverse_beta / 8), inverse_beta, color="white", linestyle=panels.DASHED, linewidth=1.2)
    if named:
        axes.text(0.04, 0.66, r"$T = e^{1/8\beta}$", color="white", transform=axes.transAxes)


def _best(axes: Axes, best: Best, first: Map, result: Result, *, last: bool) -> None:
    from matplotlib.colors import to_rgb

    image = np.ones((*np.shape(best.method), 3))
    for row, (names, certain) in enumerate(zip(best.method, best.certain, strict=True)):
        for column, (name, sure) in enumerate(zip(names, certain, strict=True)):
            colour = np.asarray(to_rgb(palette.colour(name)))
            image[row, column] = colour if sure else 0.3 * colour + 0.7
    axes.pcolormesh(*_edges(first, result), image, edgecolor="white", linewidth=0.8)
    _plane(axes, first, result, first=True, last=last)
    axes.set_title("least (pale: not sure)")


def _cut(axes: Axes, maps: list[Map], result: Result, *, last: bool) -> None:
    x = np.asarray(result.config.inverse_betas, float)
    panels.log_log(axes, "1/β" if last else "", "")
    ends = []
    for each in maps:
        style = palette.style(each.method)
        mean, low, high = (np.asarray(rows)[:, -1] for rows in (each.mean, each.low, each.high))
        axes.fill_between(x, low.clip(1e-3), high, color=style.colour, alpha=0.18, lw=0)
        axes.plot(x, mean, color=style.colour)
        ends.append((style.label, style.colour, float(mean[-1])))
    axes.plot(x, theory(maps, x), color=palette.THEORY, linestyle=panels.DOTTED, linewidth=1.2)
    values = np.concatenate([np.asarray(each.mean)[:, -1] for each in maps])
    axes.set_ylim(max(values.min() / 2, 1e-2), values.max() * 2)
    axes.set_xlim(x[0], x[-1])
    every = 1 + (len(x) > 5)
    axes.set_xticks(x, [f"{one:g}" if place % every == 0 else "" for place, one in enumerate(x)])
    axes.minorticks_off()
    axes.set_title(f"cut at T = {maps[0].horizons[-1]}")
    ends.append(("theory's shape", palette.THEORY, float(theory(maps, x)[-1])))
    panels.label_ends(axes, ends, gap=0.12)


def theory(maps: list[Map], x: np.ndarray) -> np.ndarray:
    """``min(c K log²T / β, c' √(KT))`` at the longest T, matched to KL-UCB at the two ends of 1/β.

    Args:
      maps: of one instance.
      x: 1/β, increasing.
    """
    curve = np.asarray(next(each for each in maps if each.method == "kl_ucb").mean)[:, -1]
    arms, horizon = ARMS.get(maps[0].instance, 2), maps[0].horizons[-1]
    fast, slow = arms * np.log(horizon) ** 2 * x, np.sqrt(arms * horizon) * np.ones_like(x)
    return np.minimum(curve[0] * fast / fast[0], max(curve) * slow / slow[0])


def table(result: Result) -> str:
    """Return the Markdown table: regret at every cell with its 95 % interval, and the best method."""
    lines = []
    for best in result.best:
        maps = [each for each in result.maps if each.instance == best.instance]
        width = next(each.width for each in maps if each.width is not None)
        rows = []
        for row, inverse_beta in enumerate(result.config.inverse_betas):
            for column, horizon in enumerate(maps[0].horizons):
                cells = [_cell(each, row, column) for each in maps]
                sure = "" if best.certain[row][column] else " (not separated)"
                rows.append([inverse_beta, horizon, *cells, palette.label(best.method[row][column]) + sure])
        head = f"**{best.instance}** (KL-UCB: c = {width:g}; in brackets the exponent in T at the end)"
        names = [palette.label(each.method) for each in maps]
        lines += [head, "", *markdown(["1/β", "T", *names, "least"], rows), ""]
    return "\n".join(lines)


def _cell(each: Map, row: int, column: int) -> str:
    mean, low, high = (rows[row][column] for rows in (each.mean, each.low, each.high))
    ending = f" [{each.exponent[row]:.2f}]" if column == len(each.horizons) - 1 else ""
    return f"{mean:.3g} ({span(low, high, '.3g')}){ending}"
