import contextlib
import importlib
import importlib.metadata
import math
import sys

import numpy as np
import pytest

import nlhf
from nlhf import ALGORITHMS, LEARNERS, METHODS
from nlhf.algorithms.ipo_md import MIXTURE
from nlhf.algorithms.mpo import default_period
from nlhf.algorithms.nash_prox import num_inner
from nlhf.base import hyper
from nlhf.errors import InputError, unknown
from nlhf.method import GROUP, Method, default, find
from tabular.families import biased_rock_paper_scissors
from tabular.games import make_game
from tabular.metrics import measure
from tabular.mistakes import warn_outside_range
from tabular.runner import run
from tabular.solution import solve

BETAS = (1e-3, 0.01, 0.1, 1.0, 10.0)


def test_every_record_says_what_readers_are_shown():
    for name, method in METHODS.items():
        assert (method.name, method.factory) == (name, {**ALGORITHMS, **LEARNERS}[name])
        assert method.label
        assert method.source != "not said"
        assert method.learns == (name in LEARNERS)
    colours = [method.colour for method in METHODS.values()]
    assert len(set(colours)) == len(colours)
    assert all(len(colour) == 7 and colour[0] == "#" for colour in colours)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("beta", BETAS)
def test_default_is_inside_every_proved_range(name, beta):
    warn_outside_range(default(name, beta), beta)  # a RangeWarning would be an error


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if METHODS[name].zero])
def test_default_is_inside_every_proved_range_without_regularisation(name):
    warn_outside_range(default(name, 0.0), 0.0)


@pytest.mark.parametrize("name", ["nash_md", "nash_prox", "ipo_md"])
def test_beta_zero_is_refused_where_it_is_not_defined(name):
    with pytest.raises(InputError, match=rf"beta is 0, but {name} needs .* take one of .*egpo"):
        default(name, 0.0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_step_size_replaces_the_default(name):
    assert hyper(default(name, 0.1, 0.25))["step_size"] == 0.25


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"did you mean nash_md\? known are online_mirror_descent, nash_md,"):
        default("nashmd", 0.1)


@pytest.mark.parametrize(
    ("beta", "step_size"),
    [
        (-1.0, None),
        (math.nan, None),
        (math.inf, None),
        (0.1, 0.0),
        (0.1, 1e-200),
        (1e-170, 1.0),
        (1e200, None),
    ],
)
def test_numbers_out_of_range_are_refused(beta, step_size):
    with pytest.raises(InputError, match=r"beta is|step_size is"):
        default("egpo", beta, step_size)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("beta", [1e-200, 9e-16, 1.1e15, 1e200])
def test_extreme_beta_is_refused(name, beta):
    with pytest.raises(InputError, match=r"beta is .* in \[1e-15, 1e\+15\]; give another beta"):
        default(name, beta)


@pytest.mark.parametrize(
    ("name", "beta", "step_size", "message"),
    [
        ("nash_prox", 1e-9, 1.0, r"beta is 1e-09 and the step size 1, .* inner steps.*raise beta, or lower"),
        ("nash_prox", 1e-15, 1e15, "beta is 1e-15 and the step size"),
        ("mpo", 1e-10, None, r"beta is 1e-10, .*7\.5e\+19 steps, .*raise beta, or give 0"),
        ("mpo", 1e-15, None, "beta is 1e-15, "),
    ],
)
def test_endless_inner_games_and_periods_are_refused(name, beta, step_size, message):
    with pytest.raises(InputError, match=message):
        default(name, beta, step_size)


@pytest.mark.filterwarnings("ignore::nlhf.errors.RangeWarning")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_ends_of_the_range_make_an_algorithm_or_a_refusal(name):
    for beta in (1e-15, 1e15):
        for step_size in (None, 1e-15, 1.0, 1e15):
            with contextlib.suppress(InputError):
                assert 1 <= hyper(default(name, beta, step_size)).get("num_inner", 1) <= 1_000_000


def test_nash_md_takes_its_schedule():
    assert callable(hyper(default("nash_md", 0.1))["step_size"])


def test_other_hyper_parameters():
    assert hyper(default("ipo_md", 0.1))["mixture"] == MIXTURE
    assert hyper(default("mpo", 0.0))["beta"] == 0.1
    assert hyper(default("mpo", 0.5))["beta"] == 0.5
    assert num_inner(1e-6, 1e-6) == 10
    assert num_inner(0.1, 5.0) > 100  # a long proximal step has a hard inner game
    assert default_period(0.5) == 5


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("nash_md", "ipo_md", "mpo")])
def test_defaults_reach_the_equilibrium(name):
    game = make_game(biased_rock_paper_scissors(), beta=0.3)
    log_nash = solve(game).log_policy
    trace = run(default(name, 0.3), game, num_steps=200, every=200)
    np.testing.assert_allclose(trace.state.policy, log_nash, atol=1e-9)


