"""The papers' examples and counter-examples, and the best Bradley-Terry reward of preferences without one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular import families

LIMIT = 1e-12  # relative to 1 + |value|
HALF = Fraction(1, 2)
Matrix = list[list[Fraction]]


# The three types of rater of arXiv:2312.00886, section 3.2, in rationals


def three_types(epsilon: Fraction) -> Matrix:
    """Mix three raters, each sure of one pair and indifferent otherwise, into one preference matrix.

    The first, a share 1/3 - ε, is sure of 2 ≻ 1; the others, 1/3 + ε/2 each, of 1 ≻ 3 and of 3 ≻ 2.
    """
    third = Fraction(1, 3)
    shares = (third - epsilon, third + epsilon / 2, third + epsilon / 2)
    table = [[HALF] * 3 for _ in range(3)]
    for share, (winner, loser) in zip(shares, ((1, 0), (0, 2), (2, 1)), strict=True):
        table[winner][loser] += share * HALF
        table[loser][winner] -= share * HALF
    return table


def _three_types_error(epsilon: Fraction, sign: int) -> float:
    """How far the stated policy is from an equilibrium, and the printed numbers from the raters' mixture."""
    table = three_types(epsilon)
    stated = [Fraction(1, 3) + sign * epsilon / 2] * 2 + [Fraction(1, 3) - sign * epsilon]
    gains = [sum((p - HALF) * q for p, q in zip(row, stated, strict=True)) for row in table]
    library = families.three_types(float(epsilon))
    rounding = max(abs(library[i, j] - float(table[i][j])) for i in range(3) for j in range(3))
    printed = (2 * Fraction(1, 3) - epsilon / 2, Fraction(1, 3) - epsilon / 4, Fraction(2, 3) + epsilon / 4)
    exact = max(abs(a - b) for a, b in zip(printed, (table[1][0], table[2][0], table[2][1]), strict=True))
    return max(
        float(max(gains)), float(-min(stated)), float(abs(sum(stated) - 1)), float(exact), float(rounding)
    )


def _three_types(effort: Effort) -> Outcome:
    del effort
    grid = [Fraction(k, 12) for k in range(-4, 5)]
    errors = [_three_types_error(epsilon, 1) for epsilon in grid]
    wrong = [_three_types_error(epsilon, -1) for epsilon in grid]
    worst = float(grid[int(np.argmax(errors))])
    return Outcome(
        len(grid), max(errors), "the policy of the opposite ε", max(wrong), LIMIT, {"epsilon": worst}
    )


