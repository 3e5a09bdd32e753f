"""Draw the map of breaking points and its table from a result, without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.figures.shared import palette, panels
from experiments.figures.shared.tables import markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.figures.breaking_points.run import Map, Point, Result

SHOWN = (3, 5, 31)  # numbers of actions, where they were scanned
DOUBLING = (0.25, 0.5, 1, 2, 4, 8, 16, 32)
TICKS = {
    "egpo": DOUBLING,
    "nash_mirror_prox": DOUBLING,
    "omwu": DOUBLING,
    "nash_md": (0.05, 0.1, 0.2, 0.5, 1),
    "online_mirror_descent": (0.001, 0.01, 0.1, 1, 10),
}
# rising darkness, so that the regions differ in grey too
HOLDS, UNKNOWN, VIOLATED = "#E3EEF8", "#EBC878", "#C98B7B"
LEVELS = (0.0, 0.5, 0.9, 1.0, 1.01, 1.5, np.inf)
NAMES = ("< 0.5", "0.5 to 0.9", "0.9 to 1", "1 to 1.01", "1.01 to 1.5", "> 1.5")
DOTS = ("#FFFFFF", "#BFD3E6", "#6BAED6", "#FDBB63", "#D9480F", "#2B0A0A")
LIMIT: Any = {"color": "black", "linestyle": (0, (3, 1.5)), "linewidth": 1.0}


def plot(result: Result) -> Figure:
    """Return the figure: one row a method, one column a number of actions.

    Pale is the range of the claim, yellow the steps beyond it at which no violation was found, hatched those
    from the smallest violating step on; white was not tried. A dot is a step that was tried, coloured by the
    largest measured/bound found there. Dashed is the limit of local stability of a cyclic game: above it the
    bound must fail there in the long run, whether or not the short runs of the search show it.
    """
    scanned = sorted({point.actions for one in result.maps for point in one.points})
    sizes = [size for size in SHOWN if size in scanned] or scanned[:3]
    points = [point for one in result.maps for point in one.points]
    broken = [point.violated_from / point.proved_to for point in points if point.violated_from]
    finding = "No claim was seen to fail"
    if broken:
        finding = f"The first failure found is at {min(broken):.3g} times the longest step of the claim"
    height = 1.8 * len(result.maps) + 2.0
    with panels.sheet(max(7.8, 0.9 + 2.1 * len(sizes)), height, finding, points=9.5) as figure:
        grid = figure.subplots(len(result.maps), len(sizes), sharex=True, sharey="row", squeeze=False)
        for row, one in zip(grid, result.maps, strict=True):
            for axes, size in zip(row, sizes, strict=True):
                _draw(axes, one, [point for point in one.points if point.actions == size])
            style = palette.style(one.method)
            row[0].set_ylabel(f"{style.label}\n({one.status})\n{_axis(one.method)}", color=style.colour)
        for axes, size in zip(grid[0], sizes, strict=True):
            axes.set_title(f"{size} actions")
        for axes in grid[-1]:
            axes.set_xlabel("β")
        _legend(figure)
    return figure


def _axis(method: str) -> str:
    return "weight ηβ" if method == "nash_md" else "composite step g"


def _draw(axes: Axes, one: Map, points: list[Point]) -> None:
    betas = np.asarray([point.beta for point in points])
    for point, left, right in zip(points, *_edges(betas), strict=True):
        scale = _scale(one.method, point.beta)
        top = max(point.steps) * scale
        proved = point.proved_to * scale
        broken = top if point.violated_from is None else point.violated_from * scale
        span: Any = {"x": [left, right], "lw": 0}
        axes.fill_between(**span, y1=1e-9, y2=proved, color=HOLDS)
        axes.fill_between(**span, y1=proved, y2=max(broken, proved), color=UNKNOWN)
        axes.fill_between(
            **span, y1=broken, y2=top, facecolor=VIOLATED, edgecolor="#5B2A1E", hatch="////", zorder=0.5
        )
        axes.plot([left, right], [proved, proved], color="#0B3C5D", linewidth=1.3)
        if point.violated_from is not None:
            axes.plot([left, right], [broken, broken], color="#7A1F0F", linewidth=1.3)
        level = np.digitize(point.ratios, LEVELS[1:], right=True)
        axes.scatter(
            np.full(len(point.steps), point.beta),
            np.asarray(point.steps) * scale,
            s=9,
            color=[DOTS[index] for index in level],
            edgecolors="black",
            linewidths=0.35,
            zorder=3,
        )
    every = np.geomspace(*_ends(betas), 100)
    axes.plot(every, local_limit(one.method, points[0].actions, every), **LIMIT)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*_ends(betas))
    axes.set_ylim(*_range(one))
    axes.set_yticks([tick for tick in TICKS[one.method] if _range(one)[0] <= tick <= _range(one)[1]])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def _scale(method: str, beta: float) -> float:
    return beta if method == "nash_md" else 1.0


def _edges(betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return left and right ends of the columns: halfway to the neighbours, on the logarithmic axis."""
    low, high = _ends(betas)
    middle = np.sqrt(betas[1:] * betas[:-1])
    return np.concatenate([[low], middle]), np.concatenate([middle, [high]])


