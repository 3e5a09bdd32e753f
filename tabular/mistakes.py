"""What can be wrong with a run, in one line each: its arguments before it is compiled, its step while it is.

A step is looked at while its run is compiled, so that the checks cost nothing from the second call on.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Claim, Info, Oracle, PolicySpace, State, as_algorithm, check_whole, hyper
from nlhf.errors import InputError, RangeWarning
from nlhf.functions import Closure
from tabular.mdps.mdp import MDP
from tabular.metrics import check_measure
from tabular.oracle import exact
from tabular.replay import check_sizes
from tabular.spaces.simplex import simplex
from tabular.traces import ITERATES, Measure

Array = jax.Array
MASS = 1e-3  # how far from 1 the probabilities of a policy may sum: float32 rounds long runs
NEEDS_CONCRETE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def check_subject(algorithm: Any, game: Any) -> Algorithm:
    """Return the algorithm, any record of ``init`` and ``step``; refuse what is none, or no game.

    Raises:
      InputError: says what was given instead, and how to make the right thing of it.
    """
    if isinstance(algorithm, str):
        given, remedy = f"the name {algorithm!r}", f'nlhf.default("{algorithm}", game.beta)'
        raise InputError(f"the algorithm is {given}, but a run takes an Algorithm; give {remedy}")
    if inspect.isroutine(algorithm):
        name, parameters = _name(algorithm), inspect.signature(algorithm).parameters
        given, remedy = f"the function {name}", f"what it returns, {name}({', '.join(parameters)})"
        raise InputError(f"the algorithm is {given}, but a run takes an Algorithm; give {remedy}")
    if not (hasattr(game, "log_ref") and hasattr(game, "beta")):
        raise InputError(
            f"the game is {_described(game)}, but a run takes a Game, a Bandit or an MDP; give "
            "tabular.make_game(preference, beta=...)"
        )
    return as_algorithm(algorithm)


def check_key(key: Any, axes: tuple) -> None:
    """Refuse a key that is none, or a batch of keys that no level of axes opens.

    Args:
      key: ``jax.random.key(...)``, or a batch; old keys of two integers pass too.
      axes: levels of ``vmap``.

    Raises:
      InputError: says which.
    """
    dtype = getattr(key, "dtype", None)
    old = dtype == np.uint32 and key.shape[-1:] == (2,)
    if dtype is None or not (old or jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)):
        seed = key if isinstance(key, int) else 0
        raise InputError(
            f"the key is {_described(key)}, but a run takes a key of JAX; give jax.random.key({seed})"
        )
    shape = key.shape[:-1] if old else key.shape
    levels = sum(axis.key is not None for axis in axes)
    if len(shape) != levels:
        raise InputError(
            f"the key is a batch of shape {shape}, but {levels} levels of axes open it; give one key, or add "
            "Axes(key=0) for each of its dimensions"
        )


def check_settings(
    measures: tuple[Measure, ...], num_steps: int, every: int, log_nash: Any, game: Any
) -> None:
    """Refuse numbers of steps that do not fit, and metrics that cannot be recorded.

    Raises:
      InputError: names the value.
    """
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


def check_learner(algorithm: Algorithm, game: Any, make_space: Any, make_oracle: Any) -> None:
    """Refuse a memory of other sizes than the game's, and tables of actions where responses are segments.

    Raises:
      InputError: says which.
    """
    replay = hyper(algorithm).get("replay")
    if replay is not None:
        check_sizes(replay, game)
    if isinstance(game, MDP) and (make_space is simplex or make_oracle is exact):
        raise InputError(
            "the game is an MDP, whose responses are segments; give make_space=segment_space and "
            "make_oracle=offline_segments(data) or fresh_segments(...) of tabular.mdps.segment_space"
        )


def check_one(algorithm: Algorithm, game: Any) -> None:
    """Refuse numbers that are still arrays when every level of ``vmap`` is open: they would broadcast.

    Raises:
      InputError: names the number and its shape.
    """
    own = hyper(algorithm)
    if isinstance(getattr(algorithm.step, "func", None), Closure):
        # it may close over arrays that are no batch of numbers
        own = {name: value for name, value in own.items() if name in ("step_size", "beta")}
    for name, value in {"beta of the game": game.beta, **own}.items():
        if isinstance(value, jax.Array | np.ndarray) and value.ndim and name != "calibration":
            raise InputError(
                f"{name} has shape {value.shape}, but no axes batch it; add axes=(Axes(algorithm=0, ...),)"
            )


def made(name: str, factory: Callable, kind: type, *arguments: Any) -> Any:
    """Return ``factory(*arguments)`` if that is an oracle or a space, as its place demands.

    Args:
      name: of the argument of a run.
      factory: what was given there.
      kind: ``Oracle`` or ``PolicySpace``.
      *arguments: of the factory.

    Raises:
      InputError: if the factory is itself made by a function that was not called.
    """
    uncalled = hasattr(factory, "cache_info")  # those of the library that take settings keep what they made
    result = None if uncalled else factory(*arguments)
    if not isinstance(result, kind):
        said = "takes settings first" if uncalled else f"returned {_described(result)}"
        raise InputError(
            f"{name} is {_name(factory)}, which {said}, but a run needs a function that returns the "
            f"{kind.__name__}; give {name}={_name(factory)}(...)"
        )
    return result


def first_state(algorithm: Algorithm, start: Any) -> State:
    """Return ``algorithm.init(start)``, which must have a policy.

    Raises:
      InputError: if it has none.
    """
    state = algorithm.init(start)
    if not hasattr(state, "policy"):
        raise InputError(
            f"{_name(algorithm.init)} returned {_described(state)}, but a state has a field `policy`, the "
            "last iterate; add it"
        )
    return state


def checked_step(algorithm: Algorithm, key: Array, state: State, oracle: Oracle, space: PolicySpace) -> tuple:
    """Return ``algorithm.step(...)``, a state like the one before and an ``Info``, or name what is wrong.

    Raises:
      InputError: if the step returns something else, or needs a number before it is known. Any other error
        passes with its traceback and a note.
    """
    name = _name(algorithm.step)
    try:
        result = algorithm.step(key, state, oracle, space)
    except NEEDS_CONCRETE as error:
        raise InputError(
            f"{name} needs a concrete number (in range, if or float), but jit has only "
            "traced ones; take a setting that shapes the program from a closure, and write jnp.where for if"
        ) from error
    except Exception as error:
        error.add_note(f"This was raised in {name}, the step of the algorithm that the run was given.")
        raise
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Info):
        raise InputError(f"{name} returned (info, state), but a step returns (state, info); swap them")
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Info)):
        raise InputError(
            f"{name} returned {_described(result)}, but a step returns (state, info); end it with "
            "return state, Info(queries=...)"
        )
    after, info = result
    if not jnp.issubdtype(jnp.result_type(info.queries), jnp.integer):
        raise InputError(
            f"{name} says queries={_described(info.queries)}, but queries are a whole number; "
            "give Info(queries=1), say"
        )
    weak = any(jax.typeof(leaf).weak_type for leaf in jax.tree.leaves(state))  # scan decides their types
    if _shapes(state) != _shapes(after) and not weak:
        raise InputError(
            f"{name} turned the state {_shapes(state)} into {_shapes(after)}, but a state keeps its fields, "
            "shapes and types; convert them"
        )
    return after, info


def check_policy(algorithm: Algorithm, policy: Any, log_ref: Any, make_space: Any) -> None:
    """Refuse tables of log-probabilities that a run has left unnormalised, and warn of NaN in them.

    Args:
      policy: the last policy; only a concrete table like the reference is looked at.
      log_ref: ``[..., X, A]``.
      make_space: only on the simplex is such a table sure to be one of log-probabilities.

    Raises:
      InputError: if a row does not sum to 1.

    Warns:
      UserWarning: if a row has no sum.
    """
    if not isinstance(policy, jax.Array) or isinstance(policy, jax.core.Tracer):
        return
    if policy.shape[-2:] != log_ref.shape[-2:]:
        return
    name = _name(algorithm.step)
    with np.errstate(over="ignore"):
        mass = np.exp(np.asarray(policy)).sum(-1)
    if np.isnan(mass).any():
        warnings.warn(
            f"{name} has left NaN in {np.isnan(mass).sum()} of {mass.size} policies; a smaller step size may "
            "help",
            stacklevel=3,
        )
    wrong = np.abs(mass - 1) > MASS
    if make_space is simplex and wrong.any():
        raise InputError(
            f"{name} returned a policy of total probability {mass[wrong].flat[0]:.6g}, but it must be 1; put "
            "nlhf.logspace.normalise(log_policy) into the state"
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


def warn_other_beta(algorithm: Algorithm, beta: Any) -> None:
    """Warn where claims about one regularised game, or a learner's gap, would be measured on another.

    Warns:
      RangeWarning: names both values of beta.
    """
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
        f"{first(beta):g} that {claim.name} ({claim.source}) covers; the run has no such guarantee",
        RangeWarning,
        stacklevel=4,
    )


def _name(function: Any) -> str:
    while not hasattr(function, "__name__") and hasattr(function, "func"):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def _described(value: Any) -> str:
    if isinstance(value, jax.Array | np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    if isinstance(value, bool | int | float | str | type(None)):
        return repr(value)
    return f"the function {_name(value)}" if callable(value) else f"a {type(value).__name__}"


def _shapes(tree: Any) -> str:
    leaves = (f"{jax.typeof(leaf).dtype}{list(jax.typeof(leaf).shape)}" for leaf in jax.tree.leaves(tree))
    return f"{type(tree).__name__}({', '.join(leaves)})"
