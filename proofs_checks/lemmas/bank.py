"""How a lemma is judged: both sides of its inequality on every instance of a bank, a wrong version beside it.

All lemmas of a module are evaluated in one compiled program for each shape, so that the terms which they
share are computed once; the first row of a module that is judged pays for all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import Algorithm, State
from proofs_checks.instances import Bank, build, describe, subset
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.games import Game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

Array = jax.Array

EPSILON = float(np.finfo(np.float64).eps)
KL_ERROR = 1e-13  # relative, what nlhf.logspace.kl states of itself
WEIGHTS = (1.0, 0.1, 1e-3)  # how far towards the start a policy is moved from the equilibrium
HUGE = 1e12  # stands for a ratio over nothing: a ledger in JSON has no infinity
BANKS = ((1024, (2, 3, 4, 5, 8)), (128, (16, 32)), (32, (100, 200)))
QUICK_BANKS = ((200, (2, 3, 4, 5, 8)),)
EVERY = (1024, 1024, 1024)  # at most as many of each bank


class Case(NamedTuple):
    """One instance of a lemma."""

    game: Game  # one context, ``advantage [1, A, A]``
    log_nash: Array  # ``[A]`` regularised Nash policy π*
    policy: Array  # ``[A]`` the iterate π, a geometric mixture of π* and the bank's start
    other: Array  # ``[A]`` a second policy, likewise drawn and moved towards π*
    share: Array  # ``[]`` of the largest step size that the lemma covers
    delta: Array  # ``[]`` nats, how far off a computed log-probability may be


class Sides(NamedTuple):
    """``left <= right``, where ``left`` may be too large by ``allowance``; and the wrong version of it.

    All broadcast against each other; ``allowance`` serves both versions; ``left`` is ``-inf`` where there is
    nothing to judge.
    """

    left: Array
    right: Array
    wrong_left: Array
    wrong_right: Array
    allowance: Any = 0.0


class Lemma(NamedTuple):
    """A row before it is a ``Check``: its fields, the wrong version in words, which part of a measurement."""

    measure: Callable[[Case], Sides | tuple[Sides, ...]]
    name: str
    source: str
    statement: str
    assumptions: str
    control: str
    status: str = "derived"
    part: int = 0


def checks(
    lemmas: tuple[Lemma, ...], most: tuple[int, ...] = EVERY, quick_most: tuple[int, ...] = EVERY
) -> tuple[Check, ...]:
    """Return one ``Check`` a lemma; they share one evaluation.

    Args:
      lemmas: of one module.
      most: instances of each bank to take at full effort, the first ones; banks without an entry are unused.
      quick_most: likewise at quick effort.
    """
    return tuple(
        check_of(
            lemma.name,
            lemma.statement,
            lemma.assumptions,
            functools.partial(_judge, lemmas, index, most, quick_most),
            lemma.status,
            lemma.source,
            kind="lemma",
        )
        for index, lemma in enumerate(lemmas)
    )


def step(method: Algorithm, state: State, game: Game) -> State:
    """Return the state after one step of an algorithm with exact payoffs on the simplex."""
    space = simplex(game)
    return method.step(jax.random.key(0), state, exact(game, space.log_prob), space)[0]


def advantage_over(case: Case, log_policy: Array) -> Array:
    """``(P - 1/2) π``, ``[A]``, straight from the matrix."""
    return case.game.advantage[0] @ jnp.exp(log_policy)


def inner(log_policy: Array, vector: Array) -> Array:
    """``Σ_a π_a vector_a`` over the actions that have mass."""
    return jnp.where(jnp.isneginf(log_policy), 0.0, jnp.exp(log_policy) * vector).sum(-1)


def distance(log_policy: Array, log_other: Array) -> Array:
    """``|p - q|_1``."""
    return jnp.abs(jnp.exp(log_policy) - jnp.exp(log_other)).sum(-1)


def difference(log_policy: Array, log_other: Array) -> Array:
    """``log p - log q``, NaN on actions out of the game, which ``logspace.span`` leaves out."""
    absent = jnp.isneginf(log_policy) & jnp.isneginf(log_other)
    return jnp.where(absent, jnp.nan, jnp.where(absent, 0.0, log_policy) - jnp.where(absent, 0.0, log_other))


def kl_allowance(divergence: Any, delta: Any) -> Array:
    """What an error ``delta`` in log q adds to KL(p‖q).

    The derivative is Σ (q - p) e <= |p - q|_1 δ <= √(2 KL) δ, so √KL moves by at most δ/√2.
    """
    return 2 * delta * jnp.sqrt(jnp.maximum(divergence, 0.0)) + delta**2


def ratio(left: Any, right: Any, allowance: Any = 0.0) -> np.ndarray:
    """``(left - allowance) / right``; 0 where nothing is left, ``HUGE`` where the right side is nothing."""
    left, right = np.asarray(left) - np.asarray(allowance), np.asarray(right)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(left <= 0, 0.0, np.where(right <= 0, HUGE, left / right))
    return np.where(np.isnan(left) | np.isnan(right), np.nan, np.minimum(value, HUGE))


def rounding(game: Game, log_policy: Array) -> Array:
    """Error in nats of computed log-probabilities: a dozen operations on numbers as large as the largest log.

    Those are the logs of the reference and the start, and the payoff over β, at most 1/(2β).
    """
    largest = [jnp.max(jnp.where(jnp.isfinite(log), jnp.abs(log), 0.0)) for log in (game.log_ref, log_policy)]
    return 16 * EPSILON * jnp.maximum(jnp.maximum(1.0, 0.5 / game.beta), jnp.maximum(*largest))


@functools.lru_cache(maxsize=2)
def _banks(effort: Effort) -> tuple[Bank, ...]:
    sizes = effort.pick(QUICK_BANKS, BANKS)
    keys = jax.random.split(effort.key("lemmas"), len(sizes))
    return tuple(build(key, count, actions) for key, (count, actions) in zip(keys, sizes, strict=True))


@functools.lru_cache(maxsize=8)
def _evaluate(
    lemmas: tuple[Lemma, ...], most: tuple[int, ...], effort: Effort
) -> list[tuple[Bank, list[tuple[Sides, ...]]]]:
    measures = tuple(dict.fromkeys(entry.measure for entry in lemmas))
    measured = []
    for bank, count in zip(_banks(effort), most, strict=False):
        keys = jax.random.split(effort.key("lemmas.other"), len(bank.share))
        taken = np.arange(min(count, len(keys)))
        used = subset(bank, taken)
        measured.append((used, jax.tree.map(np.asarray, _run(measures, used, keys[taken]))))
    return measured


@functools.partial(jax.jit, static_argnums=0)
def _run(measures: tuple[Callable, ...], bank: Bank, keys: Array) -> list[tuple[Sides, ...]]:
    def one(bank: Bank, key: Array, weight: Array) -> list[tuple[Sides, ...]]:
        log_nash, start = bank.log_nash[0], bank.start[0]
        drawn = logspace.normalise(
            jnp.where(jnp.isneginf(log_nash), -jnp.inf, 3 * jax.random.normal(key, log_nash.shape))
        )
        policy, other = (logspace.geometric_mixture(log_nash, end, weight) for end in (start, drawn))
        delta = rounding(bank.game, jnp.minimum(jnp.where(jnp.isneginf(start), 0.0, start), drawn))
        case = Case(bank.game, log_nash, policy, other, bank.share, delta)
        results = [measure(case) for measure in measures]
        each = [(result,) if isinstance(result, Sides) else result for result in results]
        return [tuple(_broadcast(sides) for sides in parts) for parts in each]

    return jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))(bank, keys, jnp.asarray(WEIGHTS))


def _broadcast(sides: Sides) -> Sides:
    return Sides(*jnp.broadcast_arrays(*(jnp.asarray(side, float) for side in sides)))


def _judge(
    lemmas: tuple[Lemma, ...], index: int, most: tuple[int, ...], quick_most: tuple[int, ...], effort: Effort
) -> Outcome:
    lemma = lemmas[index]
    place = list(dict.fromkeys(entry.measure for entry in lemmas)).index(lemma.measure)
    found: list[tuple[float, dict[str, Any]]] = []
    values, wrong, at_end, detail = [], [], [], {}
    for bank, measured in _evaluate(lemmas, effort.pick(quick_most, most), effort):
        sides = Sides(
            *(side.reshape(len(bank.share), len(WEIGHTS), -1) for side in measured[place][lemma.part])
        )
        value = ratio(sides.left, sides.right, sides.allowance)
        # what is absent, or does not depend on the policy, is no instance of its own
        same = (sides.left[:, :1] == sides.left) & (sides.right[:, :1] == sides.right)
        counted = ~np.isneginf(sides.left) & ~(same.all(0) & (np.arange(len(WEIGHTS)) > 0)[:, None])
        values.append(value[counted])
        at_end.append(value[np.asarray(bank.share) == 1].max())
        wrong.append(ratio(sides.wrong_left, sides.wrong_right, sides.allowance).max())
        # argmax stops at a NaN, which is then the witness
        row, weight, _ = np.unravel_index(value.argmax(), value.shape)
        setting = {"share": float(bank.share[row]), "weight": WEIGHTS[weight]}
        found.append((float(value.max()), describe(bank, int(row)) | setting))
        detail[f"worst_to_{bank.start.shape[-1]}_actions"] = float(value.max())
    flat = np.concatenate(values)
    return Outcome(
        instances=flat.size,
        worst=float(np.max([entry[0] for entry in found])),
        control=lemma.control,
        control_worst=float(np.max(wrong)),
        witness=max(found, key=lambda entry: np.inf if np.isnan(entry[0]) else entry[0])[1],
        detail=detail | {"median": float(np.median(flat)), "worst_at_largest_step": float(np.max(at_end))},
    )
