import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preference_files import (
    EARLIER,
    EARLIER_GRAPH,
    GRAPH,
    LABELS,
    MATRIX,
    NAMED_CSV,
    NAMES,
    PRESENT,
    WINNERS,
    write,
)

from tabular.preferences import load_preferences


@pytest.mark.parametrize(
    "text",
    [
        NAMED_CSV,
        NAMED_CSV.replace(",", ";"),
        NAMED_CSV.replace(",", "\t"),
        NAMED_CSV.replace("\n", "\r\n"),
        "\ufeff" + NAMED_CSV,
        NAMED_CSV.replace("\n", "\n\n"),
        NAMED_CSV.rstrip("\n"),
        NAMED_CSV.replace(",", " , ").replace(" rock", ' "rock"').replace('"rock" ', '"rock"'),
        "rock,paper,scissors\n0.5,0.25,1\n0.75,0.5,0.125\n0,0.875,0.5\n",
    ],
)
@pytest.mark.parametrize("name", ["game.csv", "game.TSV", "game.csv.gz"])
def test_matrices_in_csv(tmp_path, text, name):
    table = load_preferences(write(tmp_path, name, text))
    assert table.names == NAMES
    np.testing.assert_array_equal(table.preference, MATRIX)
    assert table.counts is None
    assert table.completeness == 1.0


def test_separators_inside_quotes(tmp_path):
    table = load_preferences(
        write(tmp_path, "game.csv", ',"a;b;c","d ""e"""\na;b;c,0.5,1\n"d ""e""",0,0.5\n')
    )
    assert table.names == ("a;b;c", 'd "e"')


def test_arrays(tmp_path):
    np.save(tmp_path / "p.npy", MATRIX)
    np.save(tmp_path / "f.npy", np.asfortranarray(MATRIX).astype(">f8"))
    np.savez(tmp_path / "p.npz", preference=MATRIX, names=NAMES)
    np.savez_compressed(tmp_path / "b.npz", P=MATRIX, items=np.array(NAMES, dtype="S8"))
    for name in ("p.npy", "f.npy", "p.npz", "b.npz"):
        table = load_preferences(tmp_path / name)
        np.testing.assert_array_equal(table.preference, MATRIX)
        assert table.names == (NAMES if name.endswith("z") else ("0", "1", "2"))
    wins, games = np.array([[0, 3], [1, 0]]), np.array([[0, 6], [6, 0]])
    np.savez(tmp_path / "c.npz", wins=wins, games=games)
    table = load_preferences(tmp_path / "c.npz", prior=1)
    np.testing.assert_array_equal(table.counts, [[0, 4], [2, 0]])
    assert table.preference[0, 1] == 5 / 8
    np.savez(tmp_path / "both.npz", wins=wins, games=games, P=MATRIX[:2, :2])
    table = load_preferences(tmp_path / "both.npz", prior=1)
    np.testing.assert_array_equal(table.preference, MATRIX[:2, :2])
    np.testing.assert_array_equal(table.counts, [[0, 4], [2, 0]])


@pytest.mark.parametrize(
    ("name", "text"), [("v.toc", PRESENT), ("v.toi", PRESENT), ("v.toc", EARLIER), ("v.toi.gz", EARLIER)]
)
def test_rankings(tmp_path, name, text):
    table = load_preferences(write(tmp_path, name, text), prior=0)
    assert table.names == ("rock", "paper, thin", "scissors")
    np.testing.assert_array_equal(table.counts, [[0, 3, 1], [0, 0, 0.5], [2, 2.5, 0]])
    assert table.preference[0, 2] == 1 / 3


@given(st.data())
def test_rankings_agree_with_pair_by_pair_counting(tmp_path_factory, data):
    actions = data.draw(st.integers(2, 6))
    wins = [[Fraction(0)] * actions for _ in range(actions)]
    lines, voters = [], 0
    for _ in range(data.draw(st.integers(1, 5))):
        ranked = data.draw(st.permutations(range(actions)))[: data.draw(st.integers(2, actions))]
        level = sorted(data.draw(st.lists(st.integers(0, 5), min_size=len(ranked), max_size=len(ranked))))
        multiplicity = data.draw(st.integers(1, 9))
        voters += multiplicity
        classes = [
            [str(ranked[i] + 1) for i in group]
            for _, group in itertools.groupby(range(len(ranked)), key=lambda i: level[i])
        ]
        order = ",".join(c[0] if len(c) == 1 else "{" + ",".join(c) + "}" for c in classes)
        lines.append(f"{multiplicity}: {order}")
        for i, j in itertools.combinations(range(len(ranked)), 2):
            share = Fraction(1, 2) if level[i] == level[j] else Fraction(1)
            wins[ranked[i]][ranked[j]] += multiplicity * share
            wins[ranked[j]][ranked[i]] += multiplicity * (1 - share)
    head = [f"# NUMBER ALTERNATIVES: {actions}", f"# NUMBER VOTERS: {voters}"]
    head += [f"# ALTERNATIVE NAME {i + 1}: x{i}" for i in range(actions)]
    path = write(tmp_path_factory.mktemp("rankings"), "votes.toi", "\n".join(head + lines))
    counts = load_preferences(path).counts
    np.testing.assert_array_equal(counts, np.array(wins, dtype=float))


@pytest.mark.parametrize("text", [GRAPH, EARLIER_GRAPH])
def test_graphs(tmp_path, text):
    table = load_preferences(write(tmp_path, "g.wmd", text), prior=0.5)
    assert table.names == NAMES
    np.testing.assert_array_equal(table.counts, [[0, 3, 0], [1.5, 0, 0], [2, 0, 0]])
    assert table.preference[0, 1] == 3.5 / 5.5
    assert table.preference[1, 2] == 0.5
    assert table.completeness == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.csv", WINNERS),
        ("v.csv", "Loser;Text;Winner;Count\nb;x;a;3\na;y;b;1\na;z;c;2\n"),
        ("v.csv", "first,second,prefer_first,count\na,b,0.75,4\nc,a,TRUE,2\n"),
        ("v.jsonl", LABELS),
        ("v.jsonl.gz", "\ufeff" + LABELS.replace("\n", "\r\n\r\n")),
        (
            "v.jsonl",
            '{"winner":"a","loser":"b"}\n' * 3
            + '{"winner":"b","loser":"a"}\n{"winner":" c","loser":"a","count":2}',
        ),
    ],
)
def test_comparisons(tmp_path, name, text):
    table = load_preferences(write(tmp_path, name, text), prior=1)
    order = [table.names.index(letter) for letter in "abc"]
    np.testing.assert_array_equal(table.counts[np.ix_(order, order)], [[0, 3, 0], [1, 0, 0], [2, 0, 0]])
    assert table.preference[order[0], order[1]] == 4 / 6
    assert table.completeness == pytest.approx(2 / 3)


def test_many_names_in_order_of_appearance(tmp_path):
    pairs = [(f"m{i}", f"m{i + 1}") for i in range(40)]
    text = "winner,loser\n" + "".join(f"{a},{b}\n" for a, b in pairs)
    table = load_preferences(write(tmp_path, "v.csv", text), prior=0)
    assert table.names == tuple(f"m{i}" for i in range(41))
    np.testing.assert_array_equal(table.counts, np.eye(41, k=1))
