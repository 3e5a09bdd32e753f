"""From the regularised game back to the original one: the queries to an ε-equilibrium of the last iterate.

With M = P - 1/2 and a uniform reference over A actions, a policy's exploitability without regularisation is
at most its regularised one plus β log A (game.original_exploitability). Half of ε each gives β = ε/(2 log A),
and nash_mirror_prox.full_step_exploitability with the contraction of nash_mirror_prox.one_step from
KL(π*‖π_0) <= log A gives, at g = 2 and for β <= 1/2, half of ε after N = 2 log((1 + 1/β) log A/ε)/log(1 + 2β)
queries, two a step.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace, nash_mirror_prox
from proofs_checks.lemmas.bank import ratio
from proofs_checks.rows import Effort, Outcome, check_of
from tabular.games import Game
from tabular.runner import Axes, run
from tabular.traces import Measure

SIZES = (3, 10, 30)
STEP_SIZE = 2.0
# ε and games; each runs for the queries of its largest game
FULL = ((0.2, 600), (0.05, 300), (0.01, 120))
QUICK = ((0.2, 90), (0.05, 30))


class Plan(NamedTuple):
    """What the statement promises for G games at one ε."""

    size: np.ndarray  # ``[G]`` actions
    beta: np.ndarray  # ``[G]`` ε/(2 log A)
    steps: np.ndarray  # ``[G]`` steps of two queries
    too_few: np.ndarray  # ``[G]`` the same without log(1 + 2β)


def plan(epsilon: float, size: np.ndarray) -> Plan:
    """Return β and the steps of the statement, rounded up.

    Args:
      epsilon: in (0, 0.4), exploitability in units of preference probability.
      size: ``[G]`` numbers of actions.
    """
    beta = epsilon / (2 * np.log(size))
    logarithm = np.log((1 + 1 / beta) * np.log(size) / epsilon)
    steps, too_few = (np.ceil(count).astype(int) for count in (logarithm / np.log1p(2 * beta), logarithm))
    return Plan(size, beta, steps, too_few)


def _games(rng: np.random.Generator, planned: Plan) -> Game:
    """Half with uniform preferences, half with decided ones; padded to the largest."""
    count, largest = len(planned.size), max(SIZES)
    drawn = rng.random((count, largest, largest))
    decided = (np.arange(count) // len(SIZES)) % 2 == 1
    upper = np.triu(np.where(decided[:, None, None], np.round(drawn), drawn) - 0.5, 1)
    present = np.arange(largest) < planned.size[:, None]
    upper = np.where(present[:, :, None] & present[:, None, :], upper, 0.0)
    log_ref = logspace.normalise(jnp.where(jnp.asarray(present), 0.0, -jnp.inf))
    return Game(
        jnp.asarray(upper - upper.swapaxes(-1, -2))[:, None],
        log_ref[:, None],
        jnp.ones((count, 1)),
        jnp.asarray(planned.beta),
    )


def judge(effort: Effort) -> Outcome:
    """The statement, at the promised step and at every recorded one up to the largest game's."""
    rng = effort.rng("nash_mirror_prox.original_game")
    worst, control, instances, witness, detail = 0.0, 0.0, 0, {}, {}
    for epsilon, count in effort.pick(QUICK, FULL):
        planned = plan(epsilon, np.asarray(SIZES)[np.arange(count) % len(SIZES)])
        game = _games(rng, planned)
        trace = run(
            nash_mirror_prox(jnp.full(count, STEP_SIZE), game.beta),
            game,
            num_steps=int(planned.steps.max()),
            key=jax.random.key(0),
            measures=(Measure("exploitability_original"),),
            axes=(Axes(algorithm=0, game=0),),
        )
        gap = np.asarray(trace.of("exploitability_original"))
        later = np.arange(gap.shape[1]) >= planned.steps[:, None]
        value = ratio(np.where(later, gap, -np.inf).max(1), epsilon)
        wrong = ratio(gap[np.arange(count), planned.too_few], epsilon)
        instances += count
        control = max(control, float(wrong.max()))
        detail[f"worst_at_{epsilon:g}"] = float(value.max())
        if not value.max() <= worst:
            worst, row = float(value.max()), int(value.argmax())
            size = int(planned.size[row])
            witness = {
                "epsilon": epsilon,
                "size": size,
                "beta": float(planned.beta[row]),
                "queries": 2 * int(planned.steps[row]),
                "decided": bool((row // len(SIZES)) % 2),
            }
            if size <= 8:
                witness["preference"] = np.asarray(game.advantage[row, 0, :size, :size] + 0.5).tolist()
    return Outcome(
        instances=instances,
        worst=worst,
        control="N without the division by log(1 + 2β)",
        control_worst=control,
        witness=witness,
        detail=detail,
    )


CHECKS = (
    check_of(
        "nash_mirror_prox.original_game",
        "max_a (Mπ)_a <= ε after N = 2 log((1 + 1/β) log A/ε)/log(1 + 2β) queries, β = ε/(2 log A)",
        "uniform reference and start, g = 2, β <= 0.3, exact payoffs, last iterate",
        judge,
        source="game.original_exploitability, nash_mirror_prox.full_step_exploitability and .one_step",
        kind="lemma",
    ),
)
