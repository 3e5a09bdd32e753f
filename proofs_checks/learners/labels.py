"""Bandits with a data set each, in batches, and one step of a method on a data set that cannot be asked.

``reward_value`` and ``likelihood`` are the reward space in numpy, independent of the library's policy space.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.special import expit, log_softmax, logsumexp

from nlhf.base import Algorithm, Comparisons, Oracle, PolicySpace
from proofs_checks.rows import Effort
from tabular.bandits import Bandit

Array = jax.Array


class Data(NamedTuple):
    """N contextual bandits with n labelled pairs and a calibration policy each, in numpy.

    Attributes:
      beta: ``[N]``.
      prob: ``[N, X]`` distribution of the contexts.
      log_ref: ``[N, X, A]``.
      log_cal: ``[N, X, A]`` calibration policy, log-probabilities.
      reward: ``[N, X, A]`` candidate reward (not the one behind the labels, which are fair coins).
      context: ``[N, n]``.
      first: ``[N, n]``.
      second: ``[N, n]``.
      won: ``[N, n]`` whether the first was preferred.
      optimism: ``[N]`` α > 0.
    """

    beta: np.ndarray
    prob: np.ndarray
    log_ref: np.ndarray
    log_cal: np.ndarray
    reward: np.ndarray
    context: np.ndarray
    first: np.ndarray
    second: np.ndarray
    won: np.ndarray
    optimism: np.ndarray

    @property
    def bandit(self) -> Bandit:
        """The library's bandits, with the candidate as their reward."""
        arrays = (self.reward, self.log_ref, self.prob, self.beta)
        return Bandit(*(jnp.asarray(array) for array in arrays))

    @property
    def comparisons(self) -> Comparisons:
        """The data in the library's form."""
        columns = (self.context, self.first, self.second, self.won.astype(float), np.ones(self.won.shape))
        return Comparisons(*(jnp.asarray(column) for column in columns))

    def centred(self, reward: np.ndarray) -> np.ndarray:
        """The reward less its mean ``E_{x~ρ, y~cal} r``: the calibrated one."""
        mean = np.einsum("nx,nxa,nxa->n", self.prob, np.exp(self.log_cal), reward)
        return reward - mean[:, None, None]

    def tilted(self, reward: np.ndarray) -> np.ndarray:
        """``log π_r``, π_r proportional to ``π_ref exp(r/β)``."""
        return log_softmax(self.log_ref + reward / self.beta[:, None, None], axis=-1)

    def reward_value(self, reward: np.ndarray) -> np.ndarray:
        """``J*(r) = E_ρ β log E_{π_ref} exp(r/β)``, ``[N]``."""
        exponent = self.log_ref + reward / self.beta[:, None, None]
        return self.beta * (self.prob * logsumexp(exponent, axis=-1)).sum(-1)

    def margin(self, reward: np.ndarray) -> np.ndarray:
        """Reward of the winner less that of the loser, ``[N, n]``."""
        row = np.arange(len(reward))[:, None]
        return np.where(self.won, 1, -1) * (
            reward[row, self.context, self.first] - reward[row, self.context, self.second]
        )

    def likelihood(self, reward: np.ndarray) -> np.ndarray:
        """``-Σ log σ(r(y+) - r(y-))``, ``[N]``."""
        return np.logaddexp(0, -self.margin(reward)).sum(-1)

    def pull(self, reward: np.ndarray) -> np.ndarray:
        """``[N, X, A]`` minus the gradient of ``likelihood`` in the reward."""
        row = np.arange(len(reward))[:, None]
        residual = np.where(self.won, 1, -1) * expit(-self.margin(reward))
        total = np.zeros_like(reward)
        np.add.at(total, (row, self.context, self.first), residual)
        np.add.at(total, (row, self.context, self.second), -residual)
        return total

    def seen(self) -> np.ndarray:
        """``[N, X, A]`` number of comparisons that a response is in; of a response with itself none."""
        row, total = np.arange(len(self.beta))[:, None], np.zeros(self.log_ref.shape)
        other = (self.first != self.second).astype(float)
        np.add.at(total, (row, self.context, self.first), other)
        np.add.at(total, (row, self.context, self.second), other)
        return total


def draw(effort: Effort, name: str, count: int, num_pairs: int = 24, shape: tuple = (3, 4)) -> Data:
    """Random instances; some responses are in no comparison.

    Args:
      effort: seed.
      name: of the draw.
      count: N.
      num_pairs: n.
      shape: contexts and actions.
    """
    rng = effort.rng(name)
    contexts, actions = shape
    columns = (count, num_pairs)
    return Data(
        beta=np.exp(rng.uniform(np.log(0.1), np.log(2), count)),
        prob=rng.dirichlet(np.full(contexts, 4.0), count),
        log_ref=log_softmax(rng.normal(size=(count, *shape)), axis=-1),
        log_cal=log_softmax(rng.normal(size=(count, *shape)), axis=-1),
        reward=rng.normal(size=(count, *shape)),
        context=rng.integers(contexts, size=columns),
        first=rng.integers(actions, size=columns),
        second=rng.integers(actions, size=columns),
        won=rng.random(columns) < 0.5,
        optimism=np.exp(rng.uniform(np.log(0.5), np.log(8), count)),
    )


def _answer(comparisons: Comparisons, key: Array, policy: Array, opponent: Array) -> Comparisons:
    del key, policy, opponent
    return comparisons


def _no_payoff(key: Array, policy: Array) -> Any:
    del key, policy
    raise AssertionError("an offline learner asks for no payoff")


def fit_once(
    make_method: Callable[..., Algorithm],
    settings: Any,
    bandit: Bandit,
    comparisons: Comparisons,
    make_space: Callable[[Any], PolicySpace],
) -> np.ndarray:
    """Log-policies ``[N, X, A]`` after one step of a method, whose oracle answers with the data set.

    Args:
      make_method: ``make_method(settings, bandit) -> Algorithm`` of one instance; the same function does not
        compile again.
      settings: pytree with the axis N in front.
      bandit: N bandits.
      comparisons: N data sets of one shape.
      make_space: as in ``tabular.runner.run``.
    """
    return np.asarray(_compiled(make_method, make_space)(settings, bandit, comparisons))


@functools.cache
def _compiled(make_method: Callable[..., Algorithm], make_space: Callable[[Any], PolicySpace]) -> Callable:
    def one(settings: Any, bandit: Bandit, comparisons: Comparisons) -> Array:
        space, method = make_space(bandit), make_method(settings, bandit)
        oracle = Oracle(Partial(_no_payoff), Partial(_answer, comparisons))
        state, _ = method.step(jax.random.key(0), method.init(space.reference), oracle, space)
        return space.log_prob(state.policy)

    return jax.jit(jax.vmap(one))
