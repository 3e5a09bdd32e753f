"""Our own algorithms keep the contract that ``nlhf.testing`` hands to everybody."""

import inspect

import bank
import pytest

from nlhf import ALGORITHMS
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
