"""Figure ``convergence``: every NLHF algorithm on six games, measured curve beside proved bound.

Expected: on each regularised game the last iterates of EGPO (at this step size the same as Nash Mirror
Prox), OMWU and, at larger β, online mirror descent fall linearly to the level of rounding; Nash Prox falls
linearly too, more slowly a query, for its inner steps; all stay below their dashed bounds. Nash-MD with a
constant step and IPO-MD stall at the biased limits (dotted) that an independent solver predicts; Nash-MD with
the decreasing step follows a power law. On the unregularised games the averages obey their bounds of order
1/t (plus η/8 for multiplicative weights), and MPO's last iterate keeps falling.

The distance is KL(Nash ‖ policy) to an equilibrium that was planted or found by Newton's method; x-axes count
payoff queries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.convergence.curves import Measured, promise, reduce
from experiments.figures.convergence.games import TITLES, Group, build
from experiments.figures.convergence.methods import REGULARISED, UNREGULARISED, Method, regularised, stack
from experiments.figures.shared.curves import Announce, Brief, announced, check_seeds
from nlhf import logspace
from nlhf.base import Algorithm, Constants, hyper
from nlhf.errors import InputError
from tabular.games import Game
from tabular.many import run_many
from tabular.nash import solve_regularised
from tabular.runner import Axes
from tabular.traces import Measure, Trace


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 20  # instances of each family of games, 1 to 1000
    betas: tuple[float, ...] = (0.3, 0.1, 0.03)  # KL coefficients, one row of panels each
    queries_unregularised: int = 4000  # queries spent on the games with β = 0
    add: tuple[str, ...] = ()  # more methods for the regularised games, as ``nlhf.find`` takes them
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: three seeds, two betas."""
    return dataclasses.replace(
        config, seeds=min(config.seeds, 3), betas=config.betas[:2], queries_unregularised=1000
    )


@dataclasses.dataclass(frozen=True)
class Panel:
    """One game at one β."""

    game: str  # key of ``games.TITLES``
    title: str
    beta: float  # KL coefficient; 0 for the unregularised game
    metric: str  # what is on the y-axis
    # where rounding takes over: for a KL the highest level at which an unbiased method rests, at least (ε ·
    # range of log-probabilities)² / 2
    floor: float
    max_queries: int  # end of the x-axis
    curves: list[Measured]


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from; panels row by row."""

    config: Config
    panels: list[Panel]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Run every method on every game.

    Raises:
      InputError: if seeds is not in 1..1000, a β is not positive, or an added method is not found.
    """
    check_seeds(config.seeds)
    if not config.betas or min(config.betas) <= 0:
        raise InputError(
            f"betas are {config.betas}, but each must be > 0; the row with beta 0 is always drawn"
        )
    methods = regularised(config.add)
    groups = build(jax.random.key(config.seed), config.seeds, jnp.asarray(config.betas))
    total = 2 * len(groups)
    panels: list[Panel] = []
    for group in groups:
        panels += _regularised_panels(config, methods, group, lambda what: progress(what, total))
        panels += _unregularised_panels(config, group, lambda what: progress(what, total))
    order = {name: i for i, name in enumerate(TITLES)}
    rows = {beta: i for i, beta in enumerate((*config.betas, 0.0))}
    return Result(config, sorted(panels, key=lambda panel: (rows[panel.beta], order[panel.game])))


def horizon(beta: float) -> int:
    """Queries after which the proved bound of Nash Mirror Prox at g = 2 has fallen by about 1e-28."""
    return 20 * int(np.ceil(2 * 28 * np.log(10) / np.log1p(2 * beta) / 20))


