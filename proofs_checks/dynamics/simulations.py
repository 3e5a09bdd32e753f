"""The simulation protocol of the EGPO paper, as rows: ten actions, uniform pairs, a normal reference.

Every pair's preference is uniform on (0, 1), the logits of the reference are standard normal, and all methods
start from the reference. Settings: β = 0.1, learning rate 0.1, 1,000 updates; β = 0.01, learning rate 0.02,
5,000 updates. With the squared loss over uniform pairs a learning rate lr is the step η = 4 lr/(βA).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import egpo, logspace, nash_md, online_mirror_descent
from nlhf.base import hyper
from nlhf.losses import contrast
from proofs_checks.dynamics.edges import stack
from proofs_checks.dynamics.noise import batch_run
from proofs_checks.dynamics.separations import biased_limit
from proofs_checks.dynamics.spectra import spin
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.families import random_reference, uniform_skew
from tabular.games import Game, make_game
from tabular.metrics import duality_gap
from tabular.nash import solve_regularised
from tabular.payoff import payoff

Array = jax.Array

SIZE = 10
REACHED = 1e-24  # two-sided gap at which float64 has nothing more to show


class Setting(NamedTuple):
    """One line of the protocol."""

    beta: float
    learning_rate: float
    num_steps: int

    @property
    def step_size(self) -> float:
        """η = 4 lr/(βA)."""
        return 4 * self.learning_rate / (self.beta * SIZE)


LARGE, SMALL = Setting(0.1, 0.1, 1000), Setting(0.01, 0.02, 5000)
METHODS = {"egpo": egpo, "nash_md": nash_md, "online_mirror_descent": online_mirror_descent}


def draw(effort: Effort, beta: float) -> Game:
    """Draw the games of the protocol, ten in a full run as in the paper."""
    count = effort.pick(6, 10)
    game_key, reference_key = jax.random.split(effort.key("simulation"))
    preference = np.asarray(uniform_skew(game_key, SIZE, count))
    log_ref = np.asarray(random_reference(reference_key, SIZE, count))
    return stack([make_game(*pair, beta=beta) for pair in zip(preference, log_ref, strict=True)])


@functools.lru_cache(maxsize=8)
def final_gaps(effort: Effort, setting: Setting, name: str) -> np.ndarray:
    """Two-sided gap after the run, ``[N]``.

    Args:
      setting: line of the protocol.
      name: key of ``METHODS``.
    """
    game = draw(effort, setting.beta)
    step_size = jnp.full(game.beta.shape, setting.step_size)
    trace = batch_run(
        jax.vmap(METHODS[name])(step_size, game.beta),
        game,
        num_steps=setting.num_steps,
        every=setting.num_steps,
        measures=("duality_gap",),
    )
    return np.asarray(trace.of("duality_gap"))[:, 0, -1]


def _judge_reaches(effort: Effort) -> Outcome:
    gaps = np.stack([final_gaps(effort, setting, "egpo") for setting in (LARGE, SMALL)])
    other = np.stack([final_gaps(effort, setting, "nash_md") for setting in (LARGE, SMALL)])
    return Outcome(
        instances=gaps.size,
        worst=float(gaps.max() / REACHED),
        control="Nash-MD at the same step",
        control_worst=float(other.min() / REACHED),
        witness={"size": SIZE, "beta": LARGE.beta if gaps[0].max() > gaps[1].max() else SMALL.beta},
        detail={"large_beta": float(gaps[0].max()), "small_beta": float(gaps[1].max())},
    )


def _judge_stalls(effort: Effort) -> Outcome:
    game = draw(effort, LARGE.beta)
    pull = jnp.full(game.beta.shape, LARGE.step_size * LARGE.beta)
    limit = biased_limit(game, pull)

    def gap(game: Game, log_policy: Array) -> Array:
        return duality_gap(game, log_policy, payoff(game.advantage, log_policy), log_policy)

    floor = np.asarray(jax.vmap(gap)(game, limit))
    stalled, other = (final_gaps(effort, LARGE, name) for name in ("nash_md", "egpo"))
    row = int((floor / stalled).argmax())
    return Outcome(
        instances=len(stalled),
        worst=float((floor / stalled)[row]),
        control="EGPO at the same step",
        control_worst=float((floor / np.maximum(other, 1e-300)).min()),
        # (1 - ηβ)^2000 of the start is left, and Newton's answer is good to 1e-9 of this gap
        limit=1 + 1e-6,
        witness={"size": SIZE, "beta": LARGE.beta, "step_size": LARGE.step_size},
        detail={"median_gap": float(np.median(stalled)), "largest_gap": float(stalled.max())},
    )


def _judge_fails(effort: Effort) -> Outcome:
    game = draw(effort, SMALL.beta)
    solve = jax.jit(jax.vmap(solve_regularised))
    nash = solve(game.advantage[:, 0] + 0.5, game.log_ref[:, 0], game.beta).log_policy
    largest = np.array(
        [
            spin(advantage, policy)[0]
            for advantage, policy in zip(
                np.asarray(game.advantage[:, 0]), np.exp(np.asarray(nash)), strict=True
            )
        ]
    )
    # growth of the local KL a step; above 1 self-play cannot settle
    pull = SMALL.step_size * SMALL.beta
    unstable = (1 - pull) ** 2 + (SMALL.step_size * largest) ** 2 > 1
    if not unstable.any():
        raise ArithmeticError("none of the games is beyond the edge of stability; draw more games")
    threshold = 1e-3
    plain, extra = (final_gaps(effort, SMALL, name) for name in ("online_mirror_descent", "egpo"))
    row = int(np.where(unstable, threshold / plain, 0).argmax())
    return Outcome(
        instances=len(plain),
        worst=float((threshold / plain[unstable]).max()),
        control="EGPO on the same games",
        control_worst=float((threshold / np.maximum(extra[unstable], 1e-300)).min()),
        witness={"size": SIZE, "beta": SMALL.beta, "step_size": SMALL.step_size, "spin": float(largest[row])},
        detail={
            "unstable": float(unstable.sum()),
            "largest_gap": float(plain.max()),
            "median_gap": float(np.median(plain)),
            "largest_gap_of_stable": float(np.max(plain, where=~unstable, initial=0.0)),
            "largest_gap_large_beta": float(final_gaps(effort, LARGE, "online_mirror_descent").max()),
        },
    )


def _judge_step(effort: Effort) -> Outcome:
    """Gradient descent on the uniform-pair loss, restored to π before the full step, against the library."""
    num_steps = 20
    errors = []
    for scale in (1.0, 0.5):
        worst = 0.0
        for setting in (LARGE, SMALL):
            game = draw(effort, setting.beta)

            def descend(logits: Array, log_opponent: Array, game: Game, rate: float) -> Array:
                target = game.log_ref + payoff(game.advantage, log_opponent) / game.beta
                slope = jax.grad(lambda point: contrast(logspace.normalise(point), target).sum())(logits)
                return logspace.normalise(logits - rate * slope)

            def simulate(game: Game, rate: float = setting.learning_rate) -> Array:
                def update(_: Any, log_policy: Array) -> Array:
                    half = descend(log_policy, log_policy, game, rate)
                    return descend(log_policy, half, game, rate)

                return jax.lax.fori_loop(0, num_steps, update, game.log_ref)

            step_size = jnp.full(game.beta.shape, scale * setting.step_size)
            method = jax.vmap(egpo)(step_size, game.beta)
            trace = batch_run(method, game, num_steps=num_steps, every=num_steps)
            difference = jnp.abs(jax.jit(jax.vmap(simulate))(game) - trace.state.policy[:, 0]).max()
            worst = max(worst, float(difference))
            beta = float(np.min(np.asarray(hyper(method)["beta"])))
        errors.append(worst)
    # each of the 2 x 20 projections rounds logits of size 1/(2β) to an eps, with 16 operations each
    allowed = 2 * num_steps * 16 * np.finfo(float).eps * 0.5 / beta
    return Outcome(
        instances=2 * len(game.beta),
        worst=errors[0] / allowed,
        control="η = 2 lr/(βA)",
        control_worst=errors[1] / allowed,
        witness={"size": SIZE, "beta": beta, "num_steps": num_steps},
    )


def _check(name: str, statement: str, assumptions: str, judge: Any, status: str = "empirical") -> Check:
    kind = "identity" if status == "derived" else "separation"
    source = "protocol of the simulations of arXiv:2503.08942"
    return check_of(name, statement, assumptions, judge, status, source, kind=kind)


PROTOCOL = "A = 10, uniform pairs, normal reference, start at the reference"
CHECKS: tuple[Check, ...] = (
    _check(
        "egpo.simulation",
        "EGPO ends with a two-sided gap of at most 1e-24 on every game, at β = 0.1 and at β = 0.01",
        PROTOCOL,
        _judge_reaches,
    ),
    _check(
        "nash_md.simulation",
        "β = 0.1: constant-step Nash-MD ends at or above the gap of its biased fixed point",
        f"{PROTOCOL}, η = 0.4",
        _judge_stalls,
    ),
    _check(
        "online_mirror_descent.simulation",
        "β = 0.01: self-play ends with a gap of at least 1e-3 on every game with (1 - ηβ)² + (ηs)² > 1",
        f"{PROTOCOL}, η = 0.8",
        _judge_fails,
    ),
    _check(
        "egpo.simulation_step",
        "gradient descent with rate lr on the uniform-pair loss is EGPO with η = 4 lr/(βA)",
        f"{PROTOCOL}, 20 updates, logits restored before the full step",
        _judge_step,
        "derived",
    ),
)
