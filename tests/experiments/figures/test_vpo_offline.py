"""Learning from a fixed data set: the data that are drawn, the order of the methods, and the drawing."""

import figures
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.shared import exploration
from experiments.figures.vpo_offline import plot as vpo_offline_plot
from experiments.figures.vpo_offline import run as vpo_offline
from experiments.figures.vpo_offline.run import METHODS, PANELS, Config, Panel, Result
from nlhf.errors import InputError

SMALL = Config(seeds=40, sizes=(100, 1600), rare=(5e-2, 3e-3))


@pytest.fixture(scope="module")
def result() -> Result:
    return vpo_offline.run(SMALL)


@pytest.mark.slow
def test_more_data_help_and_pessimism_helps_more(result):
    size = result.panels[0]
    vpo, dpo, _, _ = size.curves
    assert vpo.name == "vpo"
    assert vpo.middle[1] < 0.6 * vpo.middle[0]
    assert (np.asarray(vpo.middle) < dpo.middle).all()
    assert vpo.middle[0] < size.start[0]
    assert result.exponents[0] < -0.3


@pytest.mark.slow
def test_dpo_fails_where_other_policies_are_not_covered_and_pessimism_does_not(result):
    vpo, dpo, _, _ = result.panels[2].curves
    assert dpo.middle[1] > 3 * dpo.middle[0]
    assert vpo.middle[1] < dpo.middle[1] / 3
    assert max(result.panels[2].best_coverage) < 4


@pytest.mark.slow
def test_every_method_gets_worse_where_the_best_policy_is_not_covered(result):
    best = result.panels[1]
    assert best.curves[0].x == best.best_coverage
    for curve in best.curves[:2]:
        assert curve.middle[1] > curve.middle[0]
    assert figures.survives_json(vpo_offline, result)


def test_data_are_drawn_from_the_behaviour_policy_with_bradley_terry_labels():
    lanes = 3
    reward = np.tile(np.append(1.0, np.zeros(9)), (lanes, 1))
    behaviour = np.append([0.6], np.full(9, 0.4 / 9))
    bandits = exploration.lane_bandits(reward, np.full((lanes, 10), -np.log(10)), np.full(lanes, 0.1))
    log_behaviour = jnp.asarray(np.tile(np.log(behaviour), (lanes, 1, 1)))
    sizes = np.array([5, 1000, 4000])
    keys = exploration.keys(0, np.arange(lanes))
    data = vpo_offline._draw(keys, bandits, log_behaviour, jnp.asarray(sizes), 4000)
    weight = np.asarray(data.weight)
    np.testing.assert_array_equal(weight.sum(-1), sizes)
    first, second, label = (np.asarray(column)[2] for column in (data.first, data.second, data.prefer_first))
    assert abs(weight[2][first == 0].sum() / 4000 - 0.6) < 0.04
    assert abs(weight[2][second == 0].sum() / 4000 - 0.6) < 0.04
    against = (first == 0) & (second != 0)
    wins = weight[2][against & (label == 1)].sum() / weight[2][against].sum()
    assert abs(wins - 1 / (1 + np.exp(-1))) < 0.06


def test_lanes_have_the_coverage_that_they_are_for():
    lanes = vpo_offline._lanes(SMALL)
    behaviour = np.exp(np.asarray(lanes.log_behaviour))[:, 0]
    np.testing.assert_allclose(behaviour.sum(-1), 1)
    assert lanes.points == [
        (PANELS[0], 100), (PANELS[0], 1600),
        (PANELS[1], 1 / 5e-2), (PANELS[1], 1 / 3e-3), (PANELS[2], 1 / 5e-2), (PANELS[2], 1 / 3e-3),
    ]  # fmt: skip
    last = behaviour[-SMALL.seeds :]
    np.testing.assert_allclose(last.min(-1), 3e-3)
    np.testing.assert_allclose(last[:, 0], 0.5)


def made_up() -> Result:
    panels = [
        Panel(
            name,
            [2.0, 20.0],
            [figures.series(method, [50, 500], 0.2, -0.5) for method in METHODS],
            [0.3, 0.3],
            [0.75, 1.0],
        )
        for name in PANELS
    ]
    return Result(Config(), panels, [-0.5] * 4)


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(vpo_offline, drawn)
    assert len(vpo_offline_plot.plot(drawn).axes) == 3
    lines = vpo_offline_plot.table(drawn).splitlines()
    assert len(lines) == 2 + 6 + 2
    assert lines[2].startswith("| size | 50 | 2 | 0.2000 (0.1600 to 0.2400) |")
    assert lines[-1] == "Exponents in N: VPO, pessimistic -0.50, DPO -0.50, IPO -0.50, SLiC -0.50."


@pytest.mark.parametrize(("fields", "message"), [({"seeds": 0}, "seeds is 0"), ({"rare": (0.2,)}, "rare is")])
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        vpo_offline.run(figures.changed(SMALL, **fields))


def test_quick_is_smaller():
    assert vpo_offline.quick(Config()).seeds < Config().seeds