def bradley_terry_fit(preference: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Scores of mean zero that maximise the likelihood of pairs drawn from ``law × law``, by Newton's method.

    Args:
      preference: ``[A, A]``, no entry 0 or 1.
      law: ``[A]`` of full support.
    """
    weight, score = np.outer(law, law), np.zeros(len(law))
    for _ in range(100):
        fitted = 1 / (1 + np.exp(score[None, :] - score[:, None]))
        bend = weight * fitted * (1 - fitted)
        slope = (weight * (preference - fitted)).sum(1)
        step = np.linalg.lstsq(np.diag(bend.sum(1)) - bend, slope, rcond=None)[0]
        score = score + step
        if np.abs(step).max() < 1e-15:
            break
    return score - score.mean()


def _reward_flips(effort: Effort) -> Outcome:
    """Count the ε at which the best Bradley-Terry reward does not favour the stated answer."""
    sizes = np.linspace(0.01, 0.3, effort.pick(4, 20))
    picked = [
        [
            int(np.argmax(bradley_terry_fit(families.three_types(sign * size), np.full(3, 1 / 3))))
            for size in sizes
        ]
        for sign in (1, -1)
    ]
    missed = sum(choice != 0 for choice in picked[0]) + sum(choice != 1 for choice in picked[1])
    swapped = sum(choice != 1 for choice in picked[0]) + sum(choice != 0 for choice in picked[1])
    return Outcome(2 * len(sizes), float(missed), "the answers swapped", float(swapped), 0.0)


def _elo(effort: Effort) -> Outcome:
    """Scores (0, log 9, log 2), policies with π_1 = 2 π_2: the line from (2/3, 1/3, 0) to (0, 0, 1)."""
    del effort
    table = families.elo_example()
    scores, first, last = np.log([1.0, 9.0, 2.0]), np.array([2 / 3, 1 / 3, 0]), np.array([0.0, 0, 1])
    printed = [
        abs(table[1, 0] - 9 / 10),
        abs(table[2, 0] - 2 / 3),
        abs(table[1, 2] - 9 / 11),
        abs(last @ table @ first - 50 / 99),
    ]
    # reward is linear on the line and preference bilinear: ends decide
    prefers_first = float(first @ scores > last @ scores)
    errors = [*printed, 1 - prefers_first]
    return Outcome(
        1,
        float(max(errors)),
        "what reward picks wins 50/99",
        float(abs(first @ table @ last - 50 / 99)),
        LIMIT,
        {"preference": table.tolist()},
    )


def _dice(effort: Effort) -> Outcome:
    """Counted over faces in rationals; and face by face, three raters who each rank the dice."""
    del effort
    dice = ((2, 4, 9), (1, 6, 8), (3, 5, 7))
    cycle = ((0, 1), (1, 2), (2, 0))
    wins = [Fraction(sum(a > b for a in dice[i] for b in dice[j]), 9) for i, j in cycle]
    raters = [Fraction(sum(a > b for a, b in zip(dice[i], dice[j], strict=True)), 3) for i, j in cycle]
    library = families.dice()
    errors = [abs(float(win - Fraction(5, 9))) for win in wins]
    errors += [abs(float(share - Fraction(2, 3))) for share in raters]
    errors += [abs(library[i, j] - 5 / 9) for i, j in cycle]
    wrong = max(abs(library[j, i] - 5 / 9) for i, j in cycle)
    return Outcome(3, float(max(errors)), "the cycle the other way", float(wrong), LIMIT)


# The best Bradley-Terry reward of preferences that have none


def _laws(rng: np.random.Generator, size: int) -> list[np.ndarray]:
    draws = 0.2 + rng.uniform(size=(2, size))
    return list(draws / draws.sum(-1, keepdims=True))


def _inner(rng: np.random.Generator, size: int, transitive: bool) -> np.ndarray:
    """A preference matrix with no entry near 0 or 1."""
    score = rng.normal(size=size)
    fitted = 1 / (1 + np.exp(score[None, :] - score[:, None]))
    upper = np.triu((fitted if transitive else rng.uniform(0.05, 0.95, (size, size))) - 0.5, 1)
    return 0.5 + upper - upper.T


def _moments(effort: Effort) -> Outcome:
    rng, count = effort.rng("moments"), effort.pick(10, 200)
    errors: list[float] = []
    wrong: list[float] = []
    for index in range(count):
        size = 3 + index % 6
        preference, (law, other) = _inner(rng, size, False), _laws(rng, size)
        for fitted_to, into in ((law, errors), (other, wrong)):
            score = bradley_terry_fit(preference, fitted_to)
            model = 1 / (1 + np.exp(score[None, :] - score[:, None]))
            into.append(float(np.abs((model - preference) @ law).max()))
    return Outcome(count, max(errors), "fitted to another sampling law", max(wrong), LIMIT)


def _moves(effort: Effort) -> Outcome:
    """Smallest move of the best reward between two laws; preferences that are Bradley-Terry as control."""
    rng, count = effort.rng("moves"), effort.pick(10, 200)
    moved: tuple[list[float], list[float]] = ([], [])
    for index in range(count):
        size = 3 + index % 6
        for transitive, into in zip((False, True), moved, strict=True):
            preference, laws = _inner(rng, size, transitive), _laws(rng, size)
            first, second = (bradley_terry_fit(preference, law) for law in laws)
            into.append(float(np.abs(first - second).max() / (1 + np.abs(first).max())))
    return Outcome(
        count,
        min(moved[0]),
        "Bradley-Terry preferences",
        max(moved[1]),
        LIMIT,
        detail={"largest": max(moved[0])},
    )


_NASH_MD = "arXiv:2312.00886"

CHECKS: tuple[Check, ...] = (
    check_of(
        "example.three_types",
        "three types of rater: Nash policy (1/3 + ε/2, 1/3 + ε/2, 1/3 - ε), in exact rationals",
        "|ε| <= 1/3",
        _three_types,
        "theorem",
        f"{_NASH_MD}, section 3.2",
        kind="identity",
        subject="game",
    ),
    check_of(
        "example.three_types_reward",
        "reward learning on the three types picks the first answer for ε > 0 and the second for ε < 0",
        "pairs drawn uniformly",
        _reward_flips,
        "theorem",
        f"{_NASH_MD}, section 3.2",
        kind="separation",
        subject="game",
    ),
    check_of(
        "example.elo",
        "scores (0, log 9, log 2), π_1 = 2π_2: reward picks (2/3, 1/3, 0), but (0, 0, 1) beats it with 50/99",
        "none",
        _elo,
        "theorem",
        f"{_NASH_MD}, appendix A",
        kind="separation",
        subject="game",
    ),
    check_of(
        "example.dice",
        "dice {2, 4, 9}, {1, 6, 8}, {3, 5, 7} beat each other in a circle by 5/9; of three raters 2/3 agree",
        "none",
        _dice,
        "theorem",
        f"{_NASH_MD}, appendix C",
        kind="identity",
        subject="game",
    ),
    check_of(
        "bradley_terry.fit_matches_win_rates",
        "the best Bradley-Terry model for the law π has P_BT(y ≻ π) = P(y ≻ π)",
        "π of full support, no preference 0 or 1",
        _moments,
        "theorem",
        f"{_NASH_MD}, Proposition 2",
        kind="identity",
        subject="game",
    ),
    check_of(
        "bradley_terry.fit_ignores_sampling",
        "the best Bradley-Terry reward does not depend on the sampling law",
        "random preferences; smallest move shown",
        _moves,
        "theorem",
        f"against {_NASH_MD}, Theorem 2",
        kind="separation",
        subject="game",
        refuted=True,
    ),
)
