"""The CPL figure: its estimates end to end on small data, its parts against NumPy, and drawn from numbers."""

import dataclasses

import numpy as np
import pytest

from experiments.figures.cpl_consistency import data as cpl_data
from experiments.figures.cpl_consistency import fits as cpl_measures
from experiments.figures.cpl_consistency import plot as cpl_consistency_plot
from experiments.figures.cpl_consistency import run as cpl_consistency
from experiments.figures.cpl_consistency.run import Line, Rate, Result
from experiments.figures.shared.curves import Interval
from experiments.output import records
from nlhf.errors import InputError

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

CONFIG = cpl_consistency.Config(
    seeds=2, mdps=1, num_states=3, num_actions=2, pairs=64, doublings=6, biases=(0.1, 1.0), discounts=(0.5,)
)


@pytest.fixture(scope="module")
def mdps():
    return cpl_data.random_mdps(CONFIG)


@pytest.fixture(scope="module")
def data(mdps):
    return cpl_data.draw(CONFIG, mdps, 1, 1, same=True)


def made_up():
    """Lines and exponents that no run made."""
    curve = [1.0, 0.5], [0.9, 0.4], [1.1, 0.6]
    names = {
        "segments": ("regret", "return", "cloning"),
        "actions": ("regret", "return", "cloning"),
        "loss": ("regret",),
        "unseen": ("λ",),
        "bias": ("0.1", "1"),
        "discount": ("actions", "segments", "regret", "myopic"),
        "null": ("log-probabilities", "policies"),
        "exact": ("exact",),
    }
    panels = {
        panel: [Line(name, [64.0, 128.0], *curve, 0.25 if panel == "actions" else None) for name in lines]
        for panel, lines in names.items()
    }
    rates = [
        Rate(panel, name, Interval(-0.5, -0.6, -0.4))
        for panel in ("segments", "actions", "loss")
        for name in names[panel]
    ]
    return Result(cpl_consistency.Config(), panels, rates, 1e-9)


def test_short_segments_begin_in_one_state_and_end_in_the_padding(mdps, data):
    assert data.first.states.shape == (2, 64, 3)
    np.testing.assert_array_equal(data.first.states[..., 0], data.second.states[..., 0])
    assert (data.first.states[..., 0] < 3).all()
    assert (data.first.states[..., 1:] == 3).all()
    # a partial return of one step is the reward, and the label's log-odds a difference of two
    rows = np.arange(2)[:, None]
    reward = np.asarray(mdps.reward)
    paid = [reward[rows, side.states[..., 0], side.actions[..., 0]] for side in (data.first, data.second)]
    expected = 1 / (1 + np.exp(paid[1] - paid[0]))
    np.testing.assert_allclose(data.probability["return"], expected, rtol=1e-12)


def test_labels_are_nested_and_spread_over_the_pairs(data):
    few, many, exact = (cpl_data.labelled(data, "regret", n) for n in (8, 64 * 4, None))
    assert np.asarray(few.weight).sum(1).tolist() == [8, 8]
    assert np.asarray(many.weight).tolist() == [[4.0] * 64] * 2
    first = data.chance[:, 0] < data.probability["regret"]
    np.testing.assert_array_equal(np.asarray(few.prefer_first), first)
    np.testing.assert_array_equal(np.asarray(exact.prefer_first), data.probability["regret"])
    assert np.abs(np.asarray(many.prefer_first) - data.probability["regret"]).max() <= 1


def test_unseen_mass_leaves_out_states_without_data(data):
    few = cpl_data.labelled(data, "regret", 1)
    policies = np.full((1, 2, 4, 2), np.log(0.5))
    for row in range(2):
        sides = {int(side.actions[row, 0, 0]) for side in (data.first, data.second)}
        # one state is seen: with both actions nothing is unseen, with one of them half of the mass
        assert cpl_data.unseen_mass(few, policies)[0, row] == (0.5 if len(sides) == 1 else 0.0)


