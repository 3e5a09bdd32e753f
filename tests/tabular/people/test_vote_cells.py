import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.people.vote_cells import cells_of, count, locate, places, tables

PROMPT = np.array([1, 0, 0, 1, 0])
FIRST = np.array([4, 2, 0, 0, 2])
SECOND = np.array([0, 0, 5, 4, 5])
LABEL = np.array([1.0, 0.5, 0.0, 1.0, 1.0])


def test_every_pair_of_the_answers_of_a_prompt_is_a_cell():
    cells = cells_of(PROMPT, FIRST, SECOND)
    assert list(zip(*cells, strict=True)) == [(0, 0, 2), (0, 0, 5), (0, 2, 5), (1, 0, 4)]


def test_a_pair_nobody_voted_on_is_a_cell_too():
    cells = cells_of(np.array([0, 0]), np.array([0, 1]), np.array([1, 2]))
    assert (0, 0, 2) in list(zip(*cells, strict=True))


def test_votes_are_counted_in_their_cell_and_turned_round():
    cells = cells_of(PROMPT, FIRST, SECOND)
    place, forward = locate(cells, PROMPT, FIRST, SECOND)
    np.testing.assert_array_equal(place, [3, 0, 1, 3, 2])
    np.testing.assert_array_equal(forward, [False, False, True, True, True])
    counts = count(place, forward, LABEL, 4)
    np.testing.assert_array_equal(counts.total, [1, 1, 1, 2])
    # 4 over 0 once and 0 over 4 once: one win for the first; the tie is half of one
    np.testing.assert_array_equal(counts.wins, [0.5, 0.0, 1.0, 1.0])


def test_tables_are_skew_and_hold_each_cell():
    cells = cells_of(PROMPT, FIRST, SECOND)
    where = places(cells)
    np.testing.assert_array_equal(where.present, [[True, True, True], [True, True, False]])
    table = tables(cells, where, np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(table, -table.swapaxes(1, 2))
    np.testing.assert_array_equal(table[0], [[0, 1, 2], [-1, 0, 3], [-2, -3, 0]])
    np.testing.assert_array_equal(table[1], [[0, 4, 0], [-4, 0, 0], [0, 0, 0]])


def test_what_cannot_be_counted_is_refused():
    none = np.array([], int)
    with pytest.raises(InputError, match="no votes"):
        cells_of(none, none, none)
    with pytest.raises(InputError, match="vote 1 compares answer 3 with itself"):
        cells_of(np.array([0, 0]), np.array([0, 3]), np.array([1, 3]))
    cells = cells_of(PROMPT, FIRST, SECOND)
    for prompt, first, second in ((0, 0, 4), (5, 0, 2), (1, 0, 9)):
        with pytest.raises(InputError, match="vote 0 is about a pair that has no cell"):
            locate(cells, np.array([prompt]), np.array([first]), np.array([second]))
