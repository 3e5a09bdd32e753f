"""The delivery gridworld: a car, a destination, sheep not to hit, coins, roadblocks, and mud one stays in.

The rules (ten by ten cells, four certain moves, six features and their weights, which cells block, that mud
is not left again) are those of the regret-preference work; the board is ours, laid out by these rules, and so
is the convention that a move which ends the run pays only for the end (no gas).

Reference: arXiv:2206.02231; the weights as in the code published by its authors.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from nlhf.errors import InputError
from tabular.mdps.families import moves, parse_board
from tabular.mdps.mdp import MDP, make_mdp

Array = jax.Array
FEATURES = ("gas", "destination", "sheep", "coin", "roadblock", "mud")
WEIGHTS = (-1.0, 50.0, -50.0, 1.0, -1.0, -2.0)

# . road   d destination   s sheep   c coin   r roadblock   h house
# , mud    D S C R H the same on mud
BOARD = """
...c....r.
.h..r.hh.c
...s..h...
.r..c.r.s.
h....hh...
..c,,,,,..
.r.,CHS,.r
...,,,D,..
.h.,R,,,h.
c..s..r..d
"""
ROAD, MUD = ".dscrh", ",DSCRH"


def delivery(board: str = BOARD, *, weights: Any = WEIGHTS, discount: Any = 0.999, beta: Any = 0.0) -> MDP:
    """The delivery gridworld: reward ``features · weights``, the start uniform over where a run can begin.

    States are the cells that are not houses, in reading order; destinations and sheep end the run. A move
    into a house or over the edge stays where it is and pays again for the ground it stands on.

    Args:
      board: rows of the characters of ``BOARD``.
      weights: ``[6]`` rewards of gas, destination, sheep, coin, roadblock, mud (in place of gas).
      discount: in (0, 1].
      beta: >= 0; maximum entropy.

    Raises:
      InputError: on a board that is no rectangle of these characters, weights that are not six numbers, and
        what ``make_mdp`` refuses.
    """
    values = np.asarray(weights, float)
    if values.shape != (len(FEATURES),):
        raise InputError(
            f"weights has shape {values.shape}, but the features are {', '.join(FEATURES)}; give six numbers"
        )
    rows = parse_board(board, ROAD + MUD)
    cells, follow = moves(rows, "hH", confined=MUD)
    kind = np.array([rows[i][j].lower() for i, j in cells])
    return make_mdp(
        np.eye(len(cells))[follow],
        delivery_features(board) @ values,
        terminal=np.isin(kind, ("d", "s")),
        discount=discount,
        beta=beta,
    )


def delivery_features(board: str = BOARD) -> np.ndarray:
    """``[S, 4, 6]`` features of every move, in the order of ``FEATURES``; 0 where the run is over.

    Args:
      board: as in ``delivery``.
    """
    rows = parse_board(board, ROAD + MUD)
    cells, follow = moves(rows, "hH", confined=MUD)
    kind = np.array([rows[i][j].lower() for i, j in cells])
    muddy = np.array([rows[i][j] in MUD for i, j in cells])
    entered = np.stack([kind == name for name in "dscr"], -1)[follow]
    # a blocked move enters nothing, so a coin or a roadblock is met once, on arrival
    entered &= (follow != np.arange(len(cells))[:, None])[..., None]
    driving = ~(entered[..., 0] | entered[..., 1])
    gas = np.stack([driving & ~muddy[follow]], -1)
    mud = np.stack([driving & muddy[follow]], -1)
    features = np.concatenate([gas, entered, mud], -1).astype(float)
    return np.where(np.isin(kind, ("d", "s"))[:, None, None], 0.0, features)
