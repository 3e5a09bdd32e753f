"""What an algorithm's claims promise about one of its runs: the constants of the bounds, and their curves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Claim, Constants, hyper
from nlhf.errors import InputError
from tabular.games import Game
from tabular.metrics import METRICS
from tabular.payoff import dense, payoff

Array = Any


def constants(game: Game, log_nash: Array, start: Array, step_size: Any) -> Constants:
    """Return what a bound may depend on, for one game (not a batch) and one start.

    Args:
      log_nash: ``[X, A]`` its regularised Nash policy; anything where β = 0.
      start: ``[X, A]`` first log-policy.
      step_size: the method's step size; NaN for a schedule.
    """
    advantage = payoff(game.advantage, start)
    inside = ~jnp.isneginf(game.log_ref)
    pairs = inside[..., :, None] & inside[..., None, :]
    regularised = game.beta > 0
    kl_start = METRICS["kl_to_nash"](game, start, advantage, log_nash)
    span_start = METRICS["span_to_nash"](game, start, advantage, log_nash)
    return Constants(
        step_size=step_size,
        beta=game.beta,
        kl_start=jnp.where(regularised, kl_start, jnp.nan),
        log_start=(-jnp.where(jnp.isneginf(start), 0.0, start)).max(),
        span_start=jnp.where(regularised, span_start, jnp.nan),
        num_actions=inside.sum(-1).max().astype(game.log_ref.dtype),
        log_min_ref=jnp.where(inside, game.log_ref, 0.0).min(),
        largest_advantage=jnp.where(pairs, jnp.abs(dense(game.advantage)), 0.0).max(),
    )


def check_bound(claim: Claim, num_steps: int, compiled: bool) -> None:
    """Refuse a bound that cannot be evaluated on an array of steps, without a run.

    Args:
      num_steps: of the runs; the bound must answer for each step from 0 on.
      compiled: whether it will stand inside a compiled program, which has no numbers yet.

    Raises:
      InputError: with what Python said and the remedy.
    """
    number = jax.ShapeDtypeStruct((), jnp.float64)
    known = Constants(*[number] * len(Constants._fields))
    step = jnp.arange(num_steps + 1.0)
    try:
        if compiled:
            found = jax.eval_shape(claim.bound, step, known)
        else:
            found = jax.eval_shape(lambda known: claim.bound(step, known), known)
    except InputError:
        raise
    except AttributeError as error:
        if "Constants" not in str(error):
            raise
        fields = ", ".join(Constants._fields)
        raise InputError(f"the bound of {claim.name} fails ({error}); known has {fields}") from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the bound of {claim.name} fails on an array of steps ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}); write jnp.exp for math.exp, jnp.where(step == 0, a, b) for if"
        ) from None
    if getattr(found, "shape", None) not in ((), step.shape):
        raise InputError(
            f"the bound of {claim.name} returns {getattr(found, 'shape', found)} for {len(step)} steps, but "
            "must return one number a step; compute it from step by jax.numpy"
        )


def bounds(trace: Any) -> dict[tuple[str, str], np.ndarray]:
    """Return the bound of every recorded measure that a claim of the algorithm covers, ``[..., R]``.

    The lowest, where several claims do; NaN for runs at step sizes that none covers, and where a bound needs
    the Nash policy and the run was not given it.

    Args:
      trace: a ``Trace`` of a run on a ``Game``, not made inside another compiled function.

    Raises:
      InputError: if a bound cannot be evaluated.
    """
    if trace.origin is None or not isinstance(trace.origin.arguments[1], Game):
        return {}
    known = _known(trace)
    steps = np.asarray(trace.step, float).reshape(-1, trace.step.shape[-1])[0]
    column = Constants(*(np.asarray(leaf)[..., None] for leaf in known))
    found: dict[tuple[str, str], np.ndarray] = {}
    for claim in trace.origin.arguments[0].claims:
        measure = (claim.metric, claim.iterate)
        if measure not in trace.values:
            continue
        check_bound(claim, len(steps) - 1, compiled=False)
        low, high = claim.step_size_range(column.beta)
        # a schedule has no one size; the claims about it are those of the algorithm that made it
        size = np.where(np.isnan(column.step_size), low, column.step_size)
        covered = (size >= low) & (size <= high * (1 + 1e-6)) & ((column.beta > 0) == claim.regularised)
        promised = claim.bound(jnp.asarray(column.beta * 0 + steps), column)
        curve = np.where(covered, np.asarray(promised), np.nan)
        found[measure] = np.fmin(found.get(measure, np.nan), curve)
    return found


def _known(trace: Any) -> Constants:
    """The constants of a trace's bounds, each with the trace's batch axes."""
    origin = trace.origin

    def one(algorithm: Algorithm, game: Game, start: Any, log_nash: Any) -> Constants:
        space = origin.make_space(game)
        table = space.log_prob(space.reference if start is None else start)
        step_size = hyper(algorithm).get("step_size")
        step_size = jnp.nan if step_size is None or callable(step_size) else step_size
        known = constants(game, game.log_ref if log_nash is None else log_nash, table, step_size)
        return known if log_nash is not None else known._replace(kl_start=jnp.nan, span_start=jnp.nan)

    def floats(*arguments: Any) -> Constants:
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), one(*arguments))

    for axis, size in reversed(list(zip(origin.axes, trace.step.shape, strict=False))):
        where = (axis.algorithm, axis.game, axis.start, axis.log_nash)
        floats = jax.vmap(floats, in_axes=where, axis_size=size)
    return floats(*origin.arguments)
