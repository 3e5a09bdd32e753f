"""Policies that are trained networks: a fit is k optimiser steps on segment comparisons.

One file of an algorithm serves here as on tables: a step of CPL asks the oracle for a minibatch and fits.
Actors are compared with the counting measure (``log_ref = 0``), so the log-ratio of a segment is its
log-probability ``Σ_t discount^t log π(a_t|s_t)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from nlhf import actors
from nlhf.base import Calibration, Comparisons, Policy, PolicySpace, check_number, check_whole
from nlhf.comparisons import clean
from nlhf.errors import InputError
from nlhf.optimiser import apply
from nlhf.policies import Trained
from nlhf.segments import Segments, check_pair, discounted_sum

Array = jax.Array
SLICE_ROWS = 768  # states; activations of 256 to 512 units for so many fit into the cache of a core


@jax.tree_util.register_static
class _Settings(NamedTuple):
    head: Callable[[Array, Array], Array]
    discount: float
    dropout: float
    num_updates: int
    learning_rate: float
    optimiser: Callable[[float], Any]
    slice_rows: int


def actor_space(
    parameters: actors.MLP,
    head: Callable[[Array, Array], Array],
    *,
    discount: float = 1.0,
    dropout: float = 0.0,
    num_updates: int = 1,
    learning_rate: float = 1e-4,
    optimiser: Callable[[float], Any] = optax.adam,
    slice_rows: int = SLICE_ROWS,
) -> PolicySpace:
    """Space of actors over state features, moved by k optimiser steps a fit.

    ``fit`` takes k steps on ``Σ weight loss(s, s', prefer_first) / Σ weight`` over the comparisons it is
    given, s and s' the log-probabilities of the two segments. The comparisons are gone through in slices,
    both segments in one pass, and the gradients added up: the same update, with activations that stay in
    cache. Projections and mixtures, which need a payoff for every response, are refused.

    Args:
      parameters: of the first policy, from ``nlhf.actors.init``.
      head: ``head(outputs, actions) -> log_prob``: ``nlhf.actors.categorical`` or ``deterministic``.
      discount: in (0, 1] along a segment; the released code of CPL has 1.
      dropout: in [0, 1), in fits only.
      num_updates: k >= 1.
      learning_rate: > 0.
      optimiser: ``optimiser(learning_rate)`` is an optax transformation.
      slice_rows: about how many states to take at a time, >= 1; a slice holds one comparison or more.

    Returns:
      A ``PolicySpace`` whose policies are ``Trained``.

    Raises:
      InputError: if a number is out of range; from its functions, if responses are not segments of state
        vectors, or a payoff or a calibration term is asked of it.
    """
    check_number("discount", discount, high=1.0, open_low=True)
    check_number("learning_rate", learning_rate, open_low=True)
    settings = _Settings(
        head=head,
        discount=float(discount),
        dropout=actors.check_dropout(dropout),
        num_updates=check_whole("num_updates", num_updates),
        learning_rate=float(learning_rate),
        optimiser=optimiser,
        slice_rows=check_whole("slice_rows", slice_rows),
    )
    return PolicySpace(
        reference=start(parameters, optimiser(learning_rate)),
        log_prob=Partial(_log_prob, settings),
        mix=Partial(_no_mixture),
        project=Partial(_no_projection),
        fit=Partial(_fit, settings),
    )


def start(parameters: actors.MLP, optimiser: Any) -> Trained:
    """Return a policy with a fresh optimiser state, as after a warm start by cloning.

    Args:
      optimiser: an optax transformation, the one of the space.
    """
    return Trained(parameters, optimiser.init(parameters))


def segment_log_prob(
    parameters: actors.MLP,
    segments: Segments,
    head: Callable[[Array, Array], Array],
    discount: float = 1.0,
    *,
    key: Array | None = None,
    dropout: float = 0.0,
) -> Array:
    """Return ``Σ_t discount^t log π(a_t|s_t)``, ``[N]``, in the parameters' dtype.

    Args:
      segments: states ``[N, T, D]``, actions ``[N, T]`` or ``[N, T, K]``.
      discount: in (0, 1].
      key: of the dropout, or ``None``.
      dropout: in [0, 1).
    """
    num, length = segments.actions.shape[:2]
    actions = segments.actions.reshape(num * length, *segments.actions.shape[2:])
    states = segments.states.reshape(num * length, -1)
    outputs = actors.apply(parameters, states, key=key, dropout=dropout)
    return discounted_sum(head(outputs, actions).reshape(num, length), discount)


def _log_prob(settings: _Settings, policy: Trained, responses: Segments | None = None) -> Array:
    if responses is None:
        raise InputError("an actor has no table of all segments; give the segments to be judged")
    return segment_log_prob(policy.parameters, _vectors(responses), settings.head, settings.discount)


def _vectors(segments: Any) -> Segments:
    if not isinstance(segments, Segments) or jnp.ndim(segments.states) != 3:
        shape = jnp.shape(segments.states) if isinstance(segments, Segments) else type(segments).__name__
        raise InputError(
            f"the responses are {shape}, but an actor takes Segments with states [N, T, D]; for states that "
            "are indices use a space of tables"
        )
    return segments


def _no_mixture(policy: Policy, other: Policy, weight: Any) -> Policy:
    raise InputError("actors cannot be mixed geometrically; use a method that only fits, such as cpl")


def _no_projection(policy: Policy, target: Any, feedback: Any) -> Policy:
    raise InputError("an actor cannot be projected; use a method that learns from comparisons, such as cpl")


def _fit(
    settings: _Settings,
    key: Array,
    policy: Trained,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Trained:
    if calibration is not None:
        raise InputError("an actor has no calibration term; use a method without one, such as cpl")
    if not isinstance(policy, Trained):
        raise InputError(
            f"the policy is a {type(policy).__name__}, but this space moves Trained; start from its reference"
        )
    _vectors(comparisons.first)
    check_pair(comparisons.first, _vectors(comparisons.second))
    optimiser = settings.optimiser(settings.learning_rate)

    def update(index: Array, policy: Trained) -> Trained:
        grads = gradient(
            policy.parameters,
            loss,
            comparisons,
            settings.head,
            discount=settings.discount,
            dropout=settings.dropout,
            key=jax.random.fold_in(key, index),
            slice_rows=settings.slice_rows,
        )
        return Trained(*apply(optimiser, grads, policy.optimiser_state, policy.parameters))

    if settings.num_updates == 1:
        return update(jnp.asarray(0), policy)
    return jax.lax.fori_loop(0, settings.num_updates, update, policy)


def gradient(
    parameters: actors.MLP,
    loss: Callable[..., Array],
    comparisons: Comparisons,
    head: Callable[[Array, Array], Array],
    *,
    discount: float = 1.0,
    dropout: float = 0.0,
    key: Array | None = None,
    slice_rows: int = SLICE_ROWS,
) -> actors.MLP:
    """Return the gradient of ``Σ weight loss / Σ weight``, slice by slice.

    Args:
      loss: per-example loss with its hyper-parameters bound.
      comparisons: N pairs of segments; rows of weight 0 may hold anything.
      discount: in (0, 1].
      dropout: in [0, 1).
      key: of the dropout, or ``None``.
      slice_rows: about how many states a slice holds.
    """
    num, length = comparisons.first.actions.shape[:2]
    num_slices = max(1, round(2 * num * length / slice_rows))
    size = -(-num // num_slices)
    num_slices = -(-num // size)
    dtype = parameters.weights[0].dtype
    slices = jax.tree.map(lambda column: _cut(column, num_slices, size), clean(comparisons, dtype))
    total = jnp.maximum(comparisons.weight.sum(), 1e-30).astype(dtype)

    def objective(parameters: actors.MLP, rows: Comparisons, key: Array | None) -> Array:
        both = jax.tree.map(lambda *sides: jnp.concatenate(sides), rows.first, rows.second)
        scores = segment_log_prob(parameters, both, head, discount, key=key, dropout=dropout)
        return (rows.weight * loss(scores[:size], scores[size:], rows.prefer_first)).sum() / total

    def add(sums: actors.MLP, index_and_rows: tuple[Array, Comparisons]) -> tuple[actors.MLP, None]:
        index, rows = index_and_rows
        slice_key = None if key is None else jax.random.fold_in(key, index)
        part = jax.grad(objective)(parameters, rows, slice_key)
        return jax.tree.map(jnp.add, sums, part), None

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    return jax.lax.scan(add, zeros, (jnp.arange(num_slices), slices))[0]


def _cut(column: Array, num_slices: int, size: int) -> Array:
    """Return ``[num_slices, size, ...]``, the last slice filled with zeros, whose weight is 0."""
    missing = num_slices * size - column.shape[0]
    if missing:
        column = jnp.pad(column, ((0, missing),) + ((0, 0),) * (column.ndim - 1))
    return column.reshape(num_slices, size, *column.shape[1:])
