"""Fitted rates: at least as fast as proved, and how biases and query counts scale."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import egpo, logspace, nash_md, nash_mirror_prox, omwu, online_mirror_descent
from nlhf.base import Algorithm, Claim, Constants
from nlhf.errors import InputError
from proofs_checks import instances
from proofs_checks.dynamics.noise import LINEARISED, batch_run, plant
from proofs_checks.rates import Fit, fit_linear, fit_power
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.families import uniform_skew
from tabular.games import make_game
from tabular.nash import solve_regularised

Array = jax.Array

REACHED = 1e-10  # KL that counts as solved when queries are counted
NEGLIGIBLE = 1e-6  # a start closer than this to equilibrium has no rate to show


METHODS: dict[str, Callable[..., Algorithm]] = {
    "online_mirror_descent": online_mirror_descent,
    "egpo": egpo,
    "nash_mirror_prox": nash_mirror_prox,
    "omwu": omwu,
}


def linear_claim(name: str) -> Claim:
    """The claim of a method on the last iterate of the regularised game."""
    return next(claim for claim in METHODS[name](0.1, 0.1).claims if claim.name == f"{name}.kl")


def longest(name: str, beta: Array) -> Array:
    """Largest step size that ``linear_claim`` covers, ``[N]``."""
    return jnp.broadcast_to(jnp.asarray(linear_claim(name).step_size_range(beta)[1]), beta.shape)


def _rate(fitted: Callable[..., Fit], *args: Any, **settings: Any) -> Fit | None:
    try:
        return fitted(*args, **settings)
    except InputError:
        return None  # too few points between burn-in and the floor


class Curves(NamedTuple):
    """KL(π*‖π_t) of one method on the bank: ``[N, T + 1]``, and the settings."""

    kl: np.ndarray
    step_size: np.ndarray
    bank: instances.Bank


@functools.lru_cache(maxsize=8)
def curves(effort: Effort, name: str) -> Curves:
    """Run a method at the end of its range until KL is at the floor of floating point.

    Args:
      name: key of ``METHODS``.
    """
    count, low = effort.pick(16, 96), effort.pick(0.2, 0.1)
    sizes = effort.pick((3, 5), (2, 3, 5, 10))
    bank = instances.build(effort.key("scaling.rates"), count, sizes, (low, 1.0))
    beta = bank.game.beta
    step_size = longest(name, beta)
    # the slowest of all is self-play at the smallest beta, whose step shrinks with it
    slowest = 4 * low**2 if name == "online_mirror_descent" else 0.5 * low
    trace = batch_run(
        jax.vmap(METHODS[name])(step_size, beta),
        bank.game,
        num_steps=int(70 / slowest),
        every=1,
        start=bank.start,
        log_nash=bank.log_nash,
    )
    return Curves(np.asarray(trace.of("kl_to_nash"))[:, 0], np.asarray(step_size), bank)


def _judge_rate(effort: Effort, name: str) -> Outcome:
    """Proved rate over the upper end of the fitted interval, and the same for a claim made too large."""
    runs = curves(effort, name)
    steps = np.arange(runs.kl.shape[1])
    worst, control, used = 0.0, 0.0, 0
    witness: dict[str, Any] = {}
    for row, kl in enumerate(runs.kl):
        if not kl[0] > NEGLIGIBLE:
            continue
        fit = _rate(fit_linear, steps, kl)
        if fit is None:
            continue
        used += 1
        beta = float(runs.bank.game.beta[row])
        constants = Constants(runs.step_size[row], beta, kl[0], 0.0)
        proved = float(linear_claim(name).rate(constants))  # type: ignore[misc]
        if proved / fit.high > worst:
            worst = proved / fit.high
            size = int(runs.bank.size[row])
            witness = {"beta": beta, "size": size, "step_size": float(runs.step_size[row]), "rate": fit.rate}
        control = max(control, 4 * proved / fit.high)
    return Outcome(used, worst, "four times the claimed rate", control, witness=witness)


def _judge_bias(effort: Effort) -> Outcome:
    count, width = effort.pick(4, 12), np.geomspace(0.002, 0.03, 8)
    betas = np.geomspace(0.2, 1.0, count)
    one, truth = plant(effort.rng("scaling.bias"), betas, 6)
    stacked, log_nash = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(width), axis=0), (one, truth))
    pull = np.tile(width, count)
    trace = batch_run(
        jax.vmap(nash_md)(jnp.asarray(pull) / stacked.beta, stacked.beta),
        stacked,
        num_steps=int(12 / width[0]),
        every=int(12 / width[0]),
        start=log_nash,
        log_nash=log_nash,
    )
    bias = np.asarray(trace.of("kl_to_nash"))[:, 0, -1].reshape(count, len(width))
    exponents = np.array([-fit_power(width, row, burn_in=0.0).rate for row in bias])
    proved = np.array(
        [-fit_power(width, 2 * width / beta**2, burn_in=0.0).rate for beta in betas]
    )  # 2η/β at η = w/β
    row = int(np.abs(exponents - 2).argmax())
    return Outcome(
        instances=bias.size,
        worst=float(np.abs(exponents - 2).max()),
        control="the exponent of the proved floor 2η/β",
        control_worst=float(np.abs(proved - 2).min()),
        limit=0.1,
        witness={"beta": float(betas[row]), "exponent": float(exponents[row])},
        detail={"lowest": float(exponents.min()), "highest": float(exponents.max())},
    )


class Queries(NamedTuple):
    """Median queries to KL <= 1e-10 over the games, ``[B]`` a method, at B betas."""

    beta: np.ndarray
    asked: dict[str, np.ndarray]


@functools.lru_cache(maxsize=2)
def queries(effort: Effort) -> Queries:
    """Count queries of all of ``METHODS`` against beta, on uniform skew games with a normal reference."""
    betas = np.geomspace(effort.pick(0.1, 0.03), effort.pick(0.5, 0.3), 8)
    number, key = effort.pick(2, 7), effort.key("scaling.queries")
    games = []
    for index in range(number):
        game_key, reference_key = jax.random.split(jax.random.fold_in(key, index))
        log_ref = logspace.normalise(jax.random.normal(reference_key, (10,)))
        games += [make_game(uniform_skew(game_key, 10), log_ref, beta=float(beta)) for beta in betas]
    game = jax.tree.map(lambda *leaves: jnp.stack(leaves), *games)
    solve = jax.jit(jax.vmap(solve_regularised))
    log_nash = solve(game.advantage[:, 0] + 0.5, game.log_ref[:, 0], game.beta).log_policy[:, None]
    count = {}
    for name, method in METHODS.items():
        step_size = longest(name, game.beta)
        slow = betas[0] ** 2 if name == "online_mirror_descent" else betas[0]
        trace = batch_run(
            jax.vmap(method)(step_size, game.beta),
            game,
            num_steps=int(40 / slow),
            every=1,
            log_nash=log_nash,
        )
        first = np.argmax(np.asarray(trace.of("kl_to_nash"))[:, 0] <= REACHED, axis=1)
        if not first.all():
            raise ArithmeticError(f"{name} did not reach KL {REACHED:g} in {int(40 / slow)} steps")
        asked = np.asarray(trace.queries)[np.arange(len(games)), 0, first]
        count[name] = np.median(asked.reshape(number, len(betas)), axis=0)
    return Queries(betas, count)


def _judge_queries(effort: Effort, name: str, expected: float) -> Outcome:
    table = queries(effort)
    fit = fit_power(table.beta, table.asked[name], burn_in=0.0)
    other = "egpo" if name == "online_mirror_descent" else "online_mirror_descent"
    wrong = fit_power(table.beta, table.asked[other], burn_in=0.0)
    return Outcome(
        instances=len(table.beta),
        worst=abs(fit.rate - expected),
        control=f"the queries of {other}",
        control_worst=abs(wrong.rate - expected),
        limit=0.2,
        detail={"exponent": fit.rate, "low": fit.low, "high": fit.high, "control": wrong.rate},
    )


def _judge_decreasing(effort: Effort) -> Outcome:
    count, num_steps = effort.pick(16, 96), effort.pick(2000, 6000)
    bank = instances.build(
        effort.key("scaling.decreasing"), count, effort.pick((3, 5), (2, 3, 5, 10)), (0.2, 2.0)
    )
    used, rates, controls = 0, [], []
    beta = bank.game.beta
    curve = []
    for algorithm in (jax.vmap(lambda b: nash_md(None, b))(beta), jax.vmap(nash_md)(0.05 / beta, beta)):
        trace = batch_run(
            algorithm,
            bank.game,
            num_steps=num_steps,
            every=10,
            start=bank.start,
            log_nash=bank.log_nash,
        )
        curve.append(np.asarray(trace.of("kl_to_nash"))[:, 0])
    steps = np.asarray(trace.step[0, 0])
    for row in range(count):
        if not curve[0][row, 1] > NEGLIGIBLE:
            continue
        fit, constant = (_rate(fit_power, steps, values[row]) for values in curve)
        if fit is None or constant is None:
            continue
        used += 1
        rates.append(fit.high)
        controls.append(constant.high)
    proved = float(nash_md(None, 1.0).claims[0].rate(Constants(1.0, jnp.asarray(1.0), 1.0, 0.0)))
    ratio = proved / np.array(rates)
    return Outcome(
        instances=used,
        worst=float(ratio.max()),
        control="a constant step",
        control_worst=float((proved / np.maximum(controls, 1e-3)).max()),
        detail={"slowest": float(np.min(rates)), "fastest": float(np.max(rates))},
    )


def _check(name: str, statement: str, assumptions: str, judge: Any, status: str = "derived") -> Check:
    source = LINEARISED if status == "derived" else "measured here"
    return check_of(name, statement, assumptions, judge, status, source, kind="scaling")


CHECKS: tuple[Check, ...] = (
    *(
        _check(
            f"{name}.fitted_rate",
            "fitted rate of log KL(π*‖π_t), upper end of its interval, >= the claimed one",
            "the step at the end of the claim's range; β in [0.1, 1]",
            functools.partial(_judge_rate, name=name),
            "derived",
        )
        for name in METHODS
    ),
    _check(
        "nash_md.bias_exponent",
        "the limit KL(π*‖π_∞) of a constant step grows like (ηβ)^2",
        "ηβ in [0.002, 0.03], β in [0.2, 1]",
        _judge_bias,
    ),
    _check(
        "nash_md.decreasing_exponent",
        "KL(π*‖π_t) falls like a power of t that is at least the proved 1 (exact payoffs: 2)",
        "η_t = 2/(β(t + 2)), β in [0.2, 2], exact payoffs",
        _judge_decreasing,
    ),
    *(
        _check(
            f"{name}.queries_exponent",
            f"queries to KL 1e-10 grow like β^-{power}, within 0.2",
            "largest covered step; uniform skew games of 10 actions, normal reference, β in [0.03, 0.3]",
            functools.partial(_judge_queries, name=name, expected=float(power)),
            "empirical",
        )
        for name, power in (("egpo", 1), ("nash_mirror_prox", 1), ("omwu", 1), ("online_mirror_descent", 2))
    ),
)
