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

from nlhf.base import Algorithm, Oracle, Policy, PolicySpace, State
from tabular import mistakes
from tabular.games import Game
from tabular.metrics import ALL_METRICS
from tabular.oracle import OracleFactory, exact
from tabular.payoff import payoff
from tabular.solution import Solution
from tabular.spaces.simplex import simplex
from tabular.traces import ITERATES, Measure, Origin, Trace

Array = jax.Array


class Axes(NamedTuple):
    """Which arguments of a run are batched at one level of ``vmap``: 0, ``None``, or a matching pytree."""

    algorithm: Any = None
    game: Any = None
    key: Any = None
    start: Any = None
    log_nash: Any = None


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
    algorithm = mistakes.check_subject(algorithm, game)
    if measures is None:
        measures = ("duality_gap",) if log_nash is None else ("kl_to_nash", "duality_gap")
    listed = (measures,) if isinstance(measures, Measure | str) else measures
    recorded = tuple(m if isinstance(m, Measure) else Measure(m) for m in listed)
    key = jax.random.key(0) if key is None else key
    mistakes.check_key(key, axes)
    mistakes.check_settings(recorded, num_steps, every, log_nash, game)
    mistakes.check_learner(algorithm, game, make_space, make_oracle)
    mistakes.warn_outside_range(algorithm, game.beta)
    mistakes.warn_other_beta(algorithm, game.beta)
    if game.log_ref.dtype != np.float64:
        off = not jax.config.read("jax_enable_x64")
        warnings.warn(
            ("float64 is off" if off else "the game was made while float64 was off")
            + ", so metrics below about 1e-6 are rounding noise; make the game after nlhf.setup()",
            stacklevel=2,
        )
    given = getattr(log_nash, "log_policy", log_nash)
    log_nash = game.log_ref if given is None else given
    if log_nash is game.log_ref:
        axes = tuple(axis._replace(log_nash=_log_ref_axis(axis.game)) for axis in axes)
    settings = _Settings(
        num_steps, every, recorded, make_space, make_oracle, tuple(_freeze(axis) for axis in axes)
    )
    trace = _jitted(Axes(algorithm, game, key, start, log_nash), settings)
    mistakes.check_policy(algorithm, trace.state.policy, game.log_ref, make_space)
    return with_origin(trace, (algorithm, game, start, given), make_space, axes)


def with_origin(trace: Trace, subject: tuple, make_space: Callable, axes: tuple[Axes, ...]) -> Trace:
    """Let a trace remember what its bounds are computed from, where that is concrete.

    Args:
      subject: algorithm, game, start and Nash policy, as given to the run.
      make_space: as in ``run``.
      axes: as in ``run``.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(subject)):
        return trace
    return trace._replace(origin=Origin(subject, make_space, axes))


def _freeze(axis: Axes) -> tuple[tuple, Any]:
    """Leaves and structure: two equal axes hash alike, where two Partials with equal arguments do not."""
    leaves, structure = jax.tree.flatten(axis, is_leaf=lambda entry: entry is None)
    return tuple(leaves), structure


def _log_ref_axis(game_axis: Any) -> Any:
    return game_axis.log_ref if isinstance(game_axis, Game) else game_axis


class _Settings(NamedTuple):
    """What a compiled run depends on beside its arrays."""

    num_steps: int
    every: int
    measures: tuple[Measure, ...]
    make_space: Callable
    make_oracle: Callable
    axes: tuple[tuple, ...]


@functools.partial(jax.jit, static_argnames="settings")
def _jitted(arguments: Axes, settings: _Settings) -> Trace:
    def one(algorithm: Algorithm, game: Game, key: Array, start: Policy | None, log_nash: Array) -> Trace:
        mistakes.check_one(algorithm, game)
        space = mistakes.made("make_space", settings.make_space, PolicySpace, game)
        oracle = mistakes.made("make_oracle", settings.make_oracle, Oracle, game, space.log_prob)
        first = mistakes.first_state(algorithm, space.reference if start is None else start)
        return _scan(algorithm, game, space, oracle, key, first, log_nash, settings)

    batched = one
    for leaves, structure in reversed(settings.axes):
        batched = jax.vmap(batched, in_axes=tuple(jax.tree.unflatten(structure, leaves)))
    return batched(*arguments)


def _scan(
    algorithm: Algorithm,
    game: Any,
    space: PolicySpace,
    oracle: Any,
    key: Array,
    state: State,
    log_nash: Array,
    settings: _Settings,
) -> Trace:
    num_steps, every, measures = settings[:3]
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
        state, info = mistakes.checked_step(algorithm, jax.random.fold_in(key, index), state, oracle, space)
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
