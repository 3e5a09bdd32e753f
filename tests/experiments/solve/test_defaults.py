import contextlib
import math

import numpy as np
import pytest

from experiments.solve.defaults import MIXTURE, RULES, default, num_inner, period
from nlhf.algorithms import ALGORITHMS
from nlhf.base import hyper
from nlhf.errors import InputError
from tabular.families import biased_rock_paper_scissors
from tabular.games import make_game
from tabular.metrics import measure
from tabular.runner import run, warn_outside_range
from tabular.solution import solve

BETAS = (1e-3, 0.01, 0.1, 1.0, 10.0)


def test_every_algorithm_has_a_rule():
    assert set(RULES) == set(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("beta", BETAS)
def test_default_is_inside_every_proved_range(name, beta):
    warn_outside_range(default(name, beta), beta)  # a RangeWarning would be an error


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name].zero])
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
    with pytest.raises(InputError, match=r"beta is|step size is"):
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
                assert 1 <= hyper(default(name, beta, step_size)).get("inner", (1,))[0] <= 1_000_000


def test_nash_md_takes_its_schedule():
    assert callable(hyper(default("nash_md", 0.1))["step_size"])


def test_other_hyper_parameters():
    assert hyper(default("ipo_md", 0.1))["mixture"] == MIXTURE
    assert hyper(default("mpo", 0.0))["beta"] == 0.1
    assert hyper(default("mpo", 0.5))["beta"] == 0.5
    assert num_inner(1e-6, 1e-6) == 10
    assert num_inner(0.1, 5.0) > 100  # a long proximal step has a hard inner game
    assert period(0.5) == 5


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
