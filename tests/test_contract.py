"""Our own algorithms keep the contract that ``nlhf.testing`` hands to everybody."""

import inspect
import subprocess
import sys

import bank
import pytest

from nlhf import ALGORITHMS, InputError
from nlhf.base import hyper
from nlhf.testing import contract

BETA = 0.3
# short inner games and periods; the constant step beside the schedule
SETTINGS = {"nash_prox": {"num_inner": 3}, "mpo": {"period": 3}}
for name in ALGORITHMS:
    globals()[f"Test_{name}"] = contract(name, **SETTINGS.get(name, {}))
TestNashMDWithAConstantStep = contract("nash_md", step_size=0.1 / BETA)


@pytest.mark.parametrize("name", bank.NAMES)
def test_parameter_names(name):
    parameters = inspect.signature(ALGORITHMS[name]).parameters
    assert list(parameters)[:2] == ["step_size", "beta"]
    assert all(each.default is inspect.Parameter.empty for each in parameters.values()), "no silent defaults"
    assert set(hyper(bank.make(name, BETA))) == set(parameters) == set(bank.ROWS[name].hyper(BETA))


@pytest.mark.parametrize("name", bank.NAMES)
def test_claims_are_named_after_their_algorithm(name):
    assert all(claim.name.startswith(f"{name}.") for claim in bank.make(name, BETA).claims)


def test_claims_of_solved_inner_games_evaluate():
    solved = contract("nash_prox")()
    solved.test_claims_have_a_source_a_metric_and_evaluate()
    assert solved.make().claims


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
