"""Bandits with Bradley-Terry labels: a reward behind the preferences, hence an optimum in closed form.

A ``Bandit`` goes wherever a ``Game`` goes (runs, oracles, spaces). Its learners maximise
``J(π) = E_{x~ρ, y~π}[r(x, y)] - β KL(π‖π_ref)``, and are judged by ``J(π*) - J(π) = β KL(π‖π*)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import check_number
from nlhf.errors import InputError
from tabular.payoff import BradleyTerry, brief

Array = jax.Array


class Bandit(NamedTuple):
    """A contextual bandit, or a stack of them.

    Attributes:
      reward: ``[X, A]`` in nats of the Bradley-Terry model: P(a ≻ b) = sigmoid(r_a - r_b).
      log_ref: ``[X, A]`` log-probabilities of the reference.
      context_prob: ``[X]`` distribution of the contexts (ρ).
      beta: KL coefficient, > 0.
    """

    reward: Array
    log_ref: Array
    context_prob: Array
    beta: Array

    def __repr__(self) -> str:
        return brief(self)

    @property
    def advantage(self) -> BradleyTerry:
        """The preferences as a game's advantage, without its matrix."""
        return BradleyTerry(self.reward)


def make_bandit(reward: Any, log_ref: Any = None, beta: Any = 0.1, context_prob: Any = None) -> Bandit:
    """Check and assemble a bandit.

    Args:
      reward: ``[A]`` or ``[X, A]``, finite.
      log_ref: likewise, log-probabilities; ``None`` is uniform. A row is normalised if it sums to one
        within 1e-6.
      beta: KL coefficient, > 0.
      context_prob: ``[X]`` probabilities; ``None`` is uniform.

    Raises:
      InputError: if shapes do not match, a reward is not finite, a distribution does not sum to one, or beta
        is not positive.

    >>> bandit = make_bandit([1.0, 0.5], beta=0.1)
    >>> bandit.reward.shape, bandit.log_ref.shape
    ((1, 2), (1, 2))
    """
    table = np.atleast_2d(np.asarray(reward, float))
    if table.ndim != 2 or table.size == 0:
        raise InputError(f"reward has shape {np.shape(reward)}, but it must be [A] or [X, A]")
    if not np.isfinite(table).all():
        raise InputError(f"reward holds {table[~np.isfinite(table)][0]}, but rewards must be finite")
    contexts, actions = table.shape
    uniform = np.full(table.shape, -np.log(actions))
    given = uniform if log_ref is None else np.atleast_2d(np.asarray(log_ref, float))
    if given.shape != table.shape:
        raise InputError(f"log_ref has shape {given.shape}, but reward has {table.shape}; give both the same")
    _check_sum("log_ref", np.exp(given).sum(-1))
    prob = np.full(contexts, 1 / contexts) if context_prob is None else np.asarray(context_prob, float)
    if prob.shape != (contexts,) or (prob < 0).any():
        raise InputError(f"context_prob is {prob}, but it must be {contexts} numbers >= 0 that sum to one")
    _check_sum("context_prob", prob.sum())
    check_number("beta", beta, open_low=True)
    if np.ndim(beta):
        raise InputError(
            f"beta has shape {np.shape(beta)}, but a bandit has one; stack bandits, or batch beta with Axes"
        )
    return Bandit(
        reward=jnp.asarray(table),
        log_ref=logspace.normalise(jnp.asarray(given)),
        context_prob=jnp.asarray(prob / prob.sum()),
        beta=jnp.asarray(beta, jnp.result_type(float)),
    )


def _check_sum(name: str, total: np.ndarray) -> None:
    wrong = ~(np.abs(total - 1) <= 1e-6)
    if wrong.any():
        raise InputError(
            f"{name} sums to {float(np.asarray(total)[wrong].flat[0]):g}, but a distribution must sum to 1; "
            "normalise it"
        )


def optimum(bandit: Bandit) -> Array:
    """Log-probabilities ``[X, A]`` of ``π* ∝ π_ref exp(r/β)``, the maximiser of J."""
    return logspace.normalise(bandit.log_ref + bandit.reward / bandit.beta)


def optimal_value(bandit: Bandit) -> Array:
    """``J(π*) = E_{x~ρ} β log E_{a~π_ref} exp(r/β)``."""
    exponent = jax.nn.logsumexp(bandit.log_ref + bandit.reward / bandit.beta, axis=-1)
    return bandit.context_prob @ (bandit.beta * exponent)


def value(bandit: Bandit, log_policy: Array) -> Array:
    """``J(π) = E_{x~ρ, a~π}[r] - β KL(π‖π_ref)``.

    Args:
      log_policy: ``[X, A]`` log-probabilities.
    """
    gain = (jnp.exp(log_policy) * bandit.reward).sum(-1)
    return bandit.context_prob @ (gain - bandit.beta * logspace.kl(log_policy, bandit.log_ref))


def suboptimality(bandit: Bandit, log_policy: Array) -> Array:
    """``J(π*) - J(π) = β E_{x~ρ} KL(π‖π*)``, without the cancellation of the difference.

    Args:
      log_policy: ``[X, A]`` log-probabilities.

    Reference: arXiv:2405.21046, appendix; an identity, row ``bandit.gap`` of the ledger.
    """
    logits = bandit.log_ref + bandit.reward / bandit.beta
    return bandit.beta * (bandit.context_prob @ logspace.kl_to_softmax(log_policy, logits))