def _regularised_panels(
    config: Config, methods: dict[str, Method], group: Group, progress: Callable[[str], None]
) -> list[Panel]:
    betas = jnp.asarray(config.betas)
    games, log_nash = _batch(group, betas)
    horizons = [horizon(beta) for beta in config.betas]
    constants = Constants(
        step_size=np.nan,
        beta=betas[None, None, :, None],
        kl_start=logspace.kl(log_nash, games.log_ref),
        log_start=np.nan,
    )
    progress(f"{len(methods)} regularised methods, {games.num_actions} actions")
    algorithms = {name: stack(method, config.betas) for name, method in REGULARISED.items()}
    measure = Measure("kl_to_nash")
    steps = {name: max(horizons) // method.queries for name, method in methods.items()}
    traces = run_many(
        algorithms,
        games,
        num_steps={name: steps[name] for name in algorithms},
        log_nash=log_nash,
        measures=(measure.metric,),
        # outer: families, seeds; inner: β, over one copy of P
        axes=(Axes(game=0, log_nash=0), Axes(game=0, log_nash=0), _BETA_AXES),
    )
    curves = []
    for name, method in REGULARISED.items():
        limits = _biased_limits(method, hyper(algorithms[name]), group, betas, log_nash)
        curves.append(
            _reduce_all(name, method, algorithms[name], traces[name], measure, constants, horizons, limits)
        )
    for name in config.add:
        curves.append(_added(name, methods[name], config, games, log_nash, constants, steps[name], horizons))
    spread = np.median(logspace.span(log_nash), axis=(1, 3))
    rounding = 0.5 * (np.finfo(float).eps * np.maximum(spread, 1.0)) ** 2
    return [
        Panel(name, TITLES[name], beta, "kl_to_nash", _floor(here, float(rounding[g, b])), horizons[b], here)
        for g, name in enumerate(group.names)
        for b, beta in enumerate(config.betas)
        for here in [[method_curves[g][b] for method_curves in curves]]
    ]


def _added(
    name: str,
    method: Method,
    config: Config,
    games: Game,
    log_nash: jax.Array,
    constants: Constants,
    num_steps: int,
    horizons: list[int],
) -> list[list[Measured]]:
    """Curves ``[G][B]`` of a method of anybody: one run a β, since its numbers may be no leaves to stack."""
    columns = []
    for index, beta in enumerate(config.betas):
        algorithm = method.make(beta)
        at = games._replace(log_ref=games.log_ref[:, :, index], beta=games.beta[:, :, index])
        trace = run_many(
            {name: algorithm},
            at,
            num_steps=num_steps,
            log_nash=log_nash[:, :, index],
            measures=("kl_to_nash",),
            axes=(Axes(game=0, log_nash=0), Axes(game=0, log_nash=0)),
        )[name]
        here = constants._replace(beta=beta, kl_start=constants.kl_start[:, :, index : index + 1])
        columns.append(
            _reduce_all(
                name, method, algorithm, trace, Measure("kl_to_nash"), here, horizons[index : index + 1], None
            )
        )
    return [[curve for (curve,) in rows] for rows in zip(*columns, strict=True)]


def _floor(curves: list[Measured], rounding: float) -> float:
    """Highest level at which an unbiased method came to rest, at least that of rounding log π once.

    Rounding accumulates over the memory of a method, about 1/(ηβ) steps, so the level is measured.
    """
    rest = []
    for curve in curves:
        tail = curve.middle[-len(curve.middle) // 10 :]
        if curve.rate_kind == "linear" and max(tail) < min(1e-20, 10 * min(tail)):
            rest.append(max(tail))
    return max(rounding, *rest) if rest else rounding


def _unregularised_panels(config: Config, group: Group, progress: Callable[[str], None]) -> list[Panel]:
    # the reference enters as the start only
    games = _games(group.preference[:, :, None], group.log_start[:, :, None, None], jnp.zeros(()))
    log_start = np.asarray(group.log_start)
    constants = Constants(
        step_size=np.nan,
        beta=np.zeros((1, 1, 1, 1)),
        kl_start=np.nan,
        log_start=-np.where(np.isneginf(log_start), 0.0, log_start).min(-1)[:, :, None, None],
    )
    progress(f"{len(UNREGULARISED)} unregularised methods, {games.num_actions} actions")
    methods = {name: method.make(0.0) for name, method in UNREGULARISED.items()}
    metric, horizons = "exploitability_original", [config.queries_unregularised]
    traces = run_many(
        methods,
        games,
        num_steps={name: horizons[0] // method.queries for name, method in UNREGULARISED.items()},
        measures=(Measure(metric, "last"), Measure(metric, "average")),
        axes=(Axes(game=Game(0, 0, None, None)),) * 3,
    )
    curves = []
    for name, method in UNREGULARISED.items():
        measure = Measure(metric, "last" if name.endswith("_last") else "average")
        curves.append(
            _reduce_all(name, method, methods[name], traces[name], measure, constants, horizons, None)
        )
    floor = float(np.finfo(float).eps) / 2
    return [
        Panel(name, TITLES[name], 0.0, metric, floor, horizons[0], [rows[g][0] for rows in curves])
        for g, name in enumerate(group.names)
    ]


def _reduce_all(
    name: str,
    method: Method,
    algorithm: Algorithm,
    trace: Trace,
    measure: Measure,
    constants: Constants,
    horizons: list[int],
    limits: np.ndarray | None,
) -> list[list[Measured]]:
    """Reduce values ``[G, S, B, N]`` to curves ``[G][B]``; constants broadcast against ``[G, S, B, 1]``."""
    value = np.asarray(trace.of(*measure))
    queries = np.asarray(trace.queries).reshape(-1, value.shape[-1])[0]
    value = value.reshape(*value.shape[:2], len(horizons), -1)
    step_size = hyper(algorithm).get("step_size")
    if step_size is not None and not callable(step_size):
        constants = constants._replace(step_size=np.reshape(step_size, (1, 1, -1, 1)))
    promises = None
    for claim in algorithm.claims:
        if promises is None and (claim.iterate, claim.metric) == (measure.iterate, measure.metric):
            promises = promise(claim, np.arange(value.shape[-1]), constants, value.shape)
    rows = []
    for g in range(value.shape[0]):
        row = []
        for b, end in enumerate(horizons):
            keep = queries <= end
            limit = None if limits is None else float(np.median(limits[g, :, b]))
            promised = None if promises is None else promises.at(g, b, keep)
            row.append(reduce(name, int(queries[1]), queries[keep], value[g, :, b][:, keep], promised, limit))
        rows.append(row)
    return rows


_BETA_AXES = Axes(algorithm=0, game=Game(None, 0, None, 0), log_nash=0)


def _games(preference: jax.Array, log_ref: jax.Array, beta: jax.Array) -> Game:
    """Game with one context; ``preference [..., A, A]``, ``log_ref [..., 1, A]``."""
    upper = jnp.triu(preference - 0.5, 1)
    advantage = (upper - jnp.swapaxes(upper, -1, -2))[..., None, :, :]
    return Game(advantage, log_ref, jnp.ones((1,)), beta)


def _batch(group: Group, betas: jax.Array) -> tuple[Game, jax.Array]:
    """Games ``[G, S]`` x β and their equilibria ``[G, S, B, 1, A]``: planted, or from Newton's method."""
    games = _games(group.preference, group.log_ref[..., None, :], betas)
    shape = group.preference.shape[:2]
    games = games._replace(
        context_prob=jnp.ones((*shape, 1)), beta=jnp.broadcast_to(betas, (*shape, len(betas)))
    )
    if group.log_nash is not None:
        log_nash = jnp.broadcast_to(group.log_nash[:, :, None], group.log_ref.shape)
    else:
        log_nash = _solve(group.preference, group.log_ref, betas)
    return games, log_nash[..., None, :]


@jax.jit
def _solve(preference: jax.Array, log_ref: jax.Array, betas: jax.Array) -> jax.Array:
    over_betas = jax.vmap(solve_regularised, in_axes=(None, 0, 0))
    return jax.vmap(jax.vmap(over_betas, in_axes=(0, 0, None)), in_axes=(0, 0, None))(
        preference, log_ref, betas
    ).log_policy


def _biased_limits(
    method: Method, settings: dict[str, Any], group: Group, betas: jax.Array, log_nash: jax.Array
) -> np.ndarray | None:
    """KL(Nash ‖ limit) ``[G, S, B]`` of the methods whose fixed point is known to be biased."""
    if method.temperature is None:
        return None
    mixture = _solve(group.preference, group.log_ref, method.temperature(betas, settings))
    pull = jnp.einsum("gsab,gskb->gska", group.preference - 0.5, jnp.exp(mixture))
    limit = logspace.normalise(group.log_ref + pull / betas[None, None, :, None])
    return np.asarray(logspace.kl(log_nash[..., 0, :], limit))
