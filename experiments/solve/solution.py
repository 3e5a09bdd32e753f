"""What ``nlhf solve`` finds, as a record."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from experiments.output import records
from tabular.game_statistics import Statistics

LONG = ("fractions", "statistics")  # left out of the one JSON object on the command line


@dataclasses.dataclass(frozen=True)
class Solution:
    """A solved game."""

    names: tuple[str, ...]  # the A actions
    policy: np.ndarray  # ``[A]`` probabilities
    log_policy: np.ndarray  # ``[A]`` their logarithms, ``-inf`` (in JSON ``null``) where the policy is 0
    beta: float  # KL coefficient of the game solved, 0 without regularisation
    exploitability: float  # one-sided, in the game solved: max over u of P_beta(u > policy) - 1/2
    exploitability_original: float  # one-sided, without regularisation: max_a (P policy)_a - 1/2
    duality_gap: float  # two-sided, in the game solved: twice ``exploitability``
    residual: float | None  # relative fixed-point residual, as in ``tabular.nash``; ``None`` at beta 0
    # names of the actions played: where the solution is exact, those with mass; for an iterative method at
    # beta 0, those with mass above 1e-6
    support: tuple[str, ...]
    algorithm: str  # what solved it
    steps: int | None  # its steps; ``None`` for the linear program
    queries: int | None  # payoff vectors P π it asked for; ``None`` for exact solvers, which read the matrix
    condorcet_winner: str | None  # the action preferred to every other, or ``None``
    intransitive_triples: int  # cycles of three strict majorities
    fractions: tuple[str, ...] | None  # the policy as exact rationals, where they were found
    unique: bool | None  # whether the equilibrium is proved to be the only one; ``None`` if unknown
    statistics: Statistics  # the other facts about majorities
    completeness: float  # share of pairs with observations

    @property
    def kl_bound(self) -> float | None:
        """Certified KL(policy ‖ Nash) in nats: exploitability / β plus rounding; ``None`` at beta 0.

        The rounding term is that of log-probabilities as large as the equation's largest term,
        ``(ε max(1, |log π|, 1/(2β)))² / 2``: near the solution the first term is rounding noise.
        """
        if self.beta == 0:
            return None
        finite = np.abs(self.log_policy[np.isfinite(self.log_policy)])
        largest = max(1.0, float(finite.max()), 0.5 / self.beta)
        return self.exploitability / self.beta + 0.5 * (np.finfo(float).eps * largest) ** 2

    def summary(self) -> dict[str, Any]:
        """Return what ``--json`` prints: plain lists and numbers, ``None`` for what is not finite."""
        plain = {key: value for key, value in vars(self).items() if key not in LONG}
        for key in ("policy", "log_policy"):
            plain[key] = [value if math.isfinite(value) else None for value in plain[key].tolist()]
        return records.encode({**plain, "kl_bound": self.kl_bound})
