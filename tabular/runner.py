"""Run an algorithm on a game: one jitted scan, recorded on a stride, ``vmap``-ed over anything.

The metric of an iterate and the algorithm's next query need the same product P π; they stand in one scan
body with the same operands, so the compiler computes it once.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Claim, Policy, PolicySpace, State, Static, check_whole, hyper
from nlhf.errors import InputError, RangeWarning
from tabular.games import Game
from tabular.mdps.mdp import MDP
from tabular.metrics import ALL_METRICS, check_measure
from tabular.oracle import OracleFactory, exact
from tabular.payoff import payoff
from tabular.replay import check_sizes
from tabular.solution import Solution
from tabular.spaces.simplex import simplex

Array = jax.Array
ITERATES = ("last", "half", "average")


class Measure(NamedTuple):
    """What to record: a metric of one of the iterates.

    Attributes:
      metric: a key of ``tabular.metrics.METRICS``.
      iterate: ``"last"``, ``"half"`` (the extrapolated policy in the state; the last iterate where an
        algorithm has none) or ``"average"`` (the
        arithmetic mean of the half iterates; where an algorithm has no half step, of iterates 0 to t - 1).
    """

    metric: str
    iterate: str = "last"


class Axes(NamedTuple):
    """Which arguments of a run are batched at one level of ``vmap``: 0, ``None``, or a matching pytree."""

    algorithm: Any = None
    game: Any = None
    key: Any = None
    start: Any = None
    log_nash: Any = None


class Trace(NamedTuple):
    """What a run leaves behind; every array has the batch axes in front.

    Attributes:
      step: ``[R]`` recorded step numbers, 0 first.
      queries: ``[R]`` payoff queries made before that step.
      values: one ``[R]`` array for each recorded ``Measure``.
      state: the algorithm's state after the last step.
    """

    step: Array
    queries: Array
    values: dict[Measure, Array]
    state: State

    def of(self, metric: str, iterate: str = "last") -> Array:
        """Return the recorded values of a metric of an iterate."""
        return self.values[Measure(metric, iterate)]


def run(
    algorithm: Algorithm,
    game: Any,
    *,
    num_steps: int,
    key: Array | None = None,
    start: Policy | None = None,
    log_nash: Array | Solution | None = None,
    measures: Sequence[Measure | str] | Measure | str | None = None,
    every: int = 1,
    make_space: Callable[[Any], PolicySpace] = simplex,
    make_oracle: OracleFactory = exact,
    axes: tuple[Axes, ...] = (),
) -> Trace:
    """Run ``num_steps`` steps of an algorithm and record metrics at steps 0, every, 2 every, ....

    Args:
      algorithm: a method with its hyper-parameters (or a batch of them, see ``axes``).
      game: a ``Game``, ``Bandit`` or ``MDP`` (or a batch).
      num_steps: number of steps, a positive multiple of ``every``.
      key: random key for sampled oracles; ``None`` is key 0.
      start: first policy in the space's representation; ``None`` is the reference.
      log_nash: the game's ``Solution`` or its ``[X, A]`` log-policy, for the metrics that need it.
      measures: what to record, a metric or several; ``None`` is the duality gap, and KL to ``log_nash`` if it
        is given.
      every: stride of the recording.
      make_space: ``make_space(game) -> PolicySpace``; keep the object to avoid recompilation.
      make_oracle: ``make_oracle(game, log_prob) -> Oracle``; likewise.
      axes: levels of ``vmap``, outermost first. Batching only ``beta`` and the algorithm over one game keeps
        one copy of P and turns the queries into one matrix product.

    Returns:
      A ``Trace``.

    Raises:
      InputError: on an unknown metric or iterate, num_steps or every that are not positive or do not divide,
        a metric that needs ``log_nash`` when it is missing.

    Warns:
      RangeWarning: if a step size is outside the range that the algorithm's claims cover.
      UserWarning: if float64 is off: gaps then floor near 1e-7.
    """
    if measures is None:
        measures = ("duality_gap",) if log_nash is None else ("kl_to_nash", "duality_gap")
    listed = (measures,) if isinstance(measures, Measure | str) else measures
    recorded = tuple(m if isinstance(m, Measure) else Measure(m) for m in listed)
    _check_run(recorded, num_steps, every, log_nash, game)
    _check_learner(algorithm, game, make_space, make_oracle)
    warn_outside_range(algorithm, game.beta)
    _warn_other_beta(algorithm, game.beta)
    if not jax.config.read("jax_enable_x64"):
        warnings.warn(
            "float64 is off, so metrics below about 1e-6 are rounding noise; "
            'call jax.config.update("jax_enable_x64", True) before the first array is made',
            stacklevel=2,
        )
    key = jax.random.key(0) if key is None else key
    log_nash = getattr(log_nash, "log_policy", log_nash)
    log_nash = game.log_ref if log_nash is None else log_nash
    if log_nash is game.log_ref:
        axes = tuple(axis._replace(log_nash=_log_ref_axis(axis.game)) for axis in axes)
    return _jitted(
        algorithm,
        game,
        key,
        start,
        log_nash,
        num_steps,
        every,
        recorded,
        make_space,
        make_oracle,
        tuple(Static(_freeze(axis)) for axis in axes),
    )


def _freeze(axis: Axes) -> tuple[tuple, Any]:
    """Leaves and structure: two equal axes hash alike, where two Partials with equal arguments do not."""
    leaves, structure = jax.tree.flatten(axis, is_leaf=lambda entry: entry is None)
    return tuple(leaves), structure


def _log_ref_axis(game_axis: Any) -> Any:
    return game_axis.log_ref if isinstance(game_axis, Game) else game_axis


@functools.partial(jax.jit, static_argnums=(5, 6, 7, 8, 9, 10))
def _jitted(
    algorithm: Algorithm,
    game: Any,
    key: Array,
    start: Policy | None,
    log_nash: Array,
    num_steps: int,
    every: int,
    measures: tuple[Measure, ...],
    make_space: Callable,
    make_oracle: Callable,
    axes: tuple[Static, ...],
) -> Trace:
    def one(algorithm: Algorithm, game: Game, key: Array, start: Policy | None, log_nash: Array) -> Trace:
        _check_one(algorithm, game)
        space = make_space(game)
        oracle = make_oracle(game, space.log_prob)
        first = space.reference if start is None else start
        return _scan(algorithm, game, space, oracle, key, first, log_nash, num_steps, every, measures)

    batched = one
    for leaves, structure in reversed(axes):
        batched = jax.vmap(batched, in_axes=tuple(jax.tree.unflatten(structure, leaves)))
    return batched(algorithm, game, key, start, log_nash)


def _scan(
    algorithm: Algorithm,
    game: Any,
    space: PolicySpace,
    oracle: Any,
    key: Array,
    start: Policy,
    log_nash: Array,
    num_steps: int,
    every: int,
    measures: tuple[Measure, ...],
) -> Trace:
    averaging = any(measure.iterate == "average" for measure in measures)

    def table(state: State, iterate: str) -> Array:
        policy = getattr(state, "half", state.policy) if iterate == "half" else state.policy
        return space.log_prob(policy)

    def observe(state: State, total: Array, count: Array) -> dict[Measure, Array]:
        values = {}
        for iterate in ITERATES:
            wanted = [measure for measure in measures if measure.iterate == iterate]
            if not wanted:
                continue
            if iterate == "average":
                mean = total / jnp.maximum(count, 1).astype(total.dtype)
                log_policy = jnp.where(count > 0, jnp.log(mean), table(state, "last"))
            else:
                log_policy = table(state, iterate)
            # a decision process has no table of preferences, and its metrics ask for no payoff
            played = getattr(game, "advantage", None)
            advantage = log_policy if played is None else payoff(played, log_policy)
            for measure in wanted:
                values[measure] = ALL_METRICS[measure.metric](game, log_policy, advantage, log_nash)
        return values

    def step(carry: tuple, index: Array) -> tuple:
        state, queries, total = carry
        played = state
        state, info = algorithm.step(jax.random.fold_in(key, index), state, oracle, space)
        if averaging:
            # regret bounds average what was played: the half iterate of this step, else the iterate before it
            total = total + jnp.exp(table(state if hasattr(state, "half") else played, "half"))
        return state, queries + info.queries, total

    def stride(carry: tuple, record: Array) -> tuple:
        state, queries, total = carry
        observed = (queries, observe(state, total, record * every))
        if every == 1:
            return step(carry, record), observed
        return jax.lax.fori_loop(
            record * every, (record + 1) * every, lambda i, c: step(c, i), carry
        ), observed

    state = algorithm.init(start)
    empty = jnp.zeros_like(table(state, "last")) if averaging else jnp.zeros(())
    carry = (state, jnp.zeros((), int), empty)
    num_records = num_steps // every
    observed: tuple[Array, dict[Measure, Array]]
    (state, total_queries, total), observed = jax.lax.scan(stride, carry, jnp.arange(num_records))
    queries, values = observed
    final = observe(state, total, jnp.asarray(num_steps))
    return Trace(
        step=jnp.arange(num_records + 1) * every,
        queries=jnp.append(queries, total_queries),
        values={measure: jnp.append(values[measure], final[measure]) for measure in values},
        state=state,
    )


def warn_outside_range(algorithm: Algorithm, beta: Any) -> None:
    """Warn where a concrete step size is outside every range that the claims about the game cover.

    Args:
      algorithm: the method with its hyper-parameters.
      beta: KL coefficient(s) of the game, used where the algorithm has none of its own.

    Warns:
      RangeWarning: names the value and the claim with the widest range.
    """
    settings = hyper(algorithm)
    step_size = settings.get("step_size")
    coefficient = settings.get("beta", beta)
    traced = any(isinstance(value, jax.core.Tracer) for value in jax.tree.leaves((step_size, coefficient)))
    if step_size is None or callable(step_size) or traced:
        return
    sizes, betas = np.asarray(step_size, float), np.asarray(coefficient, float)
    if sizes.ndim and betas.ndim and sizes.shape != betas.shape:
        # batched at different levels: every size meets every beta
        sizes, betas = sizes.reshape(-1, 1), betas.reshape(1, -1)
    slack = 1 + 8 * float(jnp.finfo(jnp.result_type(float)).eps)
    # one covering claim is enough: those with a shorter range are about other metrics
    covered = np.zeros(np.broadcast_shapes(sizes.shape, betas.shape), bool)
    nearest: tuple | None = None
    for claim in algorithm.claims:
        if not np.any((betas > 0) == claim.regularised):
            continue
        low, high = claim.step_size_range(betas)
        covered |= ((betas > 0) != claim.regularised) | ((sizes >= low) & (sizes <= high * slack))
        if nearest is None or np.max(high) > np.max(nearest[2]):
            nearest = (claim, low, high)
    if nearest is not None and not covered.all():
        _warn_range(nearest[0], sizes, betas, nearest[1], nearest[2], ~covered)


def _warn_other_beta(algorithm: Algorithm, beta: Any) -> None:
    """Warn where claims about one regularised game, or a learner's gap, would be measured on another."""
    own = hyper(algorithm).get("beta", beta)
    judged = algorithm.claims or "replay" in hyper(algorithm)
    if not judged or any(isinstance(value, jax.core.Tracer) for value in (own, beta)):
        return
    own, beta = np.asarray(own, float), np.asarray(beta, float)
    if (
        own.size == 1
        and beta.size == 1
        and abs(own.item() - beta.item()) > 1e-6 * max(own.item(), beta.item())
    ):
        warnings.warn(
            f"the algorithm's beta is {own.item():g}, but the game's is {beta.item():g}: it solves "
            "another game than its metrics measure; give both the same beta",
            RangeWarning,
            stacklevel=3,
        )