def test_default_mpo_reaches_the_unregularised_equilibrium():
    log_ref = np.log([0.6, 0.3, 0.1])
    game = make_game(biased_rock_paper_scissors(), log_ref, beta=0.0)
    trace = run(default("mpo", 0.0), game, num_steps=3000, every=3000)
    assert float(measure("exploitability", game, trace.state.policy)) < 1e-9


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "kl_ucb"])
def test_learners_have_defaults_too(name):
    assert "replay" in hyper(default(name, 0.1))


def test_an_argument_without_a_default_is_named():
    with pytest.raises(InputError, match="kl_ucb needs uncertainty, for which there is no default"):
        default("kl_ucb", 0.1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory of somebody else, with algorithms of their own."""
    (tmp_path / "their_own.py").write_text(
        "import nlhf\n"
        "def two(step_size, beta): return nlhf.egpo(step_size, beta)\n"
        "def one(beta): return nlhf.egpo(0.5, beta)\n"
        "def bonus(beta, optimism=0.5): return nlhf.egpo(optimism, beta)\n"
        "def mixed(beta, step_size, mixture): return nlhf.ipo_md(step_size, beta, mixture)\n"
        "record = nlhf.Method('mine', mixed, settings=lambda beta, step_size: {'mixture': 0.5})\n"
        "def broken(beta): return 1 + 'a'\n"
        "def matrix(beta): return beta\n"
        "made = nlhf.egpo(1.0, 0.1)\n"
        "number = 3\n"
    )
    (tmp_path / "their_fault.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield
    sys.modules.pop("their_own", None)


def test_an_algorithm_of_anybody_is_found_where_they_are(folder):
    before = list(sys.path)
    assert hyper(default("their_own:two", 0.1, 0.25)) == {"step_size": 0.25, "beta": 0.1}
    assert hyper(default("their_own:two", 0.1))["step_size"] == pytest.approx(1 / 0.6)  # of its first claim
    assert hyper(default("their_own:one", 0.1))["step_size"] == 0.5
    assert hyper(default("their_own:bonus", 0.1))["step_size"] == 0.5
    assert hyper(default("their_own:record", 0.1))["mixture"] == 0.5
    assert find("their_own:record").name == "mine"
    assert sys.path[: len(before)] == before, "never put first"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("their_won:two", "'their_won' is not a module here; did you mean their_own"),
        ("their_own:tow", "'tow' is not a function of their_own; did you mean two"),
        ("their_own:number", "is a int, but it must be a function that makes an algorithm"),
        ("their_own:made", "is a Algorithm, but it must be a function that makes an algorithm"),
        ("their_own:broken", r"broken\(beta\) raises TypeError \(unsupported operand"),
        ("their_own:matrix", "matrix returns a float, but it must return an Algorithm"),
        ("their_own:mixed", "mixed needs mixture, for which there is no default"),
        ("their_fault:two", r"their_fault cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("their_own:", "'their_own:' is not MODULE:FUNCTION"),
        ("short_eg", "your own is MODULE:FUNCTION"),
    ],
)
def test_what_is_no_algorithm_is_refused_in_one_line(folder, name, message):
    with pytest.raises(InputError, match=message) as refused:
        default(name, 0.1)
    assert "\n" not in str(refused.value)


def test_the_name_that_was_typed_is_never_suggested():
    assert "did you mean" not in unknown("short_eg", ("short_eg",), "algorithm")


def test_an_entry_point_is_found_by_its_name(monkeypatch, folder):
    point = importlib.metadata.EntryPoint("theirs", "their_own:two", GROUP)
    gone = importlib.metadata.EntryPoint("gone", "no_such_module:two", GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point, gone])
    monkeypatch.syspath_prepend(".")
    assert hyper(default("theirs", 0.1, 0.25))["step_size"] == 0.25
    with pytest.raises(InputError, match="the entry point gone cannot be loaded"):
        find("gone")
    with pytest.raises(InputError, match="did you mean theirs"):
        find("their")


def test_a_file_of_an_algorithm_does_not_hide_its_factory():
    importlib.import_module("nlhf.algorithms.egpo")
    assert nlhf.algorithms.egpo is nlhf.egpo
    assert isinstance(find("nash-md"), Method)
