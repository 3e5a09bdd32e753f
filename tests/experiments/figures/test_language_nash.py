"""The figure of transformers on an enumerable language: its claim at a small size, its parts, its drawing."""

import figures
import numpy as np
import pytest

from experiments.figures.language_nash import plot as language_nash_plot
from experiments.figures.language_nash import run as language_nash
from experiments.figures.language_nash.run import METHODS, TABLE, TRANSFORMER, Config, Line, Panel, Result
from nlhf.errors import InputError


def made_up() -> Result:
    config = Config(seeds=2)
    names = [(name, kind) for name in METHODS for kind in (TRANSFORMER, TABLE)]

    def curve(name, kind, height):
        middle = [height, height / 10, height / 100]
        low, high = [0.5 * y for y in middle], [2 * y for y in middle]
        return Line(name, [0.0, 80.0, 160.0], middle, low, high, kind)

    panels = [
        Panel(
            length,
            [curve(name, kind, 1.0) for name, kind in names if (name, kind) != ("nash_md_token", TABLE)],
            [curve(name, TRANSFORMER, 1e-3) for name in ("nash_md", "nash_md_token")],
            [curve("egpo", TRANSFORMER, 1e-2)],
            [1.0, 1.1],
            {name: [1e-2, 2e-2] for name in METHODS},
            {name: [3e-4, 5e-4] for name in METHODS},
        )
        for length in (3, 4)
    ]
    return Result(config, panels)


def test_the_figure_and_its_table_are_drawn_from_numbers_alone():
    drawn = made_up()
    assert figures.survives_json(language_nash, drawn)
    figure = language_nash_plot.plot(drawn)
    assert len(figure.axes) == 6
    lines = language_nash_plot.table(drawn).splitlines()
    assert "| 512 | EGPO | transformer | 160 | 1.00e-02 | 5.00e-03 | 2.00e-02 | 4.00e-04 |" in lines
    assert "| 4096 | Nash-MD, mixture of tokens | 2.00e-03 |" in lines


def test_a_result_is_drawn_after_a_change_of_goal_post():
    """Curves above and below the dotted line are both inside the axes."""
    drawn = made_up()
    axes = language_nash_plot.plot(drawn).axes[0]
    low, high = axes.get_ylim()
    assert low < 1e-3 < high
    assert high > max(drawn.panels[0].start)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seeds": 0}, "seeds is 0"),
        ({"step_size": 11.0}, "step_size is 11"),
        ({"methods": ("egpo", "ppo")}, "give some of egpo, nash_mirror_prox"),
        ({"lengths": ()}, "one length at least"),
        ({"vocabulary": 1}, "vocabulary is 1"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        language_nash.run(figures.changed(Config(), **fields))


def test_quick_is_smaller():
    quick = language_nash.quick(Config())
    assert quick.seeds == 1
    assert quick.queries < Config().queries


@pytest.mark.slow
def test_transformers_reach_the_exact_nash():
    """Vocabulary 8, strings of 3: EGPO and Nash Mirror Prox end below 1e-3, with the table's limit."""
    config = Config(seeds=1)
    calls = []
    result = language_nash.run(config, lambda what, total: calls.append((what, total)))
    assert len(calls) == 4
    assert {total for _, total in calls} == {4}
    (panel,) = result.panels
    assert panel.start[0] > 0.05
    for name in ("egpo", "nash_mirror_prox"):
        assert panel.final[name][0] <= 1e-3, (name, panel.final)
    tables = {curve.name: curve.middle for curve in panel.distance if curve.world == TABLE}
    assert tables["egpo"][-1] < 1e-6
    # a constant step of Nash-MD has a biased limit, the same in both worlds
    assert panel.final["nash_md"][0] > 10 * tables["egpo"][-1]
    assert abs(np.log(panel.final["nash_md"][0] / tables["nash_md"][-1])) < np.log(3)
    # moved from the mixture of tokens, it ends elsewhere: what differs adds up over 1/(ηβ) steps
    assert panel.final["nash_md_token"][0] > 10 * panel.final["nash_md"][0]
    # both kinds of mixture agree at the ends, and differ between them
    (by_weight,) = panel.by_weight
    assert max(by_weight.middle[0], by_weight.middle[-1]) < 1e-10
    assert by_weight.middle[5] > 1e-7
    assert figures.survives_json(language_nash, result)
