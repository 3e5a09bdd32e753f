"""The map of breaking points: end to end on one method, and drawn from numbers."""

import dataclasses

import numpy as np
import pytest

from experiments.figures.breaking_points import plot as breaking_points_plot
from experiments.figures.breaking_points import run as breaking_points
from experiments.output import records
from nlhf.errors import InputError
from proofs_checks import breaking

CONFIG = breaking_points.Config(methods=("online_mirror_descent",), small=True, seed=3)


@pytest.fixture(scope="module")
def result() -> breaking_points.Result:
    return breaking_points.run(CONFIG)


def made_up() -> breaking_points.Result:
    """Every method, four sizes, two β; the claim breaks at three times its range for the larger one."""
    maps = []
    for method in breaking_points.Config().methods:
        scan = breaking.SCANS[method]
        points = []
        for actions in (2, 3, 5, 31):
            for beta, broken in ((0.0625, None), (0.5, 3.0)):
                proved = float(scan.proved(beta))
                points.append(
                    breaking_points.Point(
                        actions=actions,
                        beta=beta,
                        proved_to=proved,
                        holds_to=2 * proved,
                        violated_from=None if broken is None else broken * proved,
                        steps=[proved, 2 * proved, 3 * proved],
                        ratios=[0.75, 0.95, 0.99 if broken is None else 7.0],
                    )
                )
        maps.append(
            breaking_points.Map(method, scan.claim, "derived", points, [{"actions": 3, "factor": 3.0}])
        )
    return breaking_points.Result(breaking_points.Config(), maps)


def test_self_play_breaks_beyond_its_range_and_not_inside(result):
    (one,) = result.maps
    assert one.claim == "online_mirror_descent.kl"
    assert {point.actions for point in one.points} == {3}
    assert len({point.beta for point in one.points}) == len(one.points) >= 2
    for point in one.points:
        assert point.steps == sorted(point.steps)
        assert point.proved_to <= point.holds_to < point.violated_from
        for step, ratio in zip(point.steps, point.ratios, strict=True):
            if step <= point.holds_to:
                assert ratio <= 1 + breaking.EXCESS
            if step == point.violated_from:
                assert ratio > 1 + breaking.EXCESS
    assert one.instances[0]["ratio"] > 1 + breaking.EXCESS


def test_the_seed_decides(result):
    assert breaking_points.run(CONFIG) == result


def test_scans_of_several_seeds_are_pooled():
    def scan(grid, factor):
        place = {"actions": 3, "beta": 0.5, "proved_to": 1.0, "holds_to": 1.0, "violated_from": None}
        return {
            "claim": "egpo.kl",
            "points": [{**place, "grid": grid}],
            "instances": [{"actions": 3, "factor": factor}],
        }

    pooled = breaking_points.pool_scans(
        "egpo",
        [scan([[1.0, 0.5], [2.0, 1.2], [3.0, 0.9]], 2.0), scan([[1.0, 0.7], [1.5, 1.1], [2.0, 1.0]], 1.5)],
    )
    (point,) = pooled.points
    assert (point.steps, point.ratios) == ([1.0, 1.5, 2.0, 3.0], [0.7, 1.1, 1.2, 0.9])
    # a step below the first violation holds, one above it does not, whatever was found there
    assert (point.holds_to, point.violated_from) == (1.0, 1.5)
    assert pooled.instances == [{"actions": 3, "factor": 1.5}]


def test_result_survives_json(result):
    for one in (result, made_up()):
        document = records.loads(records.dumps(records.encode(one)), "memory")
        assert records.decode(breaking_points.Result, document) == one


