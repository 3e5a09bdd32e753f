"""What the checks of a contract are made on: a game, a bandit, oracles and spaces, and their assertions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlhf import logspace
from nlhf.base import Algorithm, Comparisons, Info, Oracle, PolicySpace, State
from nlhf.method import Method, arguments, make
from tabular import bandits, families, games, oracle
from tabular.runner import _jitted
from tabular.spaces.network import network_space
from tabular.spaces.simplex import simplex

Array = jax.Array
BETA = 0.3


@functools.cache
def game() -> games.Game:
    """Two contexts, four actions, a reference off the uniform policy."""
    matrix = families.uniform_skew(jax.random.key(1), 4, 2)
    return games.make_game(matrix, families.random_reference(jax.random.key(2), 4, 2), BETA, [0.6, 0.4])


@functools.cache
def bandit() -> bandits.Bandit:
    """Two contexts, four arms, asymmetric."""
    reward = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.0, 0.6]])
    return bandits.make_bandit(
        reward, np.log([[0.1, 0.4, 0.3, 0.2], [0.25, 0.05, 0.5, 0.2]]), 0.4, [0.7, 0.3]
    )


@functools.cache
def first() -> Array:
    """A start off the reference, so that nothing rests on their being equal."""
    return logspace.normalise(jax.random.normal(jax.random.key(3), (2, 4)))


def compiled() -> int:
    """How many programs ``tabular.run`` has compiled."""
    return _jitted._cache_size()  # type: ignore[attr-defined]


def structure(tree: Any) -> tuple:
    """Return what jit sees of a pytree: its structure, shapes and types."""
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def assert_normalised(log_policy: Any) -> None:
    """No NaN, and every row sums to 1 but for rounding."""
    log_policy = np.asarray(log_policy)
    assert not np.isnan(log_policy).any(), "NaN in a policy"
    total = jax.scipy.special.logsumexp(jnp.asarray(log_policy), axis=-1)
    largest = max(1, np.abs(log_policy[np.isfinite(log_policy)]).max())
    np.testing.assert_allclose(total, 0, atol=1e-13 * largest)


@functools.partial(jax.jit, static_argnames=("make_space",))
def one_step(
    method: Algorithm,
    problem: Any,
    key: Array,
    state: State,
    make_space: Callable[[Any], PolicySpace] = simplex,
) -> tuple[State, Info]:
    """One step with the exact oracle."""
    space = make_space(problem)
    return method.step(key, state, oracle.exact(problem, space.log_prob), space)


def noisy(problem: games.Game, log_prob: Callable) -> Oracle:
    """The exact oracle with noise of its key: as much of a sampled oracle as an algorithm can see."""
    exact = oracle.exact(problem, log_prob)

    def payoff(key: Array, policy: Any) -> Any:
        feedback = exact.payoff(key, policy)
        noise = jax.random.uniform(key, feedback.preference.shape)
        return feedback._replace(preference=feedback.preference + 0.1 * noise)

    return exact._replace(payoff=payoff)


def shifted_oracle(problem: games.Game, log_prob: Callable) -> Oracle:
    """The exact oracle with a constant added to each context's payoffs."""
    exact = oracle.exact(problem, log_prob)

    def payoff(key: Array, policy: Any) -> Any:
        feedback = exact.payoff(key, policy)
        return feedback._replace(preference=feedback.preference + jnp.array([[0.5], [-3.0]]))

    return exact._replace(payoff=payoff)


def shifted_space(problem: games.Game) -> PolicySpace:
    """The simplex with a constant added to each context's logits before a projection."""
    space = simplex(problem)

    def project(policy: Any, target: Callable, feedback: Any) -> Any:
        return space.project(policy + jnp.array([[2.0], [-1.0]]), target, feedback)

    return space._replace(project=project)


@functools.cache
def pairs() -> Comparisons:
    """A data set of labelled pairs from the game."""
    keys = jax.random.split(jax.random.key(11), 4)
    context = jax.random.randint(keys[0], (60,), 0, 2)
    one, other = (jax.random.randint(key, (60,), 0, 4) for key in keys[1:3])
    label = jax.random.bernoulli(keys[3], game().preference[context, one, other]).astype(float)
    return Comparisons(context, one, other, label, jnp.ones(60))


@functools.cache
def worlds() -> dict[str, tuple[Callable, Callable]]:
    """Every space with every oracle."""
    spaces = {"simplex": simplex, "network": network_space(2, 0.05, optax.sgd)}
    oracles = {"exact": oracle.exact, "sampled": oracle.sampled(3), "offline": oracle.offline(pairs())}
    return {f"{s}-{o}": (space, ask) for s, space in spaces.items() for o, ask in oracles.items()}


class Contract:
    """What both kinds of contract have: the record, its settings, and how to make the algorithm."""

    method: ClassVar[Method]
    settings: ClassVar[dict[str, Any]] = {}

    def make(self, beta: float = BETA, **changes: Any) -> Algorithm:
        """The algorithm with its defaults and the settings of the class."""
        return make(self.method, arguments(self.method, beta, **{**self.settings, **changes}))
