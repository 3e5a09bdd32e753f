"""Edges of stability: the step size above which a method leaves an equilibrium that it starts close to.

A row holds if a start near π* moves away just above the edge; its control is the step just below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from nlhf import logspace, nash_mirror_prox, omwu, online_mirror_descent
from nlhf.base import Algorithm
from proofs_checks.dynamics.noise import batch_run
from proofs_checks.dynamics.spectra import descend, edge, self_play_games, spin
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.families import rock_paper_scissors
from tabular.games import Game, make_game

Array = jax.Array

NEAR = 1e-6  # nats: a start this close shows the linearised motion
CIRCLE = 51  # actions in a circle; its largest s is within 4e-4 of the supremum 1/π


def stack(games: list[Game]) -> Game:
    """Turn a list of games of one shape into a batch."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *games)


def circle_spin() -> float:
    """Largest s of ``rock_paper_scissors(CIRCLE)`` at its equilibrium, the uniform policy."""
    return float(spin(rock_paper_scissors(CIRCLE) - 0.5, np.full(CIRCLE, 1 / CIRCLE))[0])


def _growth(
    effort: Effort,
    name: str,
    make: Callable[..., Algorithm],
    step_size: np.ndarray,
    beta: np.ndarray,
    num_steps: int,
) -> np.ndarray:
    """KL after the run over KL at a start ``NEAR`` the equilibrium of the circle, ``[N]``."""
    rng = effort.rng(name)
    games = stack([make_game(rock_paper_scissors(CIRCLE), beta=float(value)) for value in beta])
    start = logspace.normalise(games.log_ref + jnp.asarray(NEAR * rng.normal(size=games.log_ref.shape)))
    trace = batch_run(
        jax.vmap(make)(jnp.asarray(step_size), jnp.asarray(beta)),
        games,
        num_steps=num_steps,
        every=num_steps,
        start=start,
        log_nash=games.log_ref,
    )
    kl = np.asarray(trace.of("kl_to_nash"))[:, 0]
    return kl[:, -1] / kl[:, 0]


def _judge_edge(
    effort: Effort,
    name: str,
    make: Callable[..., Algorithm],
    longest: Callable[[np.ndarray, float], np.ndarray],
    betas: tuple[float, ...],
    num_steps: int,
    share: float = 0.1,
) -> Outcome:
    """Start over end of the KL a share above the edge; the control is the same share below it."""
    beta = np.tile(betas, 2)
    factor = np.repeat([1 + share, 1 - share], len(betas))
    step_size = longest(beta, circle_spin()) * factor
    growth = _growth(effort, name, make, step_size, beta, num_steps)
    above, below = growth[: len(betas)], growth[len(betas) :]
    row = int(above.argmin())
    return Outcome(
        instances=len(beta),
        worst=float(1 / above[row]),
        control=f"the step a share of {share} below the edge",
        # every one of the slower steps must contract
        control_worst=float(1 / below.max()),
        witness={"beta": float(beta[row]), "step_size": float(step_size[row]), "size": CIRCLE},
        detail={"growth_above": float(above.min()), "growth_below": float(below.max())},
    )


def _self_play_edge(beta: np.ndarray, largest: float) -> np.ndarray:
    return 2 * beta / (beta**2 + largest**2)


def _extragradient_edge(beta: np.ndarray, largest: float) -> np.ndarray:
    def excess(step_size: float, coefficient: float) -> float:
        scale, turn = 1 + step_size * coefficient, step_size * largest
        return abs(1 + 1j * turn * (1 + 1j * turn) / scale) - scale

    # stable at g = 1 whatever beta, unstable at g = 1/s + 8 (1 + β)/s² by a wide margin
    return np.array([brentq(excess, 1.0, 8 * (1 + b) / largest**2 + 1 / largest, args=(b,)) for b in beta])


def _optimistic_edge(beta: np.ndarray, largest: float) -> np.ndarray:
    return 1 / (np.sqrt(3) * largest) + 0 * beta


def _composite_omwu(step_size: Any, beta: Any) -> Algorithm:
    return omwu(step_size / (1 + step_size * beta), beta)


def _judge_gradient_edge(effort: Effort) -> Outcome:
    games = self_play_games(effort)
    num_steps = effort.pick(4096, 8192)
    growth = []
    for share in (1.1, 0.9):
        rate = np.array([share * edge(values) for values in games.spectrum])
        kl = np.asarray(
            descend(games.game, games.log_nash, games.start, jnp.asarray(rate), num_steps, num_steps // 2)
        )
        growth.append(kl[:, -1] / kl[:, 0])
    row = int(growth[0].argmin())
    return Outcome(
        instances=2 * len(games.beta),
        worst=float(1 / growth[0][row]),
        control="a tenth below the edge",
        control_worst=float(1 / growth[1].max()),
        witness={"beta": float(games.beta[row]), "size": 4},
        detail={"growth_above": float(growth[0].min()), "growth_below": float(growth[1].max())},
    )


def separation(name: str, statement: str, assumptions: str, judge: Any, status: str = "derived") -> Check:
    """A row of this kind; what is not derived was measured here."""
    source = "derived" if status == "derived" else "measured here"
    return check_of(name, statement, assumptions, judge, status, source, kind="separation")


def _edge_check(
    name: str, make: Any, longest: Any, betas: tuple, num_steps: int, share: float, text: str
) -> Check:
    return separation(
        f"{name}.stability_edge",
        f"{text}: a start near π* moves away just above it (and comes closer just below)",
        f"{CIRCLE} actions in a circle, s close to its largest value 1/π",
        functools.partial(
            _judge_edge, name=name, make=make, longest=longest, betas=betas, num_steps=num_steps, share=share
        ),
    )


CHECKS: tuple[Check, ...] = (
    _edge_check(
        "online_mirror_descent",
        online_mirror_descent,
        _self_play_edge,
        (0.05, 0.1, 0.3),
        2500,
        0.1,
        "locally stable only for η <= 2β/(β² + s²)",
    ),
    _edge_check(
        "nash_mirror_prox",
        nash_mirror_prox,
        _extragradient_edge,
        (1e-4, 1e-2, 0.1),
        1000,
        0.05,
        "locally stable only for |1 + ix(1 + ix)/c| <= c = 1 + gβ, x = gs; at small β g <= π",
    ),
    _edge_check(
        "omwu",
        _composite_omwu,
        _optimistic_edge,
        (1e-5, 1e-4),
        4000,
        0.02,
        "locally stable only for gs <= 1/√3 at small β, g = π/√3",
    ),
    separation(
        "online_ipo.stability_edge",
        "gradient descent is locally stable only for lr <= min 2 Re λ/|λ|², λ of 4D(1 - AD/β) non-zero",
        "online IPO on softmax logits, near π*",
        _judge_gradient_edge,
    ),
)
