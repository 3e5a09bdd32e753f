"""Policies of language models against each other: win rates, intervals, the Nash of them, a heat map."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.output import text
from experiments.output.style import STYLE
from nlhf.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nlhf.transformer.judges.protocol import Judge
    from nlhf.transformer.responses import Responses

LEVEL = 0.95
CHUNK = 1 << 22  # numbers of the resampled matrices at a time


@dataclasses.dataclass(frozen=True)
class WinRates:
    """Win rates between M policies."""

    names: list[str]  # of the policies
    matrix: list[list[float]]  # ``[M][M]``, entry (i, j) is how often i is preferred to j
    low: list[list[float]]  # lower ends of 95 % intervals over prompts
    high: list[list[float]]  # upper ends
    nash: list[float]  # an equilibrium of the matrix as a game, a probability a policy
    unique: bool | None  # whether it is the only one


def prompt_win_rates(judge: Judge, responses: Sequence[Responses]) -> np.ndarray:
    """Win rates on each prompt: ``W[b, i, j] = mean_kl P(y_ibk ≻ y_jbl)``, ``[B, M, M]`` float64.

    Each response is described once, each pair of policies i < j asked about once; the other triangle is
    1 - W and the diagonal 1/2. For a judge that favours a position use ``symmetric`` first.

    Args:
      responses: of M policies to the same prompts, each ``[B, K]``, all of one shape.

    Raises:
      InputError: if there are none, their shapes or prompts differ, or an answer is no probability.
    """
    from nlhf.transformer.responses import flat
    from nlhf.transformer.runs.preference import mean_wins

    check_same_prompts(responses)
    num, (prompts, draws) = len(responses), responses[0].tokens.shape[:2]
    features = [judge.describe(flat(each)) for each in responses]
    rates = np.full((prompts, num, num), 0.5)
    for i in range(num):
        for j in range(i + 1, num):
            rates[:, i, j] = mean_wins(exact(judge), features[i], features[j], (prompts, draws))
            rates[:, j, i] = 1 - rates[:, i, j]
    return rates


def exact(judge: Judge) -> Judge:
    """Let a judge answer with float64 on the host, checked."""
    from nlhf.transformer.judges.protocol import check_preference

    def compare(first: Any, second: Any) -> Any:
        return np.asarray(check_preference(judge.compare(first, second)), np.float64)

    return judge._replace(compare=compare)


def check_same_prompts(responses: Sequence[Responses]) -> None:
    """Refuse responses that cannot be compared.

    Args:
      responses: of M policies, each ``[B, K]``.

    Raises:
      InputError: if there are none, or their shapes or prompts differ.
    """
    shapes = [each.tokens.shape[:2] for each in responses]
    if not shapes or len(set(shapes)) > 1 or 0 in shapes[0]:
        raise InputError(
            f"the policies have {[list(shape) for shape in shapes]} responses [prompts, each], but all need "
            "the same, one at least"
        )
    first = np.asarray(responses[0].prompt)
    for index, each in enumerate(responses):
        if not np.array_equal(first, np.asarray(each.prompt)):
            raise InputError(
                f"policy {index} answers other prompts than policy 0; draw from the same prompts"
            )


def bootstrap(values: np.ndarray, num_resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile intervals at 95 % of means over the first axis, its rows resampled.

    Args:
      values: ``[B, ...]``, one row a prompt.
      num_resamples: >= 1.

    Returns:
      Lower and upper ends, ``[...]``.
    """
    random = np.random.default_rng(seed)
    num = len(values)
    flat = values.reshape(num, -1)
    share = random.multinomial(num, np.full(num, 1 / num), num_resamples) / num
    size = max(1, CHUNK // num_resamples)
    parts = [
        np.quantile(share @ flat[:, start : start + size], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        for start in range(0, flat.shape[1], size)
    ]
    low, high = np.concatenate(parts, axis=1).reshape(2, *values.shape[1:])
    return low, high


def summarise(names: Sequence[str], rates: np.ndarray, *, num_resamples: int, seed: int) -> WinRates:
    """Average win rates over prompts, with intervals and the equilibrium.

    Args:
      names: of the M policies.
      rates: ``[B, M, M]``, of ``prompt_win_rates``; several draws of policies may be averaged first.
    """
    from tabular.rational import solve_exact

    matrix = rates.mean(0)
    low, high = bootstrap(rates, num_resamples, seed)
    for ends in (low, high):
        np.fill_diagonal(ends, 0.5)  # not data, and not to be off by rounding
    solution = solve_exact(matrix)
    return WinRates(
        list(names), matrix.tolist(), low.tolist(), high.tolist(), solution.policy.tolist(), solution.unique
    )


def report(found: WinRates) -> str:
    """Return the table of win rates with intervals (row against column) and the equilibrium."""
    rows = []
    for i, name in enumerate(found.names):
        cells = [
            "." if i == j else f"{100 * rate:.1f} ({100 * low:.0f} to {100 * high:.0f})"
            for j, (rate, low, high) in enumerate(
                zip(found.matrix[i], found.low[i], found.high[i], strict=True)
            )
        ]
        rows.append((name, *cells, f"{found.nash[i]:.3f}"))
    return text.table(["% of wins against", *found.names, "Nash"], rows, "<" + ">" * (len(found.names) + 1))


def draw(axes: Axes, found: WinRates, *, size: float = 7.0) -> Any:
    """Draw the heat map of win rates, with the equilibrium beside the names.

    Returns:
      The image, for a colour bar.
    """
    matrix, num = np.asarray(found.matrix), len(found.names)
    image = axes.imshow(matrix, cmap="RdBu", vmin=0, vmax=1)
    for i in range(num):
        for j in range(num):
            colour = "white" if abs(matrix[i, j] - 0.5) > 0.3 else "0.1"
            if i != j:
                axes.text(
                    j, i, f"{100 * matrix[i, j]:.0f}", ha="center", va="center", size=size, color=colour
                )
    axes.set_xticks(range(num), found.names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(num), found.names)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    for i, mass in enumerate(found.nash):
        shown = f"{mass:.2f}" if mass > 0 else "0"
        axes.text(num - 0.3, i, shown, va="center", size=size, color="0.1" if mass > 0 else "0.6")
    axes.text(num - 0.3, -0.65, "Nash", va="bottom", size=size, color="0.1")
    return image


def plot(found: WinRates) -> Figure:
    """Return the heat map as a figure of its own."""
    import matplotlib
    import matplotlib.pyplot as plt

    num = len(found.names)
    with matplotlib.rc_context(STYLE):
        side = 1.6 + 0.48 * num
        figure, axes = plt.subplots(figsize=(side + 1.2, side), layout="constrained")
        image = draw(axes, found)
        axes.set_title("wins of the row against the column, %", loc="left", pad=16)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.12, ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.ax.set_yticklabels(["0", "25", "50", "75", "100 %"])
        bar.outline.set_visible(False)
        plt.close(figure)
    return figure
