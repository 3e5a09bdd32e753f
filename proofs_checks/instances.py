"""The bank of the referee: thousands of games, references, betas, step sizes and starts, from one key.

Eight kinds of game meet five kinds of reference in a fixed rotation, starts and step sizes in a fixed
shuffle; betas spread evenly over [1e-3, 10] in
their logarithm, both ends included; step sizes are shares of whatever range a claim covers. Games of several
sizes are padded to one shape (an action of reference mass 0 is out of the game), so that a whole bank is one
batch of one compiled run.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from tabular.games import Game
from tabular.nash import solve_regularised

Array = jax.Array

KINDS = (
    "uniform_skew",  # every pair uniform on (0, 1)
    "tournament",  # every pair decided
    "bradley_terry",  # transitive
    "low_rank_logits",  # intransitive, rank 2
    "rock_paper_scissors",  # fully cyclic
    "near_tie",  # all preferences within 1e-4 of 1/2
    "dominated",  # one action beats all others but for 1e-6
    "planted",  # decided pairs, the equilibrium chosen and the reference derived
)
REFERENCES = ("uniform", "normal", "wide", "starved_action", "starved_rest")
STARTS = ("reference", "normal", "wide")
SHARES = (1.0, 0.5, 1e-3, 0.9, 0.1)
BETAS = (1e-3, 10.0)
GOLDEN = 0.6180339887498949  # multiples of it fill the unit interval evenly


class Bank(NamedTuple):
    """N instances of one shape."""

    # a batch, ``advantage [N, 1, A, A]``, ``log_ref [N, 1, A]``, ``context_prob [N, 1]``, ``beta [N]``
    game: Game
    log_nash: Array  # ``[N, 1, A]`` regularised Nash policy
    start: Array  # ``[N, 1, A]`` first policy
    share: Array  # ``[N]`` step size as a share of the largest that a claim covers
    size: Array  # ``[N]`` actions that are in the game
    kind: Array  # ``[N]`` index into ``KINDS``
    reference: Array  # ``[N]`` index into ``REFERENCES``; a planted game's is derived from its equilibrium


def build(key: Array, count: int, sizes: tuple[int, ...], betas: tuple[float, float] = BETAS) -> Bank:
    """Draw a bank.

    Args:
      count: N.
      sizes: numbers of actions, taken in turn; all are padded to the largest.
      betas: smallest and largest KL coefficient.
    """
    drawn = plan(count, sizes, betas)
    columns = (jnp.asarray(column) for column in drawn)
    return _build(jax.random.split(key, count), *columns, max(sizes))


class Plan(NamedTuple):
    """What each of N instances is to be, before anything is drawn; each ``[N]``."""

    size: np.ndarray  # number of actions
    kind: np.ndarray  # index into ``KINDS``
    reference: np.ndarray  # index into ``REFERENCES``
    start: np.ndarray  # index into ``STARTS``
    share: np.ndarray  # of the longest step size
    beta: np.ndarray  # KL coefficient


def plan(count: int, sizes: tuple[int, ...], betas: tuple[float, float] = BETAS) -> Plan:
    """Lay out N instances.

    Args:
      count: N.
      sizes: numbers of actions, taken in turn.
      betas: smallest and largest KL coefficient, both taken.
    """
    index = np.arange(count)
    low, high = np.log(betas)
    spread = (index * GOLDEN) % 1
    spread[0], spread[-1] = 0.0, 1.0
    size = np.asarray(sizes)[index % len(sizes)]
    turn = index // len(sizes)
    kind = turn % len(KINDS)
    reference = (turn + turn // len(KINDS)) % len(REFERENCES)
    # shuffled, equally often each: a rotation of their own would run in step with one of the others
    rng = np.random.default_rng(count)
    start = rng.permutation(index % len(STARTS))
    share = np.asarray(SHARES)[rng.permutation(index % len(SHARES))]
    beta = np.exp(low + (high - low) * spread)
    return Plan(size, kind, reference, start, share, beta)


def describe(bank: Bank, row: int, most: int = 8) -> dict[str, Any]:
    """Return one instance as JSON values: what it is, and its arrays where it has at most ``most`` actions.

    Args:
      row: which instance.
      most: largest number of actions whose arrays are given.
    """
    size = int(bank.size[row])
    kind = KINDS[int(bank.kind[row])]
    words = {
        "game": kind,
        "reference": "derived" if kind == "planted" else REFERENCES[int(bank.reference[row])],
        "actions": size,
        "beta": float(bank.game.beta[row]),
    }
    if size > most:
        return words
    return {
        **words,
        "advantage": np.asarray(bank.game.advantage)[row, 0, :size, :size].tolist(),
        "log_ref": np.asarray(bank.game.log_ref)[row, 0, :size].tolist(),
        "log_nash": np.asarray(bank.log_nash)[row, 0, :size].tolist(),
        "log_start": np.asarray(bank.start)[row, 0, :size].tolist(),
    }


def subset(bank: Bank, rows: Any) -> Bank:
    """Return some of the instances; one index keeps the batch axis."""
    return jax.tree.map(lambda leaf: leaf[np.atleast_1d(rows)], bank)


@functools.partial(jax.jit, static_argnums=7)
def _build(
    keys: Array,
    size: Array,
    kind: Array,
    reference: Array,
    start: Array,
    share: Array,
    beta: Array,
    width: int,
) -> Bank:
    def one(args: tuple) -> tuple:
        key, size, kind, reference, start, beta = args
        game_key, reference_key, nash_key, start_key = jax.random.split(key, 4)
        present = jnp.arange(width) < size
        upper = jnp.where(present[:, None] & present[None, :], _above(game_key, size, kind, width), 0.0)
        advantage = upper - upper.T
        log_ref = _reference(reference_key, size, reference, present)
        planted = logspace.normalise(jnp.where(present, 2 * jax.random.normal(nash_key, (width,)), -jnp.inf))
        derived = logspace.normalise(planted - advantage @ jnp.exp(planted) / beta)
        is_planted = kind == KINDS.index("planted")
        log_ref = jnp.where(is_planted, derived, log_ref)
        solved = solve_regularised(advantage + 0.5, log_ref, beta).log_policy
        log_nash = jnp.where(is_planted, planted, solved)
        spread = jnp.asarray([0.0, 2.0, 8.0])[start]
        drawn = logspace.normalise(
            jnp.where(present, spread * jax.random.normal(start_key, (width,)), -jnp.inf)
        )
        return advantage, log_ref, log_nash, jnp.where(start == 0, log_ref, drawn)

    # a batched Newton iteration waits for its slowest member: small games hardly mind, large ones do
    batch = 256 if width <= 16 else 1
    parts = jax.lax.map(one, (keys, size, kind, reference, start, beta), batch_size=batch)
    advantage, log_ref, log_nash, first = (leaf[:, None] for leaf in parts)
    game = Game(advantage, log_ref, jnp.ones((len(beta), 1)), beta)
    return Bank(game, log_nash, first, share, size, kind, reference)


def _above(key: Array, size: Array, kind: Array, width: int) -> Array:
    """Return the upper triangle of an advantage; the lower is minus it, to the last bit."""
    uniform = jax.random.uniform(key, (width, width))
    draw = jax.random.normal(key, (3, width))
    score = 2 * draw[0]
    cross = draw[1][:, None] * draw[2][None, :] - draw[2][:, None] * draw[1][None, :]
    distance = (jnp.arange(width)[:, None] - jnp.arange(width)[None, :]) % size
    cyclic = jnp.where(2 * distance == size, 0.5, (2 * distance < size).astype(float))
    best = jnp.where(jnp.arange(width)[:, None] == 0, 1 - 1e-6, uniform)
    coin = (uniform < 0.5).astype(float)
    tables = (
        uniform,
        coin,
        jax.nn.sigmoid(score[:, None] - score[None, :]),
        jax.nn.sigmoid(4 * cross),
        cyclic,
        0.5 + 1e-4 * (2 * uniform - 1),
        best,
        coin,
    )
    return jnp.triu(jnp.stack(tables)[kind] - 0.5, 1)


def _reference(key: Array, size: Array, reference: Array, present: Array) -> Array:
    normal = jax.random.normal(key, present.shape)
    zero = jnp.zeros_like(normal)
    first = jnp.arange(len(present)) == 0
    starved = jnp.log(1e-8)
    logits = jnp.stack(
        [
            zero,
            normal,
            4 * normal,
            jnp.where(first, starved + jnp.log(size.astype(normal.dtype)), zero),
            jnp.where(first, zero, starved + 0.1 * normal),
        ]
    )[reference]
    return logspace.normalise(jnp.where(present, logits, -jnp.inf))
