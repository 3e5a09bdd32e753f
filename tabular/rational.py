"""The equilibrium of an unregularised preference game (β = 0), proved in rational arithmetic when small.

Write M = P - 1/2 (skew). The symmetric equilibria are the polytope {p >= 0, Σp = 1, M p <= 0}. A linear
program finds a vertex in floating point; its support and its tight rows give a linear system whose exact
solution is then checked, inequality by inequality, over the integers. Where the floating-point support is
wrong an exact simplex method starts from scratch.

Uniqueness is decided exactly, for any equilibrium p with support S: it is the only one if and only if
(M p)_i < 0 off S and M_SS has rank |S| - 1. (If: another equilibrium q has Σ q_i (M p)_i >= 0, so it lives on
S, and by the same token M_SS q = 0. Only if: some equilibrium is strictly complementary (Goldman and Tucker
1956), so p is; and along a second null vector p could move.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linprog

from nlhf.errors import InputError
from tabular.games import make_game

MAX_EXACT_SUPPORT = 64  # integers grow with the support: 2 s at 64 actions of random float64 entries
MAX_SIMPLEX_ACTIONS = 50  # 4 s for the exact simplex on as many
LP_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}  # HiGHS's smallest
LP_ZERO = 1e-9  # below this a mass or a slack of the floating-point solution is taken for zero, then proved
DECIMAL_DIGITS = 10
LARGEST_DENOMINATOR = 10**7  # two such fractions differ by 1e-14 or more, so at most one rounds to the float

Entry = Callable[[int, int], Fraction]


class ExactSolution(NamedTuple):
    """An equilibrium of the unregularised game and the evidence for it.

    Attributes:
      policy: ``[A]`` float64 probabilities.
      support: ``[A]`` booleans, where the policy has mass.
      exploitability: max_i (P p)_i - 1/2 of ``policy`` as stored, one-sided, rounding of 1e-17 included.
      fractions: the equilibrium as exact rationals, with p >= 0, Σp = 1 and max_i (M p)_i <= 0 verified
        without rounding; ``None`` where the game is too large for that.
      unique: whether it is the only symmetric equilibrium, decided exactly; ``None`` without ``fractions``.
    """

    policy: np.ndarray
    support: np.ndarray
    exploitability: float
    fractions: tuple[Fraction, ...] | None
    unique: bool | None


def solve_exact(preference: Any) -> ExactSolution:
    """Find p with ``p >= 0, Σp = 1, (P p)_i <= 1/2`` for every i, and prove it.

    Entries may be ``fractions.Fraction``, taken as they are, or floats, which are read as rationals: see
    ``as_fraction``. Only the upper triangle is read and the lower one is its complement, because in floats
    P + Pᵀ = 1 rarely holds to the last bit, and without it the game has no value of 1/2 to prove.

    Args:
      preference: ``[A, A]`` array-like in [0, 1] with P + Pᵀ = 1 within 1e-9, floats or ``Fraction``.

    Returns:
      The solution: exact if A <= 50, and above if the support has at most 64 actions and the linear program
      found it; else polished in floating point, with ``fractions`` and ``unique`` ``None``.

    Raises:
      InputError: an input breaks a rule above.
      ArithmeticError: the linear program failed and the game is too large for the exact method.

    Reference:
      Skew-symmetric games: Kaplansky 1945. Integer pivoting: Edmonds 1967, Bareiss 1968.
    """
    matrix = np.asarray(preference, np.float64)
    if matrix.ndim != 2:
        raise InputError(
            f"the preference has shape {matrix.shape}, but one game is [A, A]; solve one at a time"
        )
    make_game(matrix)  # raises on entries that are no preferences
    upper = np.triu(matrix - 0.5, 1)
    return solve_advantage(upper - upper.T, rational_game(preference))


def solve_advantage(centred: np.ndarray, entry: Entry | None = None) -> ExactSolution:
    """``solve_exact`` of a checked game.

    Args:
      centred: ``[A, A]`` float64 P - 1/2, skew to the last bit.
      entry: (i, j) -> the same exactly; ``None`` reads each float by ``advantage_as_fraction``.

    Raises:
      ArithmeticError: as ``solve_exact``.
    """
    if entry is None:
        entry = _skew(lambda i, j: advantage_as_fraction(float(centred[i, j])))
    approximate = _linear_program(centred)
    fractions = None if approximate is None else _exact_from_support(approximate, centred, entry)
    if fractions is None and len(centred) <= MAX_SIMPLEX_ACTIONS:
        actions = range(len(centred))
        fractions = _exact_simplex([[entry(i, j) for j in actions] for i in actions])
    if fractions is None:
        if approximate is None:
            raise ArithmeticError(f"the linear program failed on {len(centred)} actions; use a smaller game")
        policy, unique = _polish(approximate, centred), None
    else:
        policy, unique = np.array([float(mass) for mass in fractions]), _is_unique(fractions, entry)
    gap = max(0.0, float((centred @ policy).max()))
    return ExactSolution(policy, policy > 0, gap, None if fractions is None else tuple(fractions), unique)


def verify_exact(fractions: Sequence[Fraction], entry: Entry) -> bool:
    """Whether ``p >= 0, Σp = 1, max_i (M p)_i <= 0`` holds without rounding.

    Args:
      fractions: ``[A]`` candidate equilibrium p.
      entry: function of (i, j) that gives M_ij = P_ij - 1/2 exactly, e.g. ``rational_game(preference)``.
    """
    return sum(fractions) == 1 and min(fractions) >= 0 and max(_payoff(fractions, entry)) <= 0


def rational_game(preference: Any) -> Entry:
    """Return (i, j) -> P_ij - 1/2 as the exact rational that ``solve_exact`` works with; skew."""
    given = np.asarray(preference, object)

    def read(i: int, j: int) -> Fraction:
        value = given[i, j]
        exact = value if isinstance(value, Fraction) else as_fraction(float(value), float(given[j, i]))
        return exact - Fraction(1, 2)

    return _skew(read)


def _skew(read: Entry) -> Entry:
    """Extend the upper triangle of a skew matrix to all of it."""

    def entry(i: int, j: int) -> Fraction:
        if i >= j:
            return Fraction(0) if i == j else -read(j, i)
        return read(i, j)

    return entry


def as_fraction(value: float, complement: float) -> Fraction:
    """Read a float64 as the rational it most plausibly stands for.

    In this order: the decimal with at most 10 significant digits, the fraction with a denominator up to
    1e7, the float's own binary value. The first two are taken only if they round to ``value`` and one
    minus them to ``complement``, so the reading never moves an entry by more than its own rounding. It
    keeps ties and cycles of measured tables exact, where binary values would break them at 1e-17.

    >>> as_fraction(0.3, 0.7), as_fraction(2 / 3, 1 / 3)
    (Fraction(3, 10), Fraction(2, 3))
    """
    exact = Fraction(value)
    fits = (c for c in _simple(exact) if float(c) == value and float(1 - c) == complement)
    return next(fits, exact)


def advantage_as_fraction(value: float) -> Fraction:
    """Read an entry P - 1/2 of a ``Game`` as ``as_fraction`` reads P: the simple one must round to ``value``.

    >>> advantage_as_fraction(0.3 - 0.5), advantage_as_fraction(2 / 3 - 0.5)
    (Fraction(-1, 5), Fraction(1, 6))
    """
    half = Fraction(1, 2)
    fits = (c - half for c in _simple(Fraction(value) + half) if float(c) - 0.5 == value)
    return next(fits, Fraction(value))


def _simple(exact: Fraction) -> tuple[Fraction, Fraction]:
    return Fraction(f"{float(exact):.{DECIMAL_DIGITS}g}"), exact.limit_denominator(LARGEST_DENOMINATOR)


def _linear_program(centred: np.ndarray) -> np.ndarray | None:
    """Maximise v subject to M p + v <= 0 on the simplex (the optimum is v = 0); ``None`` on failure."""
    size = len(centred)
    objective, total = np.append(np.zeros(size), -1.0), np.append(np.ones(size), 0.0)
    rows = np.column_stack([centred, np.ones(size)])
    bounds = [(0, None)] * size + [(None, None)]
    result = linprog(objective, rows, np.zeros(size), total[None], [1.0], bounds, "highs", options=LP_OPTIONS)
    if result.status != 0:
        return None
    policy = np.maximum(result.x[:size], 0)
    return policy / policy.sum()


def _exact_from_support(policy: np.ndarray, centred: np.ndarray, entry: Entry) -> list[Fraction] | None:
    """Exact vertex with the support and tight rows of ``policy``, or ``None`` if that is no equilibrium."""
    support = np.flatnonzero(policy > LP_ZERO).tolist()
    if len(support) > MAX_EXACT_SUPPORT:
        return None
    # at a degenerate vertex the support's own rows leave directions free, which the other tight rows fix
    tight = sorted({*support, *np.flatnonzero(np.abs(centred @ policy) < LP_ZERO).tolist()})
    null_space = _null_space([[entry(i, j) for j in support] for i in tight])
    if len(null_space) != 1 or sum(null_space[0]) == 0:
        return None
    masses = dict(zip(support, null_space[0], strict=True))
    fractions = [Fraction(masses.get(i, 0), sum(null_space[0])) for i in range(len(policy))]
    return fractions if verify_exact(fractions, entry) else None


def _is_unique(fractions: Sequence[Fraction], entry: Entry) -> bool:
    """Decide uniqueness by the criterion of the module's docstring."""
    support = [i for i, mass in enumerate(fractions) if mass > 0]
    tight = [i for i, value in enumerate(_payoff(fractions, entry)) if value == 0]
    return tight == support and len(_null_space([[entry(i, j) for j in support] for i in support])) == 1


