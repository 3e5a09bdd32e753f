"""A tiny run of the figure goes through to picture and table; the slow suite checks its order."""

import dataclasses

import numpy as np
import pytest

from experiments.figures.cpl_cartpole import plot as cpl_cartpole_plot
from experiments.figures.cpl_cartpole import run as cpl_cartpole
from experiments.output import records
from nlhf.errors import InputError

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

TINY = cpl_cartpole.Config(
    seeds=2, pairs=(8, 16), length=5, grid=(3, 3, 5, 5), width=4, batch=4, updates=2, episodes=2
)


@pytest.fixture(scope="module")
def result():
    return cpl_cartpole.run(TINY)


def test_result_holds_every_method_and_survives_the_file(result):
    assert list(result.curves) == list(cpl_cartpole.METRICS)
    for metric, curves in result.curves.items():
        assert [curve.name for curve in curves] == list(cpl_cartpole.METHODS)
        for curve in curves:
            assert len(curve.middle) == 2
            assert np.min(curve.low) >= (metric != "distance")
    assert 0 <= result.label_agreement <= 1
    assert records.decode(cpl_cartpole.Result, records.encode(result), "result") == result


def test_table_and_picture(result):
    table = cpl_cartpole_plot.table(result)
    assert sum(line.startswith("| ") for line in table.splitlines()) == 1 + 2 * len(cpl_cartpole.METHODS)
    assert "residual of the grid" in table
    figure = cpl_cartpole_plot.plot(result)
    assert len(figure.axes) == 3
    assert set(cpl_cartpole_plot.LINES) == set(cpl_cartpole.METHODS)


def test_quick_is_smaller_and_one_seed_is_refused():
    config = cpl_cartpole.Config()
    assert cpl_cartpole.quick(config).updates < config.updates
    with pytest.raises(InputError, match="seeds"):
        cpl_cartpole.run(dataclasses.replace(TINY, seeds=1))


@pytest.mark.slow
def test_only_regret_labels_lead_to_the_optimum():
    config = dataclasses.replace(cpl_cartpole.Config(), seeds=3, pairs=(1000,))
    distance = {curve.name: curve.middle[0] for curve in cpl_cartpole.run(config).curves["distance"]}
    assert distance["cpl"] < 0.5 * distance["cloning_preferred"]
    assert distance["cpl"] < 0.5 * distance["cpl_partial_return"]
