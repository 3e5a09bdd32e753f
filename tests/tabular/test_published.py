import itertools

import numpy as np

from tabular.games import make_game
from tabular.published import SOURCE, nash_md_table3

NAMES, MATRIX = nash_md_table3()


def entry(row, column):
    return MATRIX[NAMES.index(row), NAMES.index(column)]


def test_names_and_source():
    fine_tuned = [f"MD{k}" for k in range(1, 7)]
    assert list(NAMES) == ["SFT", "RLHF", "SP", *fine_tuned, "BR", "EMA1", "EMA2", "EMA1*", "EMA2*"]
    assert "2312.00886" in SOURCE


def test_it_is_a_game_printed_to_three_digits():
    make_game(MATRIX)
    np.testing.assert_allclose(MATRIX, np.round(MATRIX, 3), rtol=0, atol=0)
    np.testing.assert_allclose(MATRIX + MATRIX.T, 1, rtol=0, atol=1e-15)


def test_rows_win_over_columns_as_printed():
    against_rlhf = {
        "SFT": 0.010, "SP": 0.489, "MD1": 0.598, "MD2": 0.519, "MD3": 0.561, "MD4": 0.501, "MD5": 0.436,
        "MD6": 0.284, "BR": 0.148, "EMA1": 0.468, "EMA2": 0.320, "EMA1*": 0.477, "EMA2*": 0.510,
    }  # fmt: skip
    for name, share in against_rlhf.items():
        assert entry(name, "RLHF") == share
    assert entry("MD1", "SP") == 0.592
    others = [entry(name, "SFT") for name in NAMES if name != "SFT"]
    assert (min(others), max(others)) == (entry("BR", "SFT"), entry("RLHF", "SFT")) == (0.943, 0.990)


def test_one_condorcet_winner_and_two_cycles():
    beats = MATRIX > 0.5
    winners = [name for name, row in zip(NAMES, beats, strict=True) if row.sum() == len(NAMES) - 1]
    assert winners == ["MD1"]
    cycles = [
        {NAMES[a], NAMES[b], NAMES[c]}
        for a, b, c in itertools.permutations(range(len(NAMES)), 3)
        if a == min(a, b, c) and beats[a, b] and beats[b, c] and beats[c, a]
    ]
    assert sorted(map(sorted, cycles)) == sorted(
        map(sorted, [{"RLHF", "SP", "MD4"}, {"RLHF", "SP", "EMA2*"}])
    )
