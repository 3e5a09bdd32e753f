"""The phase diagram of exploration: what is best where, and the drawing of made-up maps."""

import figures
import numpy as np
import pytest

from experiments.figures.exploration_phase_diagram import plot as exploration_phase_diagram_plot
from experiments.figures.exploration_phase_diagram import run as diagram
from experiments.figures.exploration_phase_diagram.run import INSTANCES, METHODS, Best, Config, Map, Result
from nlhf.errors import InputError

SMALL = Config(
    seeds=8,
    inverse_betas=(4, 200),
    horizons=(32, 512),
    longest_random=512,
    widths=(0.125, 0.5),
    tuning_seeds=2,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return diagram.run(SMALL)


def regret(result, instance, method, row, column):
    (each,) = (one for one in result.maps if one.instance == instance and one.method == method)
    return each.mean[row][column]


@pytest.mark.slow
def test_behind_the_wall_greedy_regret_is_linear_and_that_of_xpo_is_not(result):
    good = INSTANCES[0]
    for method in ("dpo", "dpo_reference"):
        # exp(200/8) rounds are out of reach: the gap of the reference, 3/8, in every round
        assert regret(result, good, method, 1, 1) == pytest.approx(0.375 * 512, rel=1e-3)
    assert regret(result, good, "xpo", 1, 1) < 0.375 * 512 / 3
    assert regret(result, INSTANCES[1], "dpo", 1, 1) < 1e-3 < regret(result, INSTANCES[1], "xpo", 1, 1)
    assert result.best[0].method[1][1] not in ("dpo", "dpo_reference")


@pytest.mark.slow
def test_maps_are_whole(result):
    assert len(result.maps) == len(INSTANCES) * len(METHODS)
    for each in result.maps:
        assert np.shape(each.mean) == (2, 2)
        assert (np.diff(each.mean) >= 0).all()  # regret adds up
        assert (each.width is not None) == (each.method == "kl_ucb")
        assert (np.asarray(each.low) <= each.mean).all()
    assert figures.survives_json(diagram, result)


def test_random_bandits_differ_by_seed_alone():
    family = diagram._families(SMALL)[1]
    seed = np.array([0, 1, 0, diagram.TUNING])
    bandits = family.make(np.array([4.0, 4.0, 8.0, 4.0]), np.zeros(4, int), seed)
    reward, log_ref = np.asarray(bandits.reward), np.asarray(bandits.log_ref)
    np.testing.assert_array_equal(reward[0], reward[2])
    assert (log_ref[0] != log_ref[1]).any()
    assert (log_ref[0] != log_ref[3]).any()
    np.testing.assert_allclose(np.exp(log_ref).sum(-1), 1)
    assert set(np.unique(reward)) <= {0.0, 0.5, 1.0}


def test_the_best_is_certain_only_where_its_interval_says_so():
    rng = np.random.default_rng(0)
    regrets = {method: 2 + rng.uniform(size=(12, 1, 2)) for method in METHODS}
    regrets["xpo"][:, 0, 0] -= 1.5  # clearly the best in one cell
    best = diagram._best("good rare arm", regrets)
    assert best.method[0][0] == "xpo"
    assert best.certain == [[True, False]]


def made_up() -> Result:
    config = Config()
    betas = len(config.inverse_betas)
    maps = []
    for instance in INSTANCES:
        horizons = list(config.horizons)
        for index, method in enumerate(METHODS):
            mean = (1 + index) * np.outer(np.arange(1, betas + 1), np.sqrt(horizons))
            width = 0.5 if method == "kl_ucb" else None
            low, high = (0.9 * mean).tolist(), (1.1 * mean).tolist()
            maps.append(Map(instance, method, horizons, mean.tolist(), low, high, [0.5] * betas, width))
    cells = (betas, len(config.horizons))
    best = [
        Best(instance, np.full(cells, "xpo").tolist(), np.full(cells, True).tolist())
        for instance in INSTANCES
    ]
    return Result(config, maps, best)


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(diagram, drawn)
    figure = exploration_phase_diagram_plot.plot(drawn)
    assert len(figure.axes) == len(INSTANCES) * (len(METHODS) + 3)  # maps, scale, best, cut
    lines = exploration_phase_diagram_plot.table(drawn).splitlines()
    rows = [line for line in lines if line.endswith("| XPO |")]
    assert len(rows) == len(INSTANCES) * len(drawn.config.inverse_betas) * len(drawn.config.horizons)


def test_the_theory_is_matched_at_both_ends():
    drawn = made_up()
    maps = [each for each in drawn.maps if each.instance == INSTANCES[0]]
    x = np.asarray(drawn.config.inverse_betas, float)
    curve = exploration_phase_diagram_plot.theory(maps, x)
    last = np.asarray(maps[-1].mean)[:, -1]
    assert curve[0] == pytest.approx(last[0])
    assert curve[-1] == pytest.approx(last.max())
    assert (np.diff(curve) >= 0).all()


@pytest.mark.parametrize(
    ("fields", "message"), [({"seeds": 0}, "seeds is 0"), ({"longest_random": 32}, "two horizons")]
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        diagram.run(figures.changed(SMALL, **fields))


def test_quick_is_smaller():
    quick = diagram.quick(Config())
    assert quick.seeds < Config().seeds
    assert len(quick.inverse_betas) < len(Config().inverse_betas)
