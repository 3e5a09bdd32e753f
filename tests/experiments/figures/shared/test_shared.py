"""What all figures share: curves and intervals over seeds, parts in threads, labels, one palette."""

import ast
import dataclasses
import pathlib

import numpy as np
import pytest

from experiments.figures.shared import panels
from experiments.figures.shared.calls import in_threads
from experiments.figures.shared.curves import Brief, announced, bootstrap, bootstrap_ratio, check_seeds, curve
from experiments.figures.shared.palette import STYLES, style
from nlhf import METHODS
from nlhf.errors import InputError

FIGURES = pathlib.Path(__file__).parents[4] / "experiments" / "figures"


def test_an_interval_covers_its_mean_at_its_level():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 60, 1))
    covered = []
    for sample in values:
        middle, low, high = bootstrap(sample)
        np.testing.assert_allclose(middle, sample.mean(0))
        covered.append(low[0] <= 0 <= high[0])
    assert 0.88 < np.mean(covered) < 0.99


def test_an_interval_of_another_statistic_resamples_seeds():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [9.0, 5.0]])
    middle, low, high = bootstrap(values, np.median)
    np.testing.assert_array_equal(middle, [2.0, 5.0])
    assert low[0] == 1
    assert high[0] == 9
    assert low[1] == high[1] == 5


def test_a_ratio_of_ones_is_the_mean_and_its_interval_covers_it():
    values = np.random.default_rng(1).normal(size=(400, 2))
    middle, low, high = bootstrap_ratio(values, np.ones_like(values), seed=[0, 1], resamples=1000)
    np.testing.assert_allclose(middle, values.mean(0))
    # the normal interval, 2 x 1.96 standard errors wide
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std(0) / 20, rtol=0.15)


def test_threads_return_what_they_are_asked_in_order():
    said = []
    calls = {name: (lambda name=name: name.upper()) for name in "cab"}
    made = in_threads(calls, lambda what, total: said.append((what, total)))
    assert list(made.items()) == [("c", "C"), ("a", "A"), ("b", "B")]
    assert sorted(said) == [("a", 3), ("b", 3), ("c", 3)]


@pytest.mark.parametrize("seeds", [0, 1001])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(InputError, match=f"seeds is {seeds}"):
        check_seeds(seeds)


def test_labels_keep_apart_and_below_the_top():
    placed = panels.spread([0.99, 0.98, 0.5, 0.97], 0.1)
    assert max(placed) <= 1
    ordered = np.sort(placed)
    assert (np.diff(ordered) >= 0.1 - 1e-6).all()
    assert np.argsort(placed).tolist() == [2, 3, 1, 0]


def test_every_method_and_variant_has_its_own_colour_and_label():
    assert len({style.colour for style in STYLES.values()}) == len(STYLES)
    assert len({style.label for style in STYLES.values()}) == len(STYLES)
    assert all(style(name) == (method.label, method.colour) for name, method in METHODS.items())


@pytest.mark.parametrize(
    "path", sorted(FIGURES.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_no_figure_writes_the_colour_of_a_method_itself(path):
    if path.name == "palette.py":
        return
    taken = {style.colour.lower() for style in STYLES.values()} - {"#000000"}
    words = {
        node.value.lower()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not taken & words


def test_a_result_sums_itself_up_in_one_line():
    @dataclasses.dataclass(frozen=True, repr=False)
    class Result(Brief):
        config: dict
        curves: list
        slope: float

    line = curve("egpo", range(500), np.zeros((3, 500)))
    shown = repr(Result({"seeds": 3}, [line] * 7, 0.125))
    assert shown == "Result(curves[7], slope=0.125)"
    assert repr(line) == "Curve(name='egpo', x[500], middle[500], low[500], high[500])"


def test_a_run_announces_its_units_unless_it_is_given_what_to_call(capsys):
    @announced
    def run(config, progress):
        progress("the only part", 1)
        return config

    assert run(3) == 3
    assert "1 of 1: the only part" in capsys.readouterr().err
    said = []
    assert run(4, lambda what, total: said.append((what, total))) == 4
    assert said == [("the only part", 1)]
    assert capsys.readouterr().err == ""
