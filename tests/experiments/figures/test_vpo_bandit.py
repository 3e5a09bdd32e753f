"""VPO on bandits: order of the methods, the wall, and the drawing of made-up results."""

import figures
import numpy as np
import pytest

from experiments.figures.vpo_bandit import plot as vpo_bandit_plot
from experiments.figures.vpo_bandit import run as vpo_bandit
from experiments.figures.vpo_bandit.run import PROBLEMS, PROGRAMS, Config, Panel, Result
from nlhf.errors import InputError

SMALL = Config(
    seeds=12,
    problems=PROBLEMS[:1],
    programs=("vpo", "xpo"),
    betas=(0.1, 1.0),
    rounds=300,
    walls=(((5, 7, 9), 40_000),),
)


@pytest.fixture(scope="module")
def result() -> Result:
    return vpo_bandit.run(SMALL)


@pytest.mark.slow
def test_at_a_small_beta_the_draw_of_the_reference_decides(result):
    small, large = result.panels
    regret = {curve.name: curve.middle[-1] for curve in small.curves}
    assert max(regret["xpo"], regret["dpo_reference"]) < 0.8 * min(regret["vpo"], regret["dpo"])
    assert max(large.exponent) < 0.6
    for panel in result.panels:
        for curve in panel.curves:
            assert (np.diff(curve.middle) >= 0).all()


@pytest.mark.slow
def test_vpo_needs_exponentially_many_rounds_to_leave_the_bad_arm(result):
    vpo, xpo = result.wall
    assert 0.65 < result.slope < 1.1
    assert vpo.middle == sorted(vpo.middle)
    assert xpo.middle[-1] < vpo.middle[-1] / 2
    assert figures.survives_json(vpo_bandit, result)


def made_up() -> Result:
    config = Config()
    methods = [method for names in PROGRAMS.values() for method in names]
    panels = [
        Panel(
            problem,
            beta,
            [figures.series(method, [1, 10, 100], 0.5, 0.5) for method in methods],
            [0.5] * len(methods),
        )
        for problem in PROBLEMS
        for beta in config.betas
    ]
    betas = [beta for group, _ in config.walls for beta in group]
    caps = [cap for group, cap in config.walls for _ in group]
    wall = [figures.series("vpo", betas, 100.0, 9.0), figures.series("xpo", betas, 5.0)]
    return Result(config, panels, wall, caps, 0.875)


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(vpo_bandit, drawn)
    assert len(vpo_bandit_plot.plot(drawn).axes) == len(drawn.panels) + 1
    lines = vpo_bandit_plot.table(drawn).splitlines()
    assert "| 10-armed bandit | 0.1 | VPO | 100 | 5 | 4 to 6 | 0.50 |" in lines
    assert sum("linear contextual" in line for line in lines) == 3 * 7


def test_features_give_rewards_of_the_size_of_the_other_problem():
    bandits = vpo_bandit._linear(Config(seeds=20), np.arange(20), np.full(20, 0.1))
    reward = np.asarray(bandits.reward)
    assert reward.shape == (20, 10, 10)
    assert reward.min() >= 0
    assert 0.3 < np.ptp(reward, axis=-1).mean() < 1.2
    features = vpo_bandit._features(0)
    residual = np.linalg.lstsq(features.reshape(100, -1), reward.reshape(20, 100).T, rcond=None)[1]
    assert residual.max() < 1e-20


@pytest.mark.parametrize(
    ("fields", "message"), [({"seeds": 0}, "seeds is 0"), ({"rounds": 3}, "rounds is 3")]
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        vpo_bandit.run(figures.changed(SMALL, **fields))


def test_quick_is_smaller():
    quick = vpo_bandit.quick(Config())
    assert quick.seeds < Config().seeds
    assert quick.problems == PROBLEMS[:1]
