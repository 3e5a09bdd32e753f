"""How the tests here call the command line: in this process, with what it printed."""

import pathlib
from typing import NamedTuple

import pytest

from experiments.cli import main

ROCK_PAPER_SCISSORS = ",rock,paper,scissors\nrock,0.5,0.1,0.8\npaper,0.9,0.5,0.1\nscissors,0.2,0.9,0.5\n"


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def nlhf(capsys):
    """Run a command line; words may be paths."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(nlhf):
    """Run a command line that must be refused with exit code 2 and one line that holds certain words."""

    def run(*words, says=()):
        done = nlhf(*words)
        assert done.code == 2, done
        assert done.out == ""
        assert done.err.count("\n") == 1, done.err
        assert done.err.startswith("nlhf: error: "), done.err
        for word in says:
            assert word in done.err, (word, done.err)
        return done.err

    return run


@pytest.fixture
def game(tmp_path) -> pathlib.Path:
    """Biased rock-paper-scissors with the Nash policy (4, 3, 4)/11."""
    path = tmp_path / "game.csv"
    path.write_text(ROCK_PAPER_SCISSORS)
    return path
