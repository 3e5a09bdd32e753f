"""What a stranger's algorithm, in a stranger's folder, gets from the command line: what ours get."""

import json
import sys

import pytest

from experiments.cli import main
from experiments.language_models import source
from nlhf.testing import contract

OURS = """
from typing import Any, NamedTuple

from jax.tree_util import Partial

from nlhf.base import Info, algorithm
from nlhf.targets import explicit


class State(NamedTuple):
    policy: Any


def init(policy):
    return State(policy)


def step(key, state, oracle, space, *, step_size, beta):
    target = Partial(explicit, step_size=step_size, beta=beta)
    return State(space.project(state.policy, target, oracle.payoff(key, state.policy))), Info(queries=1)


def bound(step_size, beta):
    return algorithm(init, step, step_size=step_size, beta=beta)
"""

OPTAX = """
from typing import Any, NamedTuple

from nlhf import Algorithm, Info


class State(NamedTuple):
    policy: Any


def closures(step_size, beta):
    pull = step_size * beta

    def init(policy):
        return State(policy)

    def step(key, state, oracle, space):
        def target(log_prob, log_ref, preference):
            return (1 - pull) * log_prob + pull * log_ref + step_size * preference

        return State(space.project(state.policy, target, oracle.payoff(key, state.policy))), Info(queries=1)

    return Algorithm(init, step)
"""

FILES = {"strange_house.py": OURS, "strange_optax.py": OPTAX}
PLACES = ("strange_house:bound", "strange_optax:closures")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, which is on no path."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "game.csv").write_text(",a,b,c\na,0.5,0.1,0.8\nb,0.9,0.5,0.1\nc,0.2,0.9,0.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


EACH = pytest.mark.parametrize("place", PLACES)


@EACH
def test_solve(place, capsys):
    words = ["solve", "game.csv", "--beta", "0.5", "--steps", "200", "--json"]
    assert main([*words, "--algorithm", place]) == 0
    mine = json.loads(capsys.readouterr().out)
    assert main([*words, "--algorithm", "online_mirror_descent"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert mine["algorithm"] == place
    assert mine["policy"] == pytest.approx(known["policy"], abs=1e-12)
    assert mine["queries"] == 200


@EACH
def test_check(place, capsys):
    assert main(["check", "--algorithm", place]) == 0
    assert "makes no claims" in capsys.readouterr().out


@pytest.mark.slow
@EACH
def test_train(place, folder, monkeypatch):
    monkeypatch.setitem(source.PRETRAINING, "tiny", (3, 2))  # what is trained matters little here
    words = ["train", "--preset", "tiny", "--steps", "3", "--batch", "4", "--held-out", "4", "--out", "run"]
    assert main([*words, "--algorithm", place]) == 0
    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 3


@pytest.mark.slow
def test_convergence(folder):
    words = ["reproduce", "convergence", "--quick", "--seeds", "1", "--out", "figure"]
    assert main([*words, "--add", PLACES[0], "--add", PLACES[1]]) == 0
    table = (folder / "figure/table.txt").read_text().splitlines()
    for label in ("bound", "closures"):
        rows = [line.split("|") for line in table if f"| {label} |" in line]
        assert len(rows) == 12  # six games, two betas
        assert f">{label}<" in (folder / "figure/convergence.svg").read_text()


@pytest.mark.slow
@EACH
def test_contract(place):
    suite = contract(place)
    checks = [name for name in dir(suite) if name.startswith("test_")]
    assert len(checks) > 10
    for name in checks:
        getattr(suite(), name)()
