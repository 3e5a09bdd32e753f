"""The suite of ``nlhf.testing`` in the hands of a stranger; test_contract has our own algorithms."""

import subprocess
import sys

import pytest

from nlhf import InputError
from nlhf.testing import contract

THEIRS = """
from typing import Any, NamedTuple

import nlhf


class State(NamedTuple):
    policy: Any


class Record(NamedTuple):
    init: Any
    step: Any


def nested(step_size, beta):
    def init(policy):
        return State(policy)

    def target(log_prob, log_ref, preference):
        return (1 - step_size * beta) * log_prob + step_size * (beta * log_ref + SIGN * preference)

    def step(key, state, oracle, space):
        policy = space.project(state.policy, target, oracle.payoff(key, state.policy))
        return State(policy), nlhf.Info(queries=1)

    return Record(init, step)
"""


@pytest.mark.parametrize(("sign", "failed"), [("1", 0), ("-1", 1)])
def test_the_contract_runs_in_the_pytest_of_anybody(tmp_path, sign, failed):
    (tmp_path / "theirs.py").write_text(THEIRS.replace("SIGN", sign))
    (tmp_path / "test_theirs.py").write_text(
        "import jax\n"
        "jax.config.update('jax_enable_x64', True)\n"
        "from nlhf.testing import contract\n"
        "TestMine = contract('theirs:nested')\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_theirs.py"]
    done = subprocess.run(
        [*words, "-k", "float64_off or state"], capture_output=True, text=True, cwd=tmp_path
    )
    assert f"{2 - failed} passed" in done.stdout, done.stdout
    assert ("1 failed" in done.stdout) == failed


def test_what_is_no_algorithm_has_no_contract():
    with pytest.raises(InputError, match="did you mean egpo"):
        contract("egop")
    with pytest.raises(InputError, match="must be a function that makes an algorithm"):
        contract(3)


def test_the_suite_is_loaded_without_pytest():
    code = "import nlhf.testing, sys; nlhf.testing.contract('egpo'); print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
