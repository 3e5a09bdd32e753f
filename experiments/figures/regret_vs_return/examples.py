"""Three decision processes of which partial returns hide what the optimum depends on; everything exact.

Each has a parameter that moves the optimum: a constant added to the reward of a task that ends, the loss of a
risky arm whose outcome is chance (for labels without noise), and the discount (for segments of one step).
Preferences by partial return do not move with it; preferences by regret do.

Reference: arXiv:2206.02231; the instances are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.special

from experiments.figures.regret_vs_return.worlds import padded
from tabular.mdps.mdp import MDP, make_mdp
from tabular.mdps.values import hard_values

CHAIN = 5
POINTS = 25  # of a parameter; the base is one of them


@dataclass(frozen=True)
class Example:
    """One process, over its parameter."""

    name: str  # ``shift``, ``risk`` or ``discount``
    base: float  # value of the parameter that the others are compared with
    x: list[float]
    by_return: list[float]  # largest change of a preference by partial return, over all pairs of segments
    by_regret: list[float]  # likewise by regret
    other_optimum: list[bool]  # whether the set of optimal actions is another one


class Family(NamedTuple):
    """Processes with one parameter, and the segments that are compared."""

    make: Callable[[float], MDP]
    base: float  # value of the parameter that the others are compared with
    values: np.ndarray
    states: Any  # ``[N, T]`` of the segments
    actions: Any  # likewise
    noiseless: bool = False  # whether the labels are


def examples() -> list[Example]:
    """Work out the three, all of their processes in one batch."""
    families = {
        "shift": Family(chain, 0.0, np.linspace(-1, 3, POINTS), *_chain_segments()),
        "risk": Family(
            risk,
            -1.0,
            np.linspace(-6.5, -0.5, POINTS),
            [[0, 3], [0, 1], [0, 2]],
            [[0, 0], [1, 0], [1, 0]],
            noiseless=True,
        ),
        "discount": Family(delay, 0.5, np.linspace(0.35, 0.95, POINTS), [[0], [0], [1]], [[0], [1], [0]]),
    }
    mdps = [
        padded(family.make(x), CHAIN + 1)
        for family in families.values()
        for x in (family.base, *family.values)
    ]
    advantage, optimal = _solved(jax.tree.map(lambda *leaves: np.stack(leaves), *mdps))
    reward = np.stack([mdp.reward for mdp in mdps])
    found = []
    for number, (name, family) in enumerate(families.items()):
        part = slice(number * (POINTS + 1), (number + 1) * (POINTS + 1))
        tables = (reward[part], np.asarray(advantage)[part])
        by_return, by_regret = (_change(family, table) for table in tables)
        best = np.asarray(optimal)[part]
        moved = (best != best[:1]).any((1, 2))[1:].tolist()
        found.append(Example(name, family.base, family.values.tolist(), by_return, by_regret, moved))
    return found


@jax.jit
@jax.vmap
def _solved(mdp: MDP) -> tuple[jax.Array, jax.Array]:
    values = hard_values(mdp)
    return values.advantage, values.optimal


def _change(family: Family, table: np.ndarray) -> list[float]:
    """Largest change of a preference, for scores that are sums of ``table [V, S, A]`` along the segments."""
    score = table[:, np.asarray(family.states), np.asarray(family.actions)].sum(-1)
    difference = score[:, :, None] - score[:, None, :]
    preference = scipy.special.expit(difference)
    if family.noiseless:
        preference = (1 + np.sign(np.where(np.abs(difference) < 1e-9, 0.0, difference))) / 2
    return np.abs(preference - preference[:1]).max((1, 2))[1:].tolist()


def chain(shift: float) -> MDP:
    """Five states in a row; one may stay or move, each step pays -1 + shift, and the end 10 more."""
    states = CHAIN + 1
    transition = np.zeros((states, 2, states))
    transition[:, 0] = np.eye(states)
    transition[:, 1] = np.eye(states, k=1)
    transition[-1, 1, -1] = 1
    reward = np.full((states, 2), -1.0 + shift)
    reward[CHAIN - 1, 1] += 10
    reward[-1] = 0
    return make_mdp(transition, reward, terminal=np.arange(states) == CHAIN, discount=0.95, beta=0)


def risk(lose: float) -> MDP:
    """A safe arm pays 1/2; a risky one leads to a state that pays 3 or one that pays ``lose``, by a coin."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 3] = transition[1:, :, 3] = 1
    transition[0, 1, 1:3] = 0.5
    reward = np.array([[0.5, 0.0], [3.0, 3.0], [lose, lose], [0.0, 0.0]])
    return make_mdp(transition, reward, terminal=np.arange(4) == 3, discount=1.0, beta=0)


def delay(discount: float) -> MDP:
    """One may take 1 and end, or move for nothing to where 1.6 is."""
    transition = np.zeros((3, 2, 3))
    transition[0, 0, 2] = transition[0, 1, 1] = transition[1:, :, 2] = 1
    reward = np.array([[1.0, 0.0], [1.6, 1.6], [0.0, 0.0]])
    return make_mdp(transition, reward, terminal=np.arange(3) == 2, discount=discount, beta=0)


def _chain_segments() -> tuple[list, list]:
    """All segments of three steps that do not reach the end."""
    states, actions = [], []
    for start, moves in itertools.product(range(CHAIN), itertools.product((0, 1), repeat=3)):
        visited = start + np.concatenate([[0], np.cumsum(moves)])
        if visited[-1] < CHAIN:
            states.append(visited[:-1])
            actions.append(moves)
    return states, actions