def test_the_figure_has_a_panel_for_each_method_and_size():
    figure = breaking_points_plot.plot(made_up())
    assert len(figure.axes) == 5 * 3
    assert [axes.get_title() for axes in figure.axes[:3]] == ["3 actions", "5 actions", "31 actions"]
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::3]] == [
        "EGPO",
        "Nash Mirror Prox",
        "OMWU",
        "Nash-MD",
        "Online mirror descent",
    ]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        dots = [collection for collection in axes.collections if len(collection.get_offsets()) == 3]
        assert len(dots) == 2  # one column of dots for each β
        assert all(label.get_fontsize() >= 9 for label in axes.get_xticklabels() + axes.get_yticklabels())


def test_nash_md_is_drawn_by_its_mixture_weight():
    figure = breaking_points_plot.plot(made_up())
    axes = figure.axes[9]
    offsets = np.concatenate(
        [dots.get_offsets() for dots in axes.collections if len(dots.get_offsets()) == 3]
    )
    np.testing.assert_allclose(offsets[:, 1], [1, 2, 3, 1, 2, 3])


def test_the_table_has_a_row_for_each_method_size_and_beta():
    rows = breaking_points_plot.table(made_up()).splitlines()
    assert len(rows) == 2 + 5 * 4 * 2
    assert len({row.count("|") for row in rows}) == 1
    assert "| egpo.kl | derived | 3 | 0.0625 | 2 | 4 | not found | - |" in rows[4]
    assert "| egpo.kl | derived | 3 | 0.5 | 2 | 4 | 6 | 3.000 | - | 0.750000 |" in rows[5]


def test_local_limits_are_those_of_the_linearised_methods():
    limit = breaking_points_plot.local_limit
    assert breaking_points_plot._rotation(3) == pytest.approx(1 / np.sqrt(12))
    assert breaking_points_plot._rotation(101) == pytest.approx(1 / np.pi, rel=1e-3)
    assert breaking_points_plot._rotation(2) == 0
    tiny, beta = np.array([1e-6]), np.array([0.05, 0.1])
    assert limit("egpo", 101, tiny) == pytest.approx(np.pi, rel=2e-3)
    assert limit("omwu", 101, tiny) == pytest.approx(np.pi / np.sqrt(3), rel=2e-3)
    # η = 2β/(β² + s²) in composite form
    s = breaking_points_plot._rotation(5)
    eta = 2 * beta / (beta**2 + s**2)
    np.testing.assert_allclose(limit("online_mirror_descent", 5, beta), eta / (1 - eta * beta), rtol=2e-3)
    assert np.isnan(limit("nash_md", 5, beta)).all()
    assert np.isnan(limit("egpo", 2, beta)).all()  # two actions do not rotate


@pytest.mark.parametrize("method", ["egpo", "omwu", "online_mirror_descent"])
def test_the_local_limit_is_where_a_run_turns_away(method):
    import jax
    import jax.numpy as jnp

    from nlhf import algorithms, logspace
    from tabular.families import rock_paper_scissors
    from tabular.games import make_game
    from tabular.runner import run

    beta = 0.02
    (edge,) = breaking_points_plot.local_limit(method, 5, np.array([beta]))
    game = make_game(rock_paper_scissors(5), beta=beta)
    start = logspace.normalise(game.log_ref + 1e-6 * jax.random.normal(jax.random.key(0), (1, 5)))
    growth = []
    for share in (0.9, 1.1):
        g = share * float(edge)
        algorithm = getattr(algorithms, method)(g / (1 + g * beta), beta)._replace(claims=())
        trace = run(
            algorithm, game, num_steps=200, start=start, log_nash=game.log_ref, measures=("kl_to_nash",)
        )
        values = trace.of("kl_to_nash")
        growth.append(float(jnp.log(values[-1] / values[100])))
    assert growth[0] < 0 < growth[1]


@pytest.mark.parametrize(
    ("field", "value", "message"), [("seeds", 0, "seeds is 0"), ("methods", ("egop",), "'egop'")]
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        breaking_points.run(dataclasses.replace(CONFIG, **{field: value}))


def test_quick_is_smaller():
    assert breaking_points.quick(breaking_points.Config()).small
