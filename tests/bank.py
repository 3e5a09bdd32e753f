"""Games with known answers, and one row for every algorithm: the two lists that the suite runs over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import reference

from nlhf import ALGORITHMS, METHODS
from nlhf.base import Algorithm, Constants
from nlhf.method import arguments
from tabular import families, language, published
from tabular.games import Game, make_game


class Row(NamedTuple):
    """What the suite needs to know about an algorithm.

    Attributes:
      hyper: ``hyper(beta)``, hyper-parameters inside the range that its theorem covers: the defaults of its
        record, but for a few.
      queries: payoff queries of one step.
      transcription: the same iterates in numpy.
    """

    hyper: Callable[[float], dict[str, Any]]
    queries: int
    transcription: Callable[..., np.ndarray]


CHANGES: dict[str, Callable[[float], dict[str, Any]]] = {
    "nash_md": lambda beta: {"step_size": 0.1 / beta},
    "nash_mirror_prox": lambda beta: {"step_size": 2.0},
    "nash_prox": lambda beta: {"num_inner": 25},
    "mpo": lambda beta: {"period": 3},
    "ipo_md": lambda beta: {"mixture": 0.25},
}


def row(name: str) -> Row:
    """The row of an algorithm, from its record and the numpy function of its name."""

    def hyper(beta: float) -> dict[str, Any]:
        return arguments(METHODS[name], beta, **CHANGES.get(name, lambda beta: {})(beta))

    queries = METHODS[name].queries
    return Row(
        hyper, queries if isinstance(queries, int) else hyper(1.0)["num_inner"], getattr(reference, name)
    )


ROWS: dict[str, Row] = {name: row(name) for name in ALGORITHMS}

NAMES = tuple(ALGORITHMS)


def make(name: str, beta: float, **changes: Any) -> Algorithm:
    """The algorithm with the hyper-parameters of its row, some of them changed."""
    return ALGORITHMS[name](**{**ROWS[name].hyper(beta), **changes})


class Known(NamedTuple):
    """A game and the ``[X, A]`` logarithm of its regularised Nash policy."""

    game: Game
    log_nash: jax.Array


def solved(preference: Any, log_ref: Any, beta: float, context_prob: Any = None) -> Known:
    """A game with its equilibrium from the Newton iteration in ``reference``."""
    game = make_game(preference, log_ref, beta, context_prob)
    contexts = zip(np.asarray(game.preference), np.exp(game.log_ref), strict=True)
    log_nash = [np.log(reference.regularised_nash(matrix, policy, beta)) for matrix, policy in contexts]
    return Known(game, jnp.asarray(np.stack(log_nash)))


def _biased_rock_paper_scissors() -> Known:
    return solved(families.biased_rock_paper_scissors(), np.log([0.5, 0.2, 0.3]), 0.1)


def _uniform_skew() -> Known:
    log_ref = families.random_reference(jax.random.key(10), 5)
    return solved(families.uniform_skew(jax.random.key(11), 5), log_ref, 0.2)


def _contextual() -> Known:
    log_ref = families.random_reference(jax.random.key(20), 4, 3)
    return solved(families.uniform_skew(jax.random.key(21), 4, 3), log_ref, 0.3, [0.5, 0.3, 0.2])


def _tournament() -> Known:
    log_ref = families.random_reference(jax.random.key(30), 5)
    return solved(families.tournament(jax.random.key(31), 5), log_ref, 0.15)


def _bradley_terry() -> Known:
    log_ref = families.random_reference(jax.random.key(40), 5)
    return solved(families.bradley_terry(jax.random.normal(jax.random.key(41), (5,))), log_ref, 0.1)


def _low_rank_logits() -> Known:
    log_ref = families.random_reference(jax.random.key(50), 5)
    return solved(families.low_rank_logits(jax.random.key(51), 5), log_ref, 0.1)


def _planted() -> Known:
    game, log_nash = families.planted(
        jax.random.key(60), families.uniform_skew(jax.random.key(61), 5), beta=0.1
    )
    return Known(game, log_nash)


def _published() -> Known:
    return solved(published.nash_md_table3()[1], families.random_reference(jax.random.key(70), 14), 0.1)


def _language() -> Known:
    game = language.population_language(jax.random.key(80), vocabulary=3, length=2, beta=0.1).game
    return solved(game.preference, game.log_ref, 0.1)


GAMES: dict[str, Callable[[], Known]] = {
    "biased_rock_paper_scissors": _biased_rock_paper_scissors,
    "uniform_skew": _uniform_skew,
    "contextual": _contextual,
    "tournament": _tournament,
    "bradley_terry": _bradley_terry,
    "low_rank_logits": _low_rank_logits,
    "planted": _planted,
    "published": _published,
    "language": _language,
}


@functools.cache
def known(name: str) -> Known:
    """One game of the bank, solved once a session."""
    return GAMES[name]()


def constants(method_hyper: dict[str, Any], item: Known) -> Constants:
    """What the bounds of a run from the reference may depend on, computed with plain sums."""
    log_ref, log_nash = np.asarray(item.game.log_ref), np.asarray(item.log_nash)
    kl = np.sum(np.exp(log_nash) * (log_nash - log_ref), -1)
    return Constants(
        step_size=method_hyper["step_size"],
        beta=method_hyper["beta"],
        kl_start=np.asarray(item.game.context_prob) @ kl,
        log_start=np.max(-log_ref),
        span_start=np.max(np.ptp(log_nash - log_ref, axis=-1)),
    )