def _payoff(fractions: Sequence[Fraction], entry: Entry) -> list[Fraction]:
    masses = [(j, mass) for j, mass in enumerate(fractions) if mass]
    return [sum((entry(i, j) * mass for j, mass in masses), Fraction(0)) for i in range(len(fractions))]


def _to_integers(row: Sequence[Fraction]) -> list[int]:
    factor = math.lcm(*(value.denominator for value in row))
    return [int(value * factor) for value in row]


def _null_space(matrix: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    """Integer basis of {x: matrix x = 0}, by Gauss-Jordan elimination whose divisions are exact (Bareiss)."""
    rows = [_to_integers(row) for row in matrix]
    columns, divisor = len(rows[0]), 1
    pivots: list[int] = []
    for column in range(columns):
        rank = len(pivots)
        found = next((r for r in range(rank, len(rows)) if rows[r][column]), None)
        if found is None:
            continue
        rows[rank], rows[found] = rows[found], rows[rank]
        pivot_row, pivot = rows[rank], rows[rank][column]
        for r, row in enumerate(rows):
            if r != rank:
                rows[r] = [
                    (pivot * a - row[column] * b) // divisor for a, b in zip(row, pivot_row, strict=True)
                ]
        pivots.append(column)
        divisor = pivot
    basis = []
    for free in sorted(set(range(columns)) - set(pivots)):
        solved = {column: -rows[r][free] for r, column in enumerate(pivots)} | {free: divisor}
        basis.append([solved.get(column, 0) for column in range(columns)])
    return basis


def _exact_simplex(centred: Sequence[Sequence[Fraction]]) -> list[Fraction]:
    """Maximise Σw over (M + 1) w <= 1, w >= 0 by integer pivoting with Bland's rule; then p = w.

    All entries of M + 1 are positive and the game it describes has value 1, so the optimum is 1.
    """
    size = len(centred)
    table = [_to_integers([*(value + 1 for value in row), Fraction(1)]) for row in centred]
    table.append([-1] * size + [0])
    inside, outside, divisor = list(range(size, 2 * size)), list(range(size)), 1
    while any(cost < 0 for cost in table[size][:size]):
        c = min((j for j in range(size) if table[size][j] < 0), key=outside.__getitem__)
        rows = [i for i in range(size) if table[i][c] > 0]
        r = min(rows, key=lambda i: (Fraction(table[i][size], table[i][c]), inside[i]))
        pivot_row, pivot = table[r], table[r][c]
        for i, row in enumerate(table):
            if i != r:
                table[i] = [(pivot * a - row[c] * b) // divisor for a, b in zip(row, pivot_row, strict=True)]
                table[i][c] = -row[c]
        pivot_row[c], divisor = divisor, pivot
        inside[r], outside[c] = outside[c], inside[r]
    weights = {label: Fraction(table[i][size], divisor) for i, label in enumerate(inside)}
    return [weights.get(label, Fraction(0)) for label in range(size)]


def _polish(policy: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """Solve M_SS x = 0, Σx = 1 on the support in least squares; keep it if it is less exploitable."""
    support = np.flatnonzero(policy > LP_ZERO)
    block = np.vstack([centred[np.ix_(support, support)], np.ones(len(support))])
    masses = np.linalg.lstsq(block, np.append(np.zeros(len(support)), 1.0), rcond=None)[0]
    polished = np.zeros_like(policy)
    polished[support] = np.maximum(masses, 0)
    polished /= polished.sum()
    return polished if (centred @ polished).max() < (centred @ policy).max() else policy
