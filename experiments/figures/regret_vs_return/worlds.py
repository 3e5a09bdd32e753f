"""The decision processes of ``regret-vs-return``: random ones, random boards, and the delivery gridworld.

All rewards are linear in features, and all processes of a family are padded to one size with terminal states
that nothing leads to.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tabular.mdps.delivery import BOARD, FEATURES, WEIGHTS, delivery, delivery_features
from tabular.mdps.families import random_mdp
from tabular.mdps.mdp import MDP

Array = jax.Array
SIDE = 5  # of a random board
SIZE = SIDE * SIDE  # states of a random process, and of a padded board
DISCOUNT = 0.9
KINDS, SHARES = tuple(".hscr"), (0.60, 0.12, 0.08, 0.08, 0.12)


class Worlds(NamedTuple):
    """Processes of one size, their reward ``features weights``; NumPy arrays."""

    mdp: MDP  # batch of N
    features: np.ndarray  # ``[N, S, A, D]``


def random_worlds(keys: Array) -> Worlds:
    """Stochastic processes without an end, 25 states, 4 actions, 6 normal features with normal weights."""
    mdp, features = _random(keys)
    return Worlds(jax.tree.map(np.asarray, mdp), np.asarray(features))


@jax.jit
@jax.vmap
def _random(key: Array) -> tuple[MDP, Array]:
    mdp_key, feature_key, weight_key = jax.random.split(key, 3)
    mdp = random_mdp(mdp_key, SIZE, 4, spread=3.0, discount=DISCOUNT, beta=0.0)
    features = jax.random.normal(feature_key, (SIZE, 4, len(FEATURES)))
    weights = jax.random.normal(weight_key, (len(FEATURES),)) / jnp.sqrt(len(FEATURES) * 1.0)
    return mdp._replace(reward=features @ weights), features


def random_boards(num: int, seed: int) -> Worlds:
    """Boards of 5 x 5 cells by the delivery rules, one destination, random weights; every cell can reach it.

    Weights: gas -1, destination 10 to 50, sheep -10 to -50, coin 0 to 1, roadblock -1/2 to -3.

    Args:
      seed: of the draws; a larger ``num`` adds boards and keeps the others.
    """
    mdps, features = [], []
    for row in range(num):
        board, weights = random_board(np.random.default_rng([seed, row]))
        mdps.append(padded(delivery(board, weights=weights), SIZE))
        table = delivery_features(board)
        features.append(np.pad(table, ((0, SIZE - len(table)), (0, 0), (0, 0))))
    return Worlds(jax.tree.map(lambda *leaves: np.stack(leaves), *mdps), np.stack(features))


def random_board(rng: np.random.Generator) -> tuple[str, list[float]]:
    """Draw a board with its weights until its destination is within reach of every cell."""
    while True:
        cells = rng.choice(KINDS, size=SIZE, p=SHARES)
        cells[rng.integers(SIZE)] = "d"
        board = "\n".join("".join(row) for row in cells.reshape(SIDE, SIDE))
        weights = [-1.0, rng.uniform(10, 50), -rng.uniform(10, 50), rng.uniform(), -rng.uniform(0.5, 3), 0.0]
        if _connected(board):
            return board, weights


def _connected(board: str) -> bool:
    """Whether every cell but houses and sheep reaches the destination without meeting a sheep."""
    grid = np.pad(np.array([list(row) for row in board.split("\n")]), 1, constant_values="h")
    open_, reached = ~np.isin(grid, ("h", "s")), grid == "d"
    for _ in range(SIZE):
        near = reached | np.roll(reached, 1, 0) | np.roll(reached, -1, 0)
        reached = (near | np.roll(reached, 1, 1) | np.roll(reached, -1, 1)) & open_
    return bool((reached == open_).all() and open_.sum() > SIZE // 2)


def delivery_worlds(num: int) -> Worlds:
    """The delivery gridworld, ``num`` times."""
    mdp, features = delivery(BOARD, weights=WEIGHTS), delivery_features(BOARD)
    return Worlds(
        jax.tree.map(lambda leaf: np.broadcast_to(leaf, (num, *np.shape(leaf))), mdp),
        np.broadcast_to(features, (num, *features.shape)),
    )


def padded(mdp: MDP, size: int) -> MDP:
    """Add terminal states that nothing leads to, up to ``size`` states; NumPy arrays."""
    more = size - mdp.num_states
    transition = np.pad(np.asarray(mdp.transition), ((0, more), (0, 0), (0, more)))
    transition[size - more :, :, size - more :] = np.eye(more)[:, None, :]
    return mdp._replace(
        transition=transition,
        reward=np.pad(np.asarray(mdp.reward), ((0, more), (0, 0))),
        log_ref=np.pad(np.asarray(mdp.log_ref), ((0, more), (0, 0))),
        initial=np.pad(np.asarray(mdp.initial), (0, more)),
        terminal=np.pad(np.asarray(mdp.terminal), (0, more), constant_values=True),
    )
