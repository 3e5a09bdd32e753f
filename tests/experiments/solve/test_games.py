import dataclasses
import json

import numpy as np
import pytest

from experiments.solve import games as games_table
from tabular import families


@pytest.fixture(scope="module")
def rows():
    return {row.family: row for row in games_table.build()}


def test_every_family_is_listed(rows):
    helpers = {"from_upper", "random_reference"}
    made_there = {
        name
        for name, value in vars(families).items()
        if getattr(value, "__module__", "") == families.__name__ and not name.startswith("_")
    }
    assert set(rows) == made_there - helpers | {"population_language", "nash_md_table3"}


def test_every_value_is_proved_and_every_stated_equilibrium_found(rows):
    for row in rows.values():
        assert row.proved, row
        assert row.exploitability < 1e-15
        assert row.known_error is None or row.known_error < 1e-14, row
    assert sum(row.known_error is not None for row in rows.values()) == 6


def test_published_table(rows):
    row = rows["nash_md_table3"]
    assert (row.actions, row.strict_triples, row.intransitive_triples) == (14, 364, 2)
    assert (row.condorcet_winner, row.support, row.unique) == ("MD1", 1, True)


def test_known_facts(rows):
    assert rows["bradley_terry"].intransitive_triples == 0
    assert rows["rock_paper_scissors"].intransitive_triples == 30
    assert rows["rock_paper_scissors"].support == games_table.ACTIONS
    assert rows["full_support"].support == games_table.ACTIONS
    assert rows["elo_example"].condorcet_winner == "1"


def test_table_is_narrow_and_aligned(nlhf, rows, monkeypatch):
    monkeypatch.setattr(games_table, "build", lambda: tuple(rows.values()))
    done = nlhf("games")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 88
    assert {len(line) for line in lines[: len(rows) + 2]} == {len(lines[0])}
    assert "2/364" in done.out


def test_json(nlhf, rows, monkeypatch):
    monkeypatch.setattr(games_table, "build", lambda: tuple(rows.values()))
    found = json.loads(nlhf("games", "--json").out)["games"]
    assert [game["family"] for game in found] == list(rows)
    assert found[-1]["condorcet_winner"] == "MD1"


def test_what_is_not_proved_is_marked(rows):
    row = rows["dice"]
    shown = games_table.report((dataclasses.replace(row, proved=False, unique=None, exploitability=2e-9),))
    assert "1/2 + 2.0e-09" in shown
    assert " 3? " in shown
    assert " 3+ " in games_table.report((dataclasses.replace(row, unique=False),))


def test_instances_do_not_change_between_runs():
    first, second = (games_table.make("uniform_skew").preference for _ in range(2))
    np.testing.assert_array_equal(first, second)
