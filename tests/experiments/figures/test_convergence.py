"""The convergence figure on a tiny configuration: what theory says must be visible in its numbers."""

import dataclasses

import numpy as np
import pytest

from experiments.figures.convergence import plot as convergence_plot
from experiments.figures.convergence import run as convergence
from experiments.figures.convergence.games import TITLES
from experiments.figures.convergence.methods import REGULARISED, UNREGULARISED
from experiments.output import records
from nlhf.errors import InputError

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

CONFIG = convergence.Config(seeds=2, betas=(0.3,), queries_unregularised=400, seed=3)
LINEAR = ("online_mirror_descent", "nash_prox", "omwu", "egpo", "nash_mirror_prox")


@pytest.fixture(scope="module")
def result() -> convergence.Result:
    return convergence.run(CONFIG)


def curves(result, *, regularised):
    for panel in result.panels:
        if (panel.beta > 0) == regularised:
            for curve in panel.curves:
                yield panel, curve


def test_every_game_and_method_is_there(result):
    assert [panel.game for panel in result.panels] == [*TITLES, *TITLES]
    for panel in result.panels:
        methods = REGULARISED if panel.beta else UNREGULARISED
        assert [curve.name for curve in panel.curves] == list(methods)


def test_measured_stays_below_every_proved_bound(result):
    checked = 0
    for panel in result.panels:
        for curve in panel.curves:
            if curve.bound is not None:
                assert curve.worst_ratio <= 1 + 1e-9, (panel.game, curve.name)
                checked += 1
    assert checked == len(TITLES) * (len(LINEAR) + 2 + 3)


def test_fitted_linear_rates_are_at_least_the_proved_ones(result):
    for panel, curve in curves(result, regularised=True):
        if curve.name in LINEAR:
            assert curve.rate.low >= curve.proved_rate, (panel.game, curve.name)


def test_biased_methods_stall_where_the_solver_predicts(result):
    stalled = [(p, c) for p, c in curves(result, regularised=True) if c.limit is not None]
    assert {curve.name for _, curve in stalled} == {"nash_md", "ipo_md"}
    for panel, curve in stalled:
        assert curve.final == pytest.approx(curve.limit, rel=0.02), (panel.game, curve.name)


def test_unbiased_methods_pass_the_stalled_ones(result):
    for panel in result.panels:
        if panel.beta:
            final = {curve.name: curve.final for curve in panel.curves}
            unbiased = ("nash_mirror_prox", "online_mirror_descent", "omwu", "egpo")
            assert max(final[m] for m in unbiased) < 1e-20 < final["nash_md"]
            assert final["nash_prox"] < final["ipo_md"]
            assert panel.floor < 1e-25


def test_egpo_lies_on_mirror_prox(result):
    for panel in result.panels:
        if panel.beta:
            by_name = {curve.name: curve for curve in panel.curves}
            egpo, prox = np.array(by_name["egpo"].middle), np.array(by_name["nash_mirror_prox"].middle)
            high = prox > 1e-20
            np.testing.assert_allclose(egpo[high], prox[high], rtol=1e-4)


def test_result_survives_json_and_the_figure_is_drawn_from_it(result):
    document = records.loads(records.dumps(records.encode(result)), "memory")
    again = records.decode(convergence.Result, document)
    assert again == result
    figure = convergence_plot.plot(again)
    assert len(figure.axes) == len(result.panels)
    assert all(axes.get_yscale() == "log" and axes.lines for axes in figure.axes)
    rows = convergence_plot.table(again).splitlines()
    assert len(rows) == 2 + sum(len(panel.curves) for panel in result.panels)


def test_quick_is_smaller():
    quick = convergence.quick(convergence.Config())
    assert quick.seeds < convergence.Config().seeds
    assert len(quick.betas) < len(convergence.Config().betas)


@pytest.mark.parametrize(
    ("field", "value", "message"), [("seeds", 0, "seeds is 0"), ("betas", (0.0,), "> 0")]
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        convergence.run(dataclasses.replace(CONFIG, **{field: value}))


def test_horizon_is_where_the_bound_meets_the_floor():
    for beta in (0.03, 0.1, 1.0):
        fallen = convergence.horizon(beta) / 2 * np.log1p(2 * beta)
        assert 28 * np.log(10) <= fallen <= 28 * np.log(10) + 20 * np.log1p(2 * beta)
