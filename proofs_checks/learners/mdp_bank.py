"""Random MDPs with their soft optima: one shape, so that every row compiles the same programs."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from proofs_checks.rows import Effort
from tabular.mdps.families import random_mdp
from tabular.mdps.mdp import MDP
from tabular.mdps.segment_space import segment_features
from tabular.mdps.segments import draw_segments
from tabular.mdps.values import hard_values, soft_values

SIZE = (5, 3)
LENGTH = 4
BETAS = (0.05, 2.0)

soft = jax.jit(jax.vmap(soft_values))
hard = jax.jit(jax.vmap(hard_values))
draw = jax.jit(
    jax.vmap(functools.partial(draw_segments, length=LENGTH), in_axes=(0, 0, None)), static_argnums=2
)
features = jax.jit(jax.vmap(segment_features))


class Bank(NamedTuple):
    """N random MDPs of one size and their soft optima, as numpy arrays with N in front."""

    mdp: MDP  # the batch, on the device
    transition: np.ndarray  # ``[N, S, A, S]``
    reward: np.ndarray  # ``[N, S, A]``
    beta: np.ndarray  # ``[N]``
    discount: np.ndarray  # ``[N]``
    q: np.ndarray  # ``[N, S, A]`` soft optimum
    v: np.ndarray  # ``[N, S]``
    log_policy: np.ndarray  # ``[N, S, A]``

    @property
    def shown(self) -> dict[str, Any]:
        """What a witness shows of an instance."""
        return {"beta": self.beta, "discount": self.discount, "instance": np.arange(len(self.beta))}


@functools.lru_cache(maxsize=4)
def bank(effort: Effort, deterministic: bool = False) -> Bank:
    """Random MDPs: log β spread evenly over that of ``BETAS``, discounts over [0.5, 0.99]."""
    count = effort.pick(24, 200)
    spread = np.linspace(0, 1, count)
    beta = BETAS[0] * (BETAS[1] / BETAS[0]) ** spread
    discount = 0.5 + 0.49 * ((spread * 61.8) % 1)
    build = functools.partial(
        random_mdp, num_states=SIZE[0], num_actions=SIZE[1], deterministic=deterministic
    )
    keys = jax.random.split(effort.key("mdp.bank"), count)
    make = jax.jit(jax.vmap(lambda key, g, b: build(key, discount=g, beta=b)))
    mdp = make(keys, jnp.asarray(discount), jnp.asarray(beta))
    best = soft(mdp)
    columns = (mdp.transition, mdp.reward, mdp.beta, mdp.discount, best.q, best.v, best.log_policy)
    return Bank(mdp, *(np.asarray(column) for column in columns))


def scale(value: np.ndarray) -> np.ndarray:
    """``1 + max_s |value|``, what errors are relative to."""
    return 1 + np.abs(value).max(-1)


class Walks(NamedTuple):
    """M segments drawn in each MDP; their last step shows only where the one before it ended."""

    power: np.ndarray  # ``[N, 1, T]`` powers of the discount
    states: np.ndarray  # ``[N, M, T + 1]``
    actions: np.ndarray  # ``[N, M, T]``

    def along(self, table: np.ndarray) -> np.ndarray:
        """``[N, M, T, ...]`` entries of ``[N, S, A, ...]`` at the steps."""
        return table[np.arange(len(table))[:, None, None], self.states[..., :-1], self.actions]

    def visits(self, value: np.ndarray) -> np.ndarray:
        """``[N, M, T + 1]`` entries of ``[N, S]`` at the states."""
        return value[np.arange(len(value))[:, None, None], self.states]


def walks(effort: Effort, name: str, of: Bank) -> Walks:
    """Draw 30 segments in each MDP of a bank, by uniform actions."""
    states, actions = (
        np.asarray(part) for part in draw(jax.random.split(effort.key(name), len(of.beta)), of.mdp, 30)
    )
    power = of.discount[:, None, None] ** np.arange(LENGTH - 1)
    return Walks(power, states, actions[..., :-1])