def test_exact_labels_give_the_optimum_and_the_myopic_policy(mdps, data):
    settings = {"temperature": CONFIG.temperature, "bias": 1.0}
    sets = [cpl_data.labelled(data, rule, None) for rule in ("regret", "return")]
    regret, by_return = cpl_measures.fit(cpl_consistency.cpl, settings, mdps, sets)
    best = np.asarray(cpl_measures.optimum(mdps))
    assert np.abs(regret - best)[:, :3].max() < 1e-5
    myopic = cpl_measures.myopic(mdps)
    assert np.abs(by_return - myopic)[:, :3].max() < 1e-5
    # negative control: the two policies differ, and the metrics say so
    losses = cpl_measures.relative_loss(mdps, np.stack([regret, by_return]))
    assert (losses[0] < 1e-9).all()
    assert (losses[1] > 1e-4).all()
    errors = cpl_measures.rmse(mdps, np.stack([by_return]))
    expected = np.sqrt(((by_return - best)[:, :3] ** 2).mean((1, 2)))
    np.testing.assert_allclose(errors[0], expected, rtol=1e-9)


def test_the_exponent_of_an_exact_power_is_found():
    levels = [64, 128, 256]
    values = np.outer(np.asarray(levels) ** -0.5, [1.0, 3.0])
    rate = cpl_consistency._rate(CONFIG, "segments", "regret", levels, values)
    assert dataclasses.astuple(rate.exponent) == pytest.approx((-0.5, -0.5, -0.5))


@pytest.fixture(scope="module")
def result():
    return cpl_consistency.run(dataclasses.replace(CONFIG, seeds=6, mdps=2))


@pytest.mark.slow
def test_regret_labels_converge_and_the_others_do_not(result):
    rates = {(rate.panel, rate.name): rate.exponent.value for rate in result.rates}
    assert -0.65 < rates["segments", "regret"] < -0.4
    assert -1.3 < rates["loss", "regret"] < -0.7
    for panel in ("segments", "actions"):
        assert rates[panel, "cloning"] > -0.1
        ends = {curve.name: curve.middle[-1] for curve in result.panels[panel]}
        assert ends["return"] > 2 * ends["regret"]
    assert result.myopic_distance < 1e-4


@pytest.mark.slow
def test_the_weight_takes_mass_from_unseen_actions_and_costs_a_bias(result):
    (unseen,) = result.panels["unseen"]
    assert unseen.middle[0] < unseen.middle[-1]
    small, plain = result.panels["bias"]
    assert small.middle[-1] > 3 * plain.middle[-1]


@pytest.mark.slow
def test_comparisons_that_leave_no_direction_find_the_policy(result):
    for curve, total, floor in zip(result.panels["null"], (6, 3), (1, 0), strict=True):
        assert all(value >= max(total - n, floor) for n, value in zip(curve.x, curve.low, strict=True))
    (errors,) = result.panels["exact"]
    flat = dict(zip(result.panels["null"][1].x, result.panels["null"][1].high, strict=True))
    identified = [n for n in errors.x if flat[n] == 0]
    assert identified
    for n, error in zip(errors.x, errors.middle, strict=True):
        assert (error < 1e-3) if n in identified else (error > 1e-3 or flat[n] > 0)


@pytest.mark.slow
def test_a_run_survives_json_and_is_drawn(result):
    document = records.loads(records.dumps(records.encode(result)), "memory")
    assert records.decode(Result, document) == result
    assert len(cpl_consistency_plot.plot(result).axes) == 8


def test_the_figure_and_the_table_show_every_line():
    drawn = made_up()
    document = records.loads(records.dumps(records.encode(drawn)), "memory")
    assert records.decode(Result, document) == drawn
    figure = cpl_consistency_plot.plot(drawn)
    assert [axes.get_title(loc="left")[0] for axes in figure.axes] == list("abcdefgh")
    table = cpl_consistency_plot.table(drawn).splitlines()
    lines = sum(len(curves) for curves in drawn.panels.values())
    assert len([row for row in table if row.startswith("| ")]) == 2 + len(drawn.rates) + lines
    assert "| actions | return | 64 | 1 | 0.9 to 1.1 | 128 | 0.5 | 0.4 to 0.6 | 0.25 |" in table


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", 0, "seeds is 0"),
        ("temperature", 0.0, "temperature is 0"),
        ("biases", (0.5, 1.5), "biases is 1.5"),
        ("discounts", (1.0,), "discount is 1"),
        ("pairs", 3, "pairs is 3"),
    ],
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        cpl_consistency.run(dataclasses.replace(CONFIG, **{field: value}))


def test_quick_is_smaller():
    small = cpl_consistency.quick(cpl_consistency.Config())
    assert small.seeds * small.mdps < 80
    assert small.biases[-1] == 1.0
