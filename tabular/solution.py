"""One way to the truth, ``solve(game)``: Newton's method where β > 0, a proved linear program at β = 0."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import check_number
from nlhf.errors import InputError
from tabular.games import Game
from tabular.nash import solve_regularised
from tabular.payoff import dense
from tabular.rational import solve_advantage

RESIDUAL = 1e-13  # largest accepted: Newton's method leaves a few 1e-16


class Solution(NamedTuple):
    """The Nash policy of a game, and the evidence for it, as float64 numpy arrays.

    Attributes:
      log_policy: ``[X, A]`` normalised log π, ``-inf`` where the policy has no mass; at β > 0 exactly where
        the reference has none.
      beta: KL coefficient of the game.
      exploitability: ``[X]`` one-sided, in the game solved, in units of preference probability. For β > 0 it
        is a certificate: KL(π ‖ π*) <= exploitability / β, computed without knowing π*.
      residual: ``[X]`` relative fixed-point residual, see ``tabular.nash``; ``None`` at β = 0.
      iterations: ``[X]`` steps of Newton's method; ``None`` at β = 0.
      fractions: at β = 0 each context's policy as A exact rationals, with p >= 0, Σp = 1 and
        max_a (P p)_a <= 1/2 verified without rounding, or ``None`` where the game is too large for that.
      unique: at β = 0 whether each context's equilibrium is the only one, decided exactly; ``None`` without
        its fractions.
    """

    log_policy: np.ndarray
    beta: float
    exploitability: np.ndarray
    residual: Any = None
    iterations: Any = None
    fractions: tuple[tuple[Fraction, ...] | None, ...] = ()
    unique: tuple[bool | None, ...] = ()

    def __repr__(self) -> str:
        worst = float(np.max(self.exploitability))
        said = f"KL(policy ‖ Nash) <= {worst / self.beta:.1e} nats" if self.beta else f"unique: {self.unique}"
        table = np.array2string(self.policy, precision=4, suppress_small=True, threshold=24, edgeitems=3)
        return f"Solution at beta {self.beta:g}, exploitability {worst:.1e}, {said[:60]}\n{table}"

    @property
    def policy(self) -> np.ndarray:
        """``[X, A]`` probabilities; one that is played may still be below the smallest float64."""
        return np.exp(self.log_policy)


def solve(game: Game, *, tolerance: float = RESIDUAL) -> Solution:
    """Solve one game, β and reference being its own, and refuse what did not converge.

    For β > 0 the equilibrium is unique: ``log π* = log π_ref + (P - 1/2) π* / β + constant``. At β = 0 it is
    a vertex of ``{p >= 0, Σp = 1, P p <= 1/2}`` over the actions that the reference allows.

    Args:
      game: one game, not a batch; made in float64.
      tolerance: largest accepted ``residual``, for β > 0.

    Raises:
      InputError: if the game is none, is a batch, or was made in float32.
      ArithmeticError: a residual is above ``tolerance``, or at β = 0 a game of more than 50 actions has
        defeated the linear program.

    >>> from tabular.games import make_game
    >>> game = make_game([[0.5, 0.9], [0.1, 0.5]], beta=0)
    >>> solve(game).fractions
    ((Fraction(1, 1), Fraction(0, 1)),)
    """
    check_solvable(game)
    beta = float(game.beta)
    return _solve_exactly(game) if beta == 0 else _solve_by_newton(game, beta, tolerance)


def check_solvable(game: Any) -> None:
    """Refuse what is not one game in float64.

    Raises:
      InputError: says which rule is broken.
    """
    if not isinstance(game, Game):
        raise InputError(
            f"the game is a {type(game).__name__}, but a solver needs a Game; give "
            "tabular.make_game(preference, beta=...)"
        )
    if jnp.result_type(float) != jnp.float64:
        raise InputError(NO_FLOAT64)
    if game.log_ref.dtype != np.float64:
        raise InputError(
            f"the game is in {game.log_ref.dtype}, but an equilibrium needs float64; make the game after "
            "nlhf.setup(), not before"
        )
    if np.ndim(game.beta) or np.ndim(game.log_ref) != 2:
        raise InputError(
            f"the game is a batch (beta {np.shape(game.beta)}, log_ref {np.shape(game.log_ref)}), but one is "
            "solved at a time; solve each, or vmap tabular.nash.solve_regularised"
        )
    check_number("beta", game.beta)


NO_FLOAT64 = (
    "float64 is off, and equilibria need it; run nlhf.setup() first (or jax.config.update"
    '("jax_enable_x64", True)), then make the game again'
)
_solve_contexts = jax.jit(jax.vmap(solve_regularised, (0, 0, None)))


def _solve_by_newton(game: Game, beta: float, tolerance: float) -> Solution:
    found = jax.tree.map(np.asarray, _solve_contexts(game.preference, game.log_ref, game.beta))
    if not np.all(found.residual <= tolerance):
        raise ArithmeticError(
            f"Newton's method stopped at a residual of {np.max(found.residual):.2e} after "
            f"{np.max(found.iterations)} steps for beta = {beta:g}, above the tolerance {tolerance:.0e}; "
            "raise beta or the tolerance"
        )
    return Solution(found.log_policy, beta, found.exploitability, found.residual, found.iterations)


def _solve_exactly(game: Game) -> Solution:
    tables, log_ref = np.asarray(dense(game.advantage)), np.asarray(game.log_ref)
    policies, solved = np.zeros(log_ref.shape), []
    for policy, table, allowed in zip(policies, tables, np.isfinite(log_ref), strict=True):
        found = solve_advantage(table[np.ix_(allowed, allowed)])
        policy[allowed] = found.policy
        if found.fractions is not None:
            masses = iter(found.fractions)
            found = found._replace(fractions=tuple(next(masses) if one else Fraction(0) for one in allowed))
        solved.append(found)
    with np.errstate(divide="ignore"):
        log_policy = np.log(policies)
    return Solution(
        log_policy,
        0.0,
        np.array([found.exploitability for found in solved]),
        fractions=tuple(found.fractions for found in solved),
        unique=tuple(found.unique for found in solved),
    )
