import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.mdps.delivery import BOARD, MUD, ROAD, WEIGHTS, delivery, delivery_features
from tabular.mdps.families import moves, parse_board
from tabular.mdps.values import hard_values

UP, DOWN, LEFT, RIGHT = range(4)
SMALL = """
.crsh
,C.d.
,,.D,
"""


def cells(board):
    return moves(parse_board(board, ROAD + MUD), "hH")[0]


def place(board, row, column):
    return cells(board).index((row, column))


def outcome(row, column, move):
    mdp = delivery(SMALL)
    state = place(SMALL, row, column)
    following = int(mdp.transition[state, move].argmax())
    return cells(SMALL)[following], float(mdp.reward[state, move])


@pytest.mark.parametrize(
    ("cell", "move", "expected"),
    [
        ((0, 0), UP, ((0, 0), -1)),  # the edge
        ((0, 0), RIGHT, ((0, 1), 0)),  # a coin: gas and the coin
        ((0, 1), RIGHT, ((0, 2), -2)),  # a roadblock: gas and the block
        ((0, 2), UP, ((0, 2), -1)),  # held at the edge, the block is not met again
        ((0, 2), RIGHT, ((0, 3), -50)),  # a sheep ends the run
        ((1, 2), RIGHT, ((1, 3), 50)),  # a destination too
        ((0, 0), DOWN, ((1, 0), -2)),  # into the mud, which costs two
        ((1, 0), UP, ((1, 0), -2)),  # and is not left again
        ((1, 0), RIGHT, ((1, 1), -1)),  # a coin in the mud
        ((1, 1), RIGHT, ((1, 1), -2)),
        ((2, 2), LEFT, ((2, 1), -2)),
        ((2, 2), RIGHT, ((2, 3), 50)),
        ((1, 4), UP, ((1, 4), -1)),  # a house
        ((0, 3), LEFT, ((0, 3), 0)),  # after the end
    ],
)
def test_the_rules(cell, move, expected):
    assert outcome(*cell, move) == expected


def test_the_board_is_ten_by_ten_and_every_place_is_on_the_way_to_a_destination():
    rows = BOARD.strip().split("\n")
    assert [len(row) for row in rows] == [10] * 10
    assert set("dscrh,") <= set(BOARD)
    mdp = delivery(discount=1.0)
    values = np.asarray(hard_values(mdp).v)[~np.asarray(mdp.terminal)]
    assert (values > 0).all()
    assert values.max() == 50
    assert any(cell in MUD and cell.lower() == "d" for cell in BOARD)


def test_the_reward_is_linear_in_six_features():
    mdp = delivery(weights=(-2, 10, -10, 0, 0, -3))
    np.testing.assert_allclose(delivery_features() @ np.array([-2.0, 10, -10, 0, 0, -3]), mdp.reward)
    assert delivery_features().shape[1:] == (4, len(WEIGHTS))
    with pytest.raises(InputError, match=r"weights has shape \(2,\).*give six numbers"):
        delivery(weights=(1, 2))