def _ends(betas: np.ndarray) -> tuple[float, float]:
    return float(betas[0]) / 1.8, float(betas[-1]) * 1.8


def _range(one: Map) -> tuple[float, float]:
    proved = [point.proved_to * _scale(one.method, point.beta) for point in one.points]
    tried = [step * _scale(one.method, point.beta) for point in one.points for step in point.steps]
    return min(0.5 * min(proved), 0.8 * min(tried)), 1.15 * max(tried)


def local_limit(method: str, actions: int, beta: np.ndarray) -> np.ndarray:
    """Composite step above which a start near π* moves away in the cyclic game of A actions.

    The smallest g at which the linearised step's spectral radius exceeds 1, with c = 1 + gβ and x = igs:
    extragradient ``(1 + x(1 + x)/c)/c`` (g s = 1 as β → 0), self-play ``(1 + x)/c`` (g = 2β/(s² - β²)), OMWU
    the roots of ``z² - (c + x + cx) z/c² + x/c²`` (g s = 1/√3 as β → 0).

    Args:
      method: key of ``proofs_checks.breaking.SCANS``.
      actions: A; s = 1/(2√3) for three, rising to 1/π.
      beta: ``[B]`` KL coefficients.

    Returns:
      ``[B]``, NaN where every step is stable, and for Nash-MD, which ends at another point than π*.
    """
    g = np.geomspace(1e-4, 1e3, 14001)[:, None]
    c, x = 1 + g * beta, 1j * g * _rotation(actions)
    if method in ("egpo", "nash_mirror_prox"):
        radius = abs((1 + x * (1 + x) / c) / c)
    elif method == "online_mirror_descent":
        radius = abs((1 + x) / c)
    elif method == "omwu":
        middle = (c + x + c * x) / c**2 / 2
        root = np.sqrt(middle**2 - x / c**2)
        radius = np.maximum(abs(middle + root), abs(middle - root))
    else:
        return np.full_like(beta, np.nan)
    unstable = radius > 1
    return np.where(unstable.any(0), g[unstable.argmax(0), 0], np.nan)


def _rotation(actions: int) -> float:
    """Largest eigenvalue s of the linearised game with A actions in a circle, each beating the next half."""
    return float(np.sin(2 * np.pi * np.arange(1, (actions + 1) // 2) / actions).sum() / actions)


def _legend(figure: Figure) -> None:
    handles = [
        panels.patch("holds (range of the claim)", color=HOLDS),
        panels.patch("unknown (no violation found)", color=UNKNOWN),
        panels.patch("violated", facecolor=VIOLATED, edgecolor="#5B2A1E", hatch="////", lw=0),
        panels.patch("not tried", facecolor="white", edgecolor="0.6", lw=0.6),
        panels.handle("local stability of a cyclic game ends", **LIMIT),
    ]
    ring: Any = {"linestyle": "none", "marker": "o", "markersize": 4, "mew": 0.4, "mec": "black"}
    handles += [
        panels.handle(f"measured / bound {name}", colour, **ring)
        for colour, name in zip(DOTS, NAMES, strict=True)
    ]
    panels.legend_below(figure, handles, 3)


def table(result: Result) -> str:
    """Return the Markdown table, one row for each method, number of actions and β.

    ``proved to``, ``holds to`` (no violation found), ``violated from`` and ``locally stable to`` (of the
    cyclic game) are composite steps g; of Nash-MD they are its own steps η. The last column is the largest
    measured/bound within the range of the claim.
    """
    header = ["claim", "status", "actions", "β", "proved to", "holds to", "violated from"]
    header += ["violated / proved", "locally stable to", "measured / bound"]
    rows = []
    for one in result.maps:
        for point in one.points:
            tried = zip(point.steps, point.ratios, strict=True)
            within = max(ratio for step, ratio in tried if step <= point.proved_to * (1 + 1e-12))
            broken = point.violated_from
            stable = float(local_limit(one.method, point.actions, np.asarray([point.beta]))[0])
            cells = [one.claim, one.status, point.actions, f"{point.beta:g}", f"{point.proved_to:.5g}"]
            cells += [f"{point.holds_to:.5g}", "not found" if broken is None else f"{broken:.5g}"]
            cells.append("-" if broken is None else f"{broken / point.proved_to:.3f}")
            rows.append([*cells, "-" if np.isnan(stable) else f"{stable:.4g}", f"{within:.6f}"])
    return "\n".join(markdown(header, rows)) + "\n"
