"""The exploration figure of XPO: its separation, its ablation, its sweep, and the drawing of made-up ones."""

import figures
import numpy as np
import pytest

from experiments.figures.xpo_exploration import plot as xpo_exploration_plot
from experiments.figures.xpo_exploration import run as xpo_exploration
from experiments.figures.xpo_exploration.run import Cell, Config, Regret, Result, Sweep
from nlhf.errors import InputError

SMALL = Config(
    seeds=20,
    walls=(((24, 32, 40), 2000),),
    inverse_betas=(60, 800),
    horizons=(100, 400),
    ablation_rounds=400,
    optimism=(1e-3, 3e-2, 3e-1),
    sweep_rounds=400,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return xpo_exploration.run(SMALL)


@pytest.mark.slow
def test_online_dpo_meets_a_wall_and_xpo_does_not(result):
    dpo, xpo = result.rounds
    assert dpo.middle == sorted(dpo.middle)
    assert dpo.middle[-1] > 3 * dpo.middle[0]
    assert 0.06 < result.wall < 0.19
    assert max(xpo.middle) < dpo.middle[-1] / 2


@pytest.mark.slow
def test_regret_of_xpo_falls_alike_for_both_betas(result):
    levels = {panel.inverse_beta: panel.curve.middle for panel in result.regret if panel.curve.name == "xpo"}
    np.testing.assert_allclose(levels[60], levels[800], rtol=0.25)
    for panel in result.regret:
        if panel.curve.name == "xpo":
            assert -0.75 < panel.exponent < -0.25
        elif panel.inverse_beta == 800:
            np.testing.assert_allclose(panel.curve.middle, 3 / 16, rtol=1e-3)


@pytest.mark.slow
def test_only_both_together_solve_both_arms(result):
    solved = {(cell.arm, cell.draw, cell.bonus): cell.gap < 1 / 8 for cell in result.ablation}
    both = {
        (draw, bonus)
        for _, draw, bonus in solved
        if solved["good", draw, bonus] and solved["bad", draw, bonus]
    }
    assert both == {("reference", True)}
    assert len(solved) == 8


@pytest.mark.slow
def test_the_sweep_is_a_u_and_the_flipped_sign_fails_every_seed(result):
    good, flipped, bad, _ = result.sweep
    total = np.add(good.curve.middle, bad.curve.middle)
    assert total.argmin() == 1
    assert flipped.curve.name == "xpo_flipped"
    assert flipped.failed == [1.0] * 3
    assert good.failed[1] < 0.5
    assert figures.survives_json(xpo_exploration, result)


def made_up() -> Result:
    config = Config()
    betas = [beta for group, _ in config.walls for beta in group]
    caps = [cap for group, cap in config.walls for _ in group]
    regret = [
        Regret(beta, figures.series(method, config.horizons, 0.2, slope), slope)
        for beta in config.inverse_betas
        for method, slope in (("xpo", -0.5), ("dpo", 0.0))
    ]
    ablation = [
        Cell(arm, draw, bonus, 0.25, 0.5, 0.4, 0.6)
        for arm in ("good", "bad")
        for draw in ("on-policy", "reference")
        for bonus in (False, True)
    ]
    sweep = [
        Sweep(arm, figures.series(method, config.optimism, 0.2, slope), [1.0] * len(config.optimism))
        for arm, slope in (("good", -0.5), ("bad", 0.2))
        for method in ("xpo", "xpo_flipped")
    ]
    rounds = [figures.series("dpo", betas, 5.0, 4.0), figures.series("xpo", betas, 5.0)]
    return Result(config, rounds, caps, 0.125, regret, ablation, sweep)


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(xpo_exploration, drawn)
    figure = xpo_exploration_plot.plot(drawn)
    assert [axes.get_title(loc="left")[:3] for axes in figure.axes] == ["(a)", "(b)", "(c)", "(d)"]
    lines = xpo_exploration_plot.table(drawn).splitlines()
    assert "| good | on-policy | off | 0.250 | 50% | 40% to 60% |" in lines
    assert "Slope of the logarithm for online DPO: 0.1250, theory 1/8." in lines
    assert sum(line.startswith("| good | XPO") for line in lines) == 2


def test_settings_pick_their_own_lanes():
    settings = xpo_exploration._settings(SMALL, "xpo")
    assert len(settings) == len(set(settings))
    assert sum(one.panel == "sweep" and one.optimism < 0 for one in settings) == 6
    alphas = {one.horizon: one.optimism for one in settings if one.panel == "regret"}
    assert alphas == pytest.approx({100: 0.06, 400: 0.03})
    (bonus,) = {one.optimism for one in xpo_exploration._settings(SMALL, "vpo")}
    assert bonus == pytest.approx(0.03 * 400)  # VPO's α times β is XPO's α times its comparisons


@pytest.mark.parametrize(
    ("fields", "message"), [({"seeds": 0}, "seeds is 0"), ({"sweep_rounds": 401}, "last horizon is 400")]
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        xpo_exploration.run(figures.changed(SMALL, **fields))


def test_quick_is_smaller():
    quick = xpo_exploration.quick(Config())
    assert quick.seeds < Config().seeds
    assert xpo_exploration.quick(Config(seeds=3)).seeds == 3
