"""Claims in the other direction: what a method, a step or a game does NOT do, measured above a lower bound.

A row holds if bound / measured <= 1. Its control is the method, step or game for which it must be false.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import egpo, logspace, nash_md, nash_mirror_prox, online_mirror_descent
from nlhf.base import Algorithm
from proofs_checks.dynamics import scaling
from proofs_checks.dynamics.edges import CIRCLE, separation, stack
from proofs_checks.dynamics.noise import batch_run, plant
from proofs_checks.rates import fit_power
from proofs_checks.rows import Check, Effort, Outcome
from tabular.families import full_support, rock_paper_scissors, tournament, uniform_skew
from tabular.games import Game, make_game
from tabular.nash import solve_regularised
from tabular.traces import Measure

Array = jax.Array


def _judge_cycles(effort: Effort) -> Outcome:
    betas, rng, num_steps = effort.pick((0.03,), (0.01, 0.03, 0.05)), effort.rng("cycles"), 4000
    games = stack([make_game(rock_paper_scissors(CIRCLE), beta=beta) for beta in betas])
    start = logspace.normalise(games.log_ref + jnp.asarray(0.1 * rng.normal(size=games.log_ref.shape)))
    step_size = 1 / (games.beta + 0.5)
    ratio = []
    for method in (online_mirror_descent, egpo):
        trace = batch_run(
            jax.vmap(method)(step_size, games.beta),
            games,
            num_steps=num_steps,
            every=10,
            start=start,
            log_nash=games.log_ref,
        )
        kl = np.asarray(trace.of("kl_to_nash"))[:, 0]
        ratio.append(kl[:, 0] / np.maximum(kl[:, kl.shape[1] // 2 :].min(1), 1e-300))
    return Outcome(
        instances=len(betas),
        worst=float(ratio[0].max()),
        control="EGPO at the same step",
        control_worst=float(ratio[1].min()),
        witness={"beta": float(betas[int(ratio[0].argmax())]), "size": CIRCLE},
        detail={"closest": float(1 / ratio[0].max()), "egpo_closest": float(1 / ratio[1].min())},
    )


def biased_limit(game: Game, pull: Array) -> Array:
    """Limit of Nash-MD with constant ηβ: the best response to the Nash policy at β/(1 - ηβ), ``[N, 1, A]``.

    Solved by Newton's method, not by running Nash-MD.

    Args:
      game: N games of one context.
      pull: ``[N]`` ηβ.
    """

    def one(advantage: Array, log_ref: Array, beta: Array, pull: Array) -> Array:
        mixture = solve_regularised(advantage + 0.5, log_ref, beta / (1 - pull)).log_policy
        return logspace.normalise(log_ref + advantage @ jnp.exp(mixture) / beta)

    return jax.jit(jax.vmap(one))(game.advantage[:, 0], game.log_ref[:, 0], game.beta, pull)[:, None]


def _judge_stalls(effort: Effort) -> Outcome:
    count, num_steps, pull = effort.pick(4, 32), 2000, 0.05
    games, log_nash = plant(effort.rng("stalls"), np.geomspace(0.1, 1.0, count), 6)
    beta = games.beta
    floor = np.asarray(logspace.kl(log_nash, biased_limit(games, jnp.full(count, pull))))[:, 0]
    ratio = []
    for method in (
        jax.vmap(nash_md)(pull / beta, beta),
        jax.vmap(functools.partial(nash_md, None))(beta),
        jax.vmap(egpo)(1 / (beta + 0.5), beta),
    ):
        trace = batch_run(method, games, num_steps=num_steps, every=10, log_nash=log_nash)
        kl = np.asarray(trace.of("kl_to_nash"))[:, 0]
        ratio.append(floor / np.maximum(kl[:, kl.shape[1] // 2 :].min(1), 1e-300))
    row = int(ratio[0].argmax())
    return Outcome(
        instances=count,
        worst=float(ratio[0][row]),
        control="the decreasing step; and EGPO",
        control_worst=float(min(ratio[1].min(), ratio[2].min())),
        # oscillation about the limit has died to (1 - ηβ)^1000, far below; Newton solves KL to 1e-9 of itself
        limit=1 + 1e-6,
        witness={"beta": float(beta[row]), "step_size": float(pull / beta[row]), "size": 6},
        detail={"furthest": float(ratio[0].min())},
    )


def _judge_drift(effort: Effort) -> Outcome:
    count, num_steps = effort.pick(8, 100), effort.pick(100, 400)
    key, rng = effort.key("drift"), effort.rng("drift")
    games, nash = [], []
    for number in range(count):
        preference, policy = full_support(jax.random.fold_in(key, number), 5)
        games.append(make_game(preference, beta=0.0))
        nash.append(np.log(policy)[None])
    stacked, log_nash = stack(games), jnp.asarray(np.array(nash))
    step_size = jnp.asarray(np.geomspace(0.01, 2.0, count))
    start = logspace.normalise(jnp.asarray(rng.normal(size=log_nash.shape)))
    ratio = []
    for method in (online_mirror_descent, nash_mirror_prox):
        trace = batch_run(
            jax.vmap(method)(step_size, jnp.zeros(count)),
            stacked,
            num_steps=num_steps,
            every=1,
            start=start,
            log_nash=log_nash,
        )
        kl = np.asarray(trace.of("kl_to_nash"))[:, 0]
        ratio.append(kl[:, :-1] / kl[:, 1:])
    row, column = np.unravel_index(ratio[0].argmax(), ratio[0].shape)
    return Outcome(
        instances=ratio[0].size,
        worst=float(ratio[0][row, column]),
        control="mirror prox, whose every step comes closer",
        control_worst=float(ratio[1].max()),
        witness={"step_size": float(step_size[row]), "step": int(column), "size": 5},
        detail={"mirror_prox_smallest": float(ratio[1].min())},
    )


def _averages(
    effort: Effort, method: Callable[..., Algorithm], step_size: float, size: int, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps ``[R]`` and the exploitability ``[N, R]`` of the mean and of the last iterate at β = 0."""
    count, key = effort.pick(8, 64), effort.key("averages")
    uniform, decided = uniform_skew(key, size, count // 2), tournament(key, size, count // 2)
    game = stack([make_game(matrix, beta=0.0) for matrix in np.concatenate([uniform, decided])])
    kinds = tuple(Measure("exploitability_original", iterate) for iterate in ("average", "last"))
    trace = batch_run(
        jax.vmap(method)(jnp.full(count, step_size), jnp.zeros(count)),
        game,
        num_steps=num_steps,
        every=num_steps // 32,
        measures=kinds,
    )
    average, last = (np.asarray(trace.values[kind])[:, 0, 1:] for kind in kinds)
    return np.arange(0, num_steps + 1, num_steps // 32)[1:], average, last


def _judge_average(effort: Effort) -> Outcome:
    num_steps = effort.pick(1024, 4096)
    size = 10
    steps, average, last = _averages(
        effort, online_mirror_descent, float(np.sqrt(8 * np.log(size) / num_steps)), size, num_steps
    )
    bound = np.sqrt(np.log(size) / (2 * steps[-1]))
    return Outcome(
        instances=len(average),
        worst=float((average[:, -1] / bound).max()),
        control="the last iterate of the same run",
        control_worst=float((last[:, -1] / bound).max()),
        witness={"size": size, "num_steps": num_steps},
    )


def _judge_mirror_prox_average(effort: Effort) -> Outcome:
    num_steps, size, step_size = effort.pick(256, 1024), 10, 2.0
    steps, average, _ = _averages(effort, nash_mirror_prox, step_size, size, num_steps)
    _, plain, _ = _averages(effort, online_mirror_descent, step_size, size, num_steps)
    bound = np.log(size) / (step_size * steps)
    return Outcome(
        instances=average.size,
        worst=float((average / bound).max()),
        control="multiplicative weights at the same step",
        control_worst=float((plain / bound).max()),
        witness={"size": size, "step_size": step_size},
    )


def _judge_ratio(effort: Effort) -> Outcome:
    table = scaling.queries(effort)

    def exponent(name: str) -> float:
        return fit_power(table.beta, table.asked[name] / table.asked["egpo"], burn_in=0.0).rate

    value, other, bound = exponent("online_mirror_descent"), exponent("omwu"), 0.75
    return Outcome(
        instances=len(table.beta),
        worst=bound / max(value, 1e-3),
        control="optimistic updates instead of plain ones",
        control_worst=bound / max(other, 1e-3),
        detail={"exponent": value, "control": other},
    )


def _judge_two_actions(effort: Effort) -> Outcome:
    count, num_steps, rng = effort.pick(64, 1024), 64, effort.rng("two_actions")
    beta, pull = np.geomspace(1e-3, 10, count), rng.permutation(np.geomspace(1e-3, 1.0, count))
    worst = []
    for size in (2, 3):
        game, log_nash = plant(rng, beta, size, spread=2.0)
        trace = batch_run(
            jax.vmap(online_mirror_descent)(jnp.asarray(pull / beta), game.beta),
            game,
            num_steps=num_steps,
            every=1,
            start=logspace.normalise(jnp.asarray(4 * rng.normal(size=log_nash.shape))),
            log_nash=log_nash,
            measures=("span_to_nash",),
        )
        span, steps = np.asarray(trace.of("span_to_nash"))[:, 0], np.arange(num_steps + 1)
        # a step rounds logits as large as the reference's or the start's; later steps contract the rounding
        largest = np.maximum(1, np.maximum(np.abs(np.asarray(game.log_ref)).max((1, 2)), 0.5 / beta))
        kept = np.minimum(1 + steps, 1 / pull[:, None])
        allowed = 16 * np.finfo(float).eps * (largest[:, None] * kept + span[:, :1])
        worst.append((np.abs(span - (1 - pull[:, None]) ** steps * span[:, :1]) / allowed).max(1))
    row = int(worst[0].argmax())
    return Outcome(
        instances=count,
        worst=float(worst[0][row]),
        control="three actions",
        control_worst=float(worst[1].max()),
        witness={"beta": float(beta[row]), "step_size": float(pull[row] / beta[row]), "size": 2},
    )


CHECKS: tuple[Check, ...] = (
    separation(
        "online_mirror_descent.cycles",
        "self-play at EGPO's step 1/(β + 1/2) never comes closer than its start: min KL of the second half",
        f"{CIRCLE} actions in a circle, β <= 0.05 (at β = 0.1 that step is within the edge of stability)",
        _judge_cycles,
        "empirical",
    ),
    separation(
        "nash_md.stalls",
        "with a constant step KL(π*‖π_t) stays above KL(π*‖BR(m)), m the Nash policy at β/(1 - ηβ)",
        "ηβ = 0.05, β in [0.1, 1], second half of 2,000 steps",
        _judge_stalls,
    ),
    separation(
        "online_mirror_descent.drift",
        "β = 0: KL(x‖π_{t+1}) >= KL(x‖π_t), as it gains log Σ π exp(ηAπ) >= η π·Aπ = 0",
        "x a Nash policy of full support, any step",
        _judge_drift,
    ),
    separation(
        "online_mirror_descent.horizon_average",
        "β = 0: the mean iterate's exploitability is at most √(log A/(2T)) at η = √(8 log A/T)",
        "uniform start; the last iterate does not obey it",
        _judge_average,
    ),
    separation(
        "nash_mirror_prox.average_alone",
        "β = 0, g = 2: the mean half iterate's exploitability is at most log A/(2T)",
        "uniform start; multiplicative weights at the same step does not obey it",
        _judge_mirror_prox_average,
    ),
    separation(
        "online_mirror_descent.query_ratio",
        "queries of self-play over those of EGPO, each at its largest covered step, grow like β^-c, c >= 3/4",
        "uniform skew games of 10 actions, normal reference, to KL 1e-10",
        _judge_ratio,
        "empirical",
    ),
    separation(
        "game.two_actions",
        "two actions do not rotate: self-play has span_t = (1 - ηβ)^t span_0 exactly, for every ηβ <= 1",
        "A = 2, any preference and reference; payoff differences do not depend on the policy",
        _judge_two_actions,
    ),
)
