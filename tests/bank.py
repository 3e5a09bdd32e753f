"""Games with known answers, and one row for every algorithm: the two lists that the suite runs over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import reference

from nlhf import ALGORITHMS
from nlhf.base import Algorithm, Constants
from tabular import families, language, published
from tabular.games import Game, make_game

REGULARISED, BIASED, ORIGINAL = "regularised", "biased", "original"


class Row(NamedTuple):
    """What the suite needs to know about an algorithm.

    Attributes:
      hyper: ``hyper(beta)``, hyper-parameters inside the range that its theorem covers.
      queries: payoff queries of one step.
      fixed_point: the equilibrium of the game at beta, a biased one, or that of the game at beta = 0.
      linear: whether a theorem gives KL(Nash, last iterate) a linear rate.
      transcription: the same iterates in numpy.
    """

    hyper: Callable[[float], dict[str, Any]]
    queries: int
    fixed_point: str
    linear: bool
    transcription: Callable[..., np.ndarray]


ROWS: dict[str, Row] = {
    "online_mirror_descent": Row(
        lambda beta: {"step_size": 4 * beta / (1 + 4 * beta**2), "beta": beta},
        1, REGULARISED, True, reference.online_mirror_descent,
    ),
    "nash_md": Row(
        lambda beta: {"step_size": 0.1 / beta, "beta": beta}, 1, BIASED, False, reference.nash_md
    ),
    "nash_mirror_prox": Row(
        lambda beta: {"step_size": 2.0, "beta": beta}, 2, REGULARISED, True, reference.nash_mirror_prox
    ),
    "nash_prox": Row(
        lambda beta: {"step_size": beta, "beta": beta, "num_inner": 25},
        25, REGULARISED, True, reference.nash_prox,
    ),
    "egpo": Row(
        lambda beta: {"step_size": 1 / (beta + 0.5), "beta": beta}, 2, REGULARISED, True, reference.egpo
    ),
    "omwu": Row(
        lambda beta: {"step_size": min(1 / (2 * beta + 1), 0.5), "beta": beta},
        1, REGULARISED, True, reference.omwu,
    ),
    "mpo": Row(
        lambda beta: {"step_size": 4 * beta, "beta": beta, "period": 3}, 1, ORIGINAL, False, reference.mpo
    ),
    "ipo_md": Row(
        lambda beta: {"step_size": 4 * beta / (1 + 4 * beta**2), "beta": beta, "mixture": 0.25},
        1, BIASED, False, reference.ipo_md,
    ),
}  # fmt: skip

NAMES = tuple(ALGORITHMS)
LINEAR = tuple(name for name in ROWS if ROWS[name].linear)


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