def _warn_range(claim: Claim, step_size: Any, beta: Any, low: Any, high: Any, outside: np.ndarray) -> None:
    def first(value: Any) -> float:
        return float(np.broadcast_to(np.asarray(value), outside.shape)[outside].flat[0])

    warnings.warn(
        f"step_size is {first(step_size):g}, outside [{first(low):g}, {first(high):g}], the range at beta = "
        f"{first(beta):g} that {claim.name} ({claim.source}) covers; the run goes on without that guarantee",
        RangeWarning,
        stacklevel=4,
    )


def _check_learner(algorithm: Algorithm, game: Any, make_space: Any, make_oracle: Any) -> None:
    replay = hyper(algorithm).get("replay")
    if replay is not None:
        check_sizes(replay, game)
    if isinstance(game, MDP) and (make_space is simplex or make_oracle is exact):
        raise InputError(
            "the game is an MDP, whose responses are segments; give make_space=segment_space and "
            "make_oracle=offline_segments(data) or fresh_segments(...) of tabular.mdps.segment_space"
        )


def _check_one(algorithm: Algorithm, game: Any) -> None:
    """Refuse numbers that are still arrays when every level of ``vmap`` is open: they would broadcast."""
    numbers = {"beta of the game": game.beta, **hyper(algorithm)}
    for name, value in numbers.items():
        if isinstance(value, jax.Array | np.ndarray) and value.ndim and name != "calibration":
            raise InputError(
                f"{name} has shape {value.shape}, but no axes batch it; add axes=(Axes(algorithm=0, ...),)"
            )


def _check_run(measures: tuple[Measure, ...], num_steps: int, every: int, log_nash: Any, game: Any) -> None:
    check_whole("num_steps", num_steps)
    check_whole("every", every)
    if num_steps % every:
        raise InputError(
            f"num_steps is {num_steps}, which is not a multiple of every = {every}; change one of them"
        )
    for measure in measures:
        check_measure(measure.metric, log_nash, game)
        if measure.iterate not in ITERATES:
            raise InputError(f"{measure.iterate!r} is not an iterate; give one of {', '.join(ITERATES)}")
