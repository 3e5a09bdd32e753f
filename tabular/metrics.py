"""How far a policy is from equilibrium; every metric is a function of the game, a policy and its payoff.

``exploitability`` is one-sided everywhere, ``duality_gap`` is two-sided: twice it in a symmetric game.
Contexts are averaged with their probabilities, except in ``span_to_nash``, which takes the worst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nlhf import logspace
from nlhf.errors import InputError, unknown
from tabular import bandits
from tabular.bandits import Bandit
from tabular.games import Game
from tabular.mdps import metrics as mdp_metrics
from tabular.mdps.mdp import MDP
from tabular.payoff import payoff

Array = jax.Array


def kl_to_nash(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """KL(Nash ‖ policy) in nats, the distance in which the published last-iterate rates are stated."""
    del advantage
    return game.context_prob @ logspace.kl(log_nash, log_policy)


def kl_from_nash(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """KL(policy ‖ Nash) in nats; β times it is how much the Nash policy beats the policy by."""
    del advantage
    return game.context_prob @ logspace.kl(log_policy, log_nash)


def kl_to_reference(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """KL(policy ‖ reference) in nats."""
    del advantage, log_nash
    return game.context_prob @ logspace.kl(log_policy, game.log_ref)


def exploitability(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """One-sided exploitability in the game as given, max over u of P_β(u ≻ π) - 1/2.

    ``β KL(π ‖ BR(π))`` for β > 0 (equal to ``β logsumexp(log_ref + advantage/β) + β KL(π ‖ ref)``, without
    its cancellation), and ``max_a advantage_a`` for β = 0.
    """
    regularised = game.beta > 0
    positive = game._replace(beta=jnp.where(regularised, game.beta, 1.0))
    # BR(π) is a softmax; this spares the recorded metric of every figure an exponential an action
    distance = logspace.kl_to_softmax(log_policy, game.log_ref + advantage / positive.beta)
    smooth = positive.beta * (game.context_prob @ distance)
    return jnp.where(regularised, smooth, exploitability_original(game, log_policy, advantage, log_nash))


def exploitability_original(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """One-sided exploitability without regularisation, max_a (P π)_a - 1/2."""
    del log_policy, log_nash
    allowed = jnp.where(jnp.isneginf(game.log_ref), -jnp.inf, advantage)
    return game.context_prob @ allowed.max(-1)


def duality_gap(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """Two-sided duality gap of the pair (π, π), twice the exploitability of the game as given."""
    return 2 * exploitability(game, log_policy, advantage, log_nash)


def span_to_nash(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """Span semi-norm of log π - log Nash, the worst over contexts."""
    del advantage
    excluded = jnp.isneginf(game.log_ref)
    difference = jnp.where(excluded, 0.0, log_policy) - jnp.where(excluded, 0.0, log_nash)
    span = logspace.span(jnp.where(excluded, jnp.nan, difference))
    # span() leaves out what is not finite, but a policy without mass on an allowed action is infinitely far
    lost = jnp.isneginf(difference).any(-1)
    return jnp.where(lost, jnp.inf, span).max()


def win_rate(game: Game, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """Probability that a draw of the policy is preferred to a draw of the reference."""
    del log_nash
    # skew: the policy's win against the reference is minus the reference's advantage over the policy
    return 0.5 - game.context_prob @ (jnp.exp(game.log_ref) * advantage).sum(-1)


def suboptimality(bandit: Bandit, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """``J(π*) - J(π) = β KL(π‖π*)`` of a bandit, the regret of one step."""
    del advantage, log_nash
    return bandits.suboptimality(bandit, log_policy)


def top_gap(bandit: Bandit, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """Reward that the policy's most likely action falls short of the best one by, in a bandit."""
    del advantage, log_nash
    reward = bandit.reward
    top = jnp.take_along_axis(reward, jnp.argmax(log_policy, axis=-1)[:, None], axis=-1)[:, 0]
    return bandit.context_prob @ (reward.max(-1) - top)


Metric = Callable[[Any, Array, Array, Array], Array]

METRICS: dict[str, Metric] = {
    "kl_to_nash": kl_to_nash,
    "kl_from_nash": kl_from_nash,
    "kl_to_reference": kl_to_reference,
    "exploitability": exploitability,
    "exploitability_original": exploitability_original,
    "duality_gap": duality_gap,
    "span_to_nash": span_to_nash,
    "win_rate": win_rate,
}
BANDIT_METRICS: dict[str, Metric] = {"suboptimality": suboptimality, "top_gap": top_gap}
MDP_METRICS: dict[str, Metric] = {
    "soft_value_gap": mdp_metrics.soft_value_gap,
    "return_gap": mdp_metrics.return_gap,
    "log_policy_rmse": mdp_metrics.log_policy_rmse,
}
ALL_METRICS = {**METRICS, **BANDIT_METRICS, **MDP_METRICS}


NEEDS_NASH = frozenset({"kl_to_nash", "kl_from_nash", "span_to_nash"})


def check_measure(name: str, log_nash: Array | None, game: Any = None) -> None:
    """Refuse a metric that does not exist, needs an equilibrium that is not given, or does not fit the game.

    Args:
      log_nash: the equilibrium, or ``None``.
      game: a ``Game`` (or a record that serves as one), a ``Bandit`` or an ``MDP``.

    Raises:
      InputError: says which.
    """
    fitting = {**METRICS, **BANDIT_METRICS} if isinstance(game, Bandit) else METRICS
    fitting = MDP_METRICS if isinstance(game, MDP) else fitting
    if name not in fitting:
        kind = f" of this {type(game).__name__}" if name in ALL_METRICS else ""
        raise InputError(unknown(name, tuple(fitting), f"metric{kind}"))
    if log_nash is None and name in NEEDS_NASH:
        raise InputError(f"{name} needs log_nash; give tabular.solve(game)")


def measure(name: str, game: Any, log_policy: Array, log_nash: Array | None = None) -> Array:
    """Evaluate one metric of one policy.

    Args:
      name: a key of ``METRICS``.
      game: the game, bandit or decision process.
      log_policy: ``[X, A]`` log-probabilities.
      log_nash: ``[X, A]`` equilibrium; needed by the metrics in ``NEEDS_NASH``, else ignored.

    Raises:
      InputError: if the name is unknown, or the equilibrium is needed and missing.
    """
    check_measure(name, log_nash, game)
    reference = game.log_ref if log_nash is None else log_nash
    played = getattr(game, "advantage", None)
    advantage = log_policy if played is None else payoff(played, log_policy)
    return ALL_METRICS[name](game, log_policy, advantage, reference)
