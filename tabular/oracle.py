"""Oracles over a game: exact, sampled with n draws, and offline from a data set of comparisons.

An oracle factory is called as ``make_oracle(game, log_prob)`` inside a run; ``sampled(n)`` and
``offline(...)`` return such factories. Policies come in whatever representation the space uses, and
``log_prob`` reads them as tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Comparisons, Feedback, Oracle, Policy, Static, check_number, check_whole
from nlhf.datasets import check_labels, check_weight
from nlhf.errors import InputError
from tabular.games import Game
from tabular.payoff import columns, entries, payoff

Array = jax.Array
OracleFactory = Callable[[Any, Callable[[Policy], Array]], Oracle]


def exact(game: Game, log_prob: Callable[[Policy], Array]) -> Oracle:
    """Answer with the true payoff ``(P - 1/2) π`` (centred), and with labels drawn from P for duels.

    Args:
      game: the game; any advantage.
      log_prob: ``log_prob(policy) -> [X, A]``.
    """
    return Oracle(Partial(_exact_payoff, game, log_prob), Partial(_duel, game, log_prob, Static((1,))))


def _exact_payoff(game: Game, log_prob: Callable, key: Array, policy: Policy) -> Feedback:
    del key
    return Feedback(None, payoff(game.advantage, log_prob(policy)))


@functools.cache
def sampled(num_draws: int, *, labels: bool = True, num_duels: int = 1) -> OracleFactory:
    """Answer with an unbiased estimate of the payoff from draws of the opponent.

    ``payoff_a = mean over n draws b ~ π of l(a, b) - 1/2``, where l is a Bernoulli label of P(a ≻ b), or
    P(a ≻ b) itself when ``labels`` is False. The draws of the opponent are shared by all actions, the
    labels are independent; the standard deviation of one coordinate is at most 1 / (2 sqrt(n)).

    Args:
      num_draws: n >= 1, draws a query and context.
      labels: whether a judge returns a label or its probability.
      num_duels: comparisons a context that one ``duel`` call returns.

    Returns:
      A factory ``make_oracle(game, log_prob)``; the same arguments give the same object, so that a run
      does not recompile.

    Raises:
      InputError: if a number is not a positive integer.
    """
    num_draws, num_duels = check_whole("num_draws", num_draws), check_whole("num_duels", num_duels)

    def make_oracle(game: Game, log_prob: Callable) -> Oracle:
        return Oracle(
            Partial(_sampled_payoff, game, log_prob, Static((num_draws, labels))),
            Partial(_duel, game, log_prob, Static((num_duels,))),
        )

    return make_oracle


def _sampled_payoff(
    game: Game, log_prob: Callable, settings: tuple[int, bool], key: Array, policy: Policy
) -> Feedback:
    num_draws, labels = settings
    opponent_key, label_key = jax.random.split(key)
    log_policy = log_prob(policy)
    num_contexts = log_policy.shape[0]
    draws = jax.random.categorical(opponent_key, log_policy, axis=-1, shape=(num_draws, num_contexts))
    against = columns(game.advantage, draws.T)
    if labels:
        against = jax.random.bernoulli(label_key, against + 0.5).astype(against.dtype) - 0.5
    return Feedback(None, against.mean(-1))


def _duel(
    game: Game, log_prob: Callable, settings: tuple[int], key: Array, policy: Policy, opponent: Policy
) -> Comparisons:
    (num_duels,) = settings
    first_key, second_key, label_key = jax.random.split(key, 3)
    log_first, log_second = log_prob(policy), log_prob(opponent)
    shape = (num_duels, log_first.shape[0])
    first = jax.random.categorical(first_key, log_first, axis=-1, shape=shape).reshape(-1)
    second = jax.random.categorical(second_key, log_second, axis=-1, shape=shape).reshape(-1)
    context = jnp.broadcast_to(jnp.arange(shape[1]), shape).reshape(-1)
    probability = entries(game.advantage, context, first, second) + 0.5
    label = jax.random.bernoulli(label_key, probability).astype(probability.dtype)
    return Comparisons(context, first, second, label, jnp.ones_like(label))


@functools.cache
def labelled(num_duels: int = 1) -> OracleFactory:
    """Answer duels in contexts drawn from the game's distribution, as the boxes of online methods have them.

    ``x ~ ρ, y ~ policy(x), y' ~ opponent(x)``, label ~ Bernoulli(P(y ≻ y')). Payoffs are exact.

    Args:
      num_duels: comparisons that one ``duel`` call returns, >= 1.

    Returns:
      A factory ``make_oracle(game, log_prob)``; the same arguments give the same object.

    Raises:
      InputError: if num_duels is not a positive whole number.
    """
    settings = Static((check_whole("num_duels", num_duels),))

    def make_oracle(game: Game, log_prob: Callable) -> Oracle:
        return Oracle(
            Partial(_exact_payoff, game, log_prob), Partial(_labelled_duel, game, log_prob, settings)
        )

    return make_oracle


def _labelled_duel(
    game: Game, log_prob: Callable, settings: Static, key: Array, policy: Policy, opponent: Policy
) -> Comparisons:
    (num_duels,) = settings
    context_key, first_key, second_key, label_key = jax.random.split(key, 4)
    context = jax.random.categorical(context_key, jnp.log(game.context_prob), shape=(num_duels,))
    first = jax.random.categorical(first_key, log_prob(policy)[context], axis=-1)
    second = jax.random.categorical(second_key, log_prob(opponent)[context], axis=-1)
    probability = entries(game.advantage, context, first, second) + 0.5
    label = jax.random.bernoulli(label_key, probability).astype(probability.dtype)
    return Comparisons(context, first, second, label, jnp.ones_like(label))


def offline(comparisons: Comparisons, *, prior: float = 0.5) -> OracleFactory:
    """Answer from a fixed data set: payoffs of the empirical preference table, duels drawn from the rows.

    ``P̂(a ≻ b) = (wins of a + prior) / (comparisons of a and b + 2 prior)`` in each context.

    Args:
      comparisons: labelled pairs of action indices; rows of weight 0 are ignored.
      prior: pseudo-count of each side, > 0 so that unseen pairs read 1/2.

    Raises:
      InputError: if no row is present, a weight is negative, a label is outside [0, 1] or all agree (sort no
        winners to one side), or prior is not positive; from the factory, if a row names a context or an
        action that the game does not have.
    """
    check_number("prior", prior, open_low=True)
    present = check_weight(np.asarray(comparisons.weight)) > 0
    check_labels(np.asarray(comparisons.prefer_first)[present])
    context, first, second = (
        np.asarray(column)[present] for column in (comparisons.context, comparisons.first, comparisons.second)
    )

    def make_oracle(game: Game, log_prob: Callable) -> Oracle:
        num_contexts, num_actions = game.log_ref.shape
        _check_index("context", context, num_contexts)
        _check_index("action", np.concatenate([first, second]), num_actions)
        table = _empirical_advantage(game.log_ref.shape, comparisons, prior)
        empirical = Game(table, game.log_ref, game.context_prob, game.beta)
        return Oracle(
            Partial(_exact_payoff, empirical, log_prob),
            Partial(_offline_duel, comparisons),
        )

    return make_oracle


def _check_index(name: str, index: np.ndarray, size: int) -> None:
    outside = (index < 0) | (index >= size)
    if outside.any():
        raise InputError(
            f"the data set names {name} {index[outside][0]}, but the game has {size} {name}s, counted from 0"
        )


def _empirical_advantage(shape: tuple[int, ...], comparisons: Comparisons, prior: float) -> Array:
    num_contexts, num_actions = shape
    weight = comparisons.weight
    table = jnp.zeros((num_contexts, num_actions, num_actions), weight.dtype)
    c, i, j = comparisons.context, comparisons.first, comparisons.second
    label = jnp.where(weight > 0, comparisons.prefer_first, 0.5)
    wins = table.at[c, i, j].add(weight * label)
    wins = wins.at[c, j, i].add(weight * (1 - label))
    total = wins + jnp.swapaxes(wins, -1, -2)
    advantage = (wins + prior) / (total + 2 * prior) - 0.5
    # a pair of an action with itself says nothing; its rounding must not leave the diagonal off zero
    return 0.5 * (advantage - jnp.swapaxes(advantage, -1, -2))


def _offline_duel(comparisons: Comparisons, key: Array, policy: Policy, opponent: Policy) -> Comparisons:
    """Return the whole data set in a new order: an offline judge cannot be asked about other policies."""
    del policy, opponent
    order = jax.random.permutation(key, comparisons.weight.shape[0])
    return jax.tree.map(lambda column: column[order], comparisons)
