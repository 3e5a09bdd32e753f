"""Bandits in batches: instances, runs, data sets of labelled pairs, and fits to data that cannot be asked.

``Data.reward_value`` and ``Data.likelihood`` are the reward space in numpy, independent of the library's.
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

from nlhf.base import Algorithm, Comparisons, Oracle, Policy, PolicySpace
from proofs_checks.rows import Effort
from tabular.bandits import Bandit
from tabular.oracle import labelled
from tabular.replay import counts
from tabular.runner import Axes, run

Array = jax.Array


def arms(reward: Any, log_ref: Any, beta: Any) -> Bandit:
    """N bandits of one context.

    Args:
      reward: ``[N, A]``.
      log_ref: ``[N, A]``.
      beta: ``[N]``, or one for all.
    """
    reward, log_ref = (jnp.asarray(table)[:, None] for table in (reward, log_ref))
    count = len(reward)
    return Bandit(reward, log_ref, jnp.ones((count, 1)), jnp.broadcast_to(jnp.asarray(beta, float), count))


def random_arms(rng: np.random.Generator, count: int, size: int, spread: float, beta: float) -> Bandit:
    """``count`` bandits of one context: r ~ U[0, 1], log π_ref ~ spread U[0, 1] in nats, normalised."""
    reward = rng.uniform(size=(count, size))
    return arms(reward, log_softmax(spread * rng.uniform(size=(count, size)), axis=-1), beta)


def copies(tree: Any, number: int) -> Any:
    """Repeat a batch: every leaf ``[N, ...]`` becomes ``[number N, ...]``."""
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * number), tree)


def gaps(
    method: Any,
    bandit: Bandit,
    keys: Any,
    num_steps: int,
    make_space: Any,
    num_pairs: int = 1,
    axes: tuple[Axes, ...] = (Axes(algorithm=0, game=0, key=0),),
    start: Any = None,
) -> np.ndarray:
    """Suboptimality ``[..., num_steps + 1]`` of a method's iterates, with drawn labels.

    Args:
      method: N methods, one for each bandit, unless ``axes`` says otherwise.
      bandit: N bandits.
      keys: ``[N]``.
      make_space: as in ``tabular.runner.run``, like ``axes`` and ``start``.
      num_pairs: comparisons a round.
    """
    trace = run(
        method,
        bandit,
        num_steps=num_steps,
        key=keys,
        start=start,
        measures="suboptimality",
        make_space=make_space,
        make_oracle=labelled(num_pairs),
        axes=axes,
    )
    return np.asarray(trace.of("suboptimality"))


def counted(number: np.ndarray) -> Comparisons:
    """Data sets ``[N, 2 A²]`` in the form of ``counts``.

    Args:
      number: ``[N, A, A, 2]`` how often a pair (first, second) was drawn and got the label 0 or 1.
    """
    weight = jnp.asarray(number.reshape(len(number), -1))
    rows = counts(1, number.shape[1]).empty().comparisons
    return Comparisons(*(jnp.broadcast_to(column, weight.shape) for column in rows))._replace(weight=weight)


def no_payoff(key: Array, policy: Policy) -> Any:
    """The payoffs of an oracle that has comparisons only."""
    raise AssertionError("a learner from comparisons asks for no payoff")


def _stored(comparisons: Comparisons, key: Array, policy: Policy, opponent: Policy) -> Comparisons:
    return comparisons


def learn(method: Algorithm, space: PolicySpace, start: Policy, comparisons: Comparisons) -> Policy:
    """Policy after one step from ``start``, whose oracle answers with the data set."""
    oracle = Oracle(Partial(no_payoff), Partial(_stored, comparisons))
    return method.step(jax.random.key(0), method.init(start), oracle, space)[0].policy


def fit_once(
    make_method: Callable[..., Algorithm],
    settings: Any,
    bandit: Bandit,
    comparisons: Comparisons,
    make_space: Callable[[Any], PolicySpace],
) -> np.ndarray:
    """Log-policies ``[N, X, A]`` after one step of a method on N data sets.

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
        space = make_space(bandit)
        return space.log_prob(learn(make_method(settings, bandit), space, space.reference, comparisons))

    return jax.jit(jax.vmap(one))


class Data(NamedTuple):
    """N contextual bandits with n labelled pairs and a calibration policy each, in numpy."""

    beta: np.ndarray  # ``[N]``
    prob: np.ndarray  # ``[N, X]`` distribution of the contexts
    log_ref: np.ndarray  # ``[N, X, A]``
    log_cal: np.ndarray  # ``[N, X, A]`` calibration policy, log-probabilities
    reward: np.ndarray  # ``[N, X, A]`` candidate reward (not the one behind the labels, which are fair coins)
    context: np.ndarray  # ``[N, n]``
    first: np.ndarray  # ``[N, n]``
    second: np.ndarray  # ``[N, n]``
    won: np.ndarray  # ``[N, n]`` whether the first was preferred
    optimism: np.ndarray  # ``[N]`` α > 0

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
    """``count`` random instances of (contexts, actions), in which some responses are in no comparison."""
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
