"""The slack figure: its curves are those of the referee, end to end on one method and drawn from numbers."""

import dataclasses

import numpy as np
import pytest

from experiments.figures.slack import plot as slack_plot
from experiments.figures.slack import run as slack
from experiments.output import records
from nlhf.errors import InputError
from proofs_checks import claims
from proofs_checks.rows import Effort

CONFIG = slack.Config(variants=("nash_md.constant",), small=True, seed=5)


@pytest.fixture(scope="module")
def result() -> slack.Result:
    return slack.run(CONFIG)


def made_up() -> slack.Result:
    """Every claim there is, with curves that no method made."""
    panels = []
    for variant in claims.VARIANTS:
        for claim in claims.claims_of(variant):
            curve = [0.9, 0.5, None]
            bank = {"game": "near_tie", "reference": "uniform", "actions": 4, "beta": 0.25, "step_size": 1.0}
            panels.append(
                slack.Panel(
                    variant,
                    claim.name,
                    claim.status,
                    claim.statement,
                    instances=7,
                    median=[0.1, 0.01, 0.001],
                    low=[None, None, None],
                    high=curve,
                    worst=slack.Instance(bank, curve, 0.9, 1),
                    adversarial=slack.Instance({"actions": 3, "beta": 0.125}, [None, 0.95, 0.2], 0.95, 2),
                )
            )
    return slack.Result(slack.Config(), panels)


@pytest.mark.slow
def test_every_claim_of_the_method_is_there_and_holds(result):
    check_panels(result)


@pytest.mark.slow
def test_both_games_of_two_methods_and_two_seeds():
    variants = ("online_mirror_descent", "omwu")
    result = slack.run(dataclasses.replace(CONFIG, variants=variants, seeds=2))
    check_panels(result)


def check_panels(result):
    names = [claim.name for variant in result.config.variants for claim in claims.claims_of(variant)]
    assert sorted(panel.name for panel in result.panels) == sorted(names)
    for panel in result.panels:
        assert panel.instances == 32 * result.config.seeds  # a fifth of the quick bank
        assert len(panel.median) == len(panel.worst.ratio) == len(panel.adversarial.ratio) == 60
        for instance in (panel.worst, panel.adversarial):
            assert 0 < instance.highest <= 1 + 1e-9
            assert instance.ratio[instance.step - 1] == instance.highest


@pytest.mark.slow
def test_the_worst_is_that_of_the_ledger(result):
    panel = result.panels[0]
    claim = claims.claims_of("nash_md.constant")[0]
    outcome = claims.judge_claim("nash_md.constant", claim, Effort(5, True))
    assert panel.worst.highest == outcome.detail["worst at the longest step"]


@pytest.mark.slow
def test_the_adversarial_instance_runs_again_to_its_ratio(result):
    for panel in result.panels:
        found = panel.adversarial.about
        assert panel.adversarial.ratio[found["step"] - 1] == pytest.approx(found["ratio"], rel=1e-9)
        assert panel.adversarial.highest >= found["ratio"] * (1 - 1e-9)
        assert len(found["log_ref"]) == found["actions"]


@pytest.mark.slow
def test_quantiles_are_ordered(result):
    for panel in result.panels:
        for low, median, high in zip(panel.low, panel.median, panel.high, strict=True):
            assert (low or 0) <= (median or 0) <= (high or 0) <= panel.worst.highest


@pytest.mark.slow
def test_the_seed_decides(result):
    assert slack.run(CONFIG) == result


def test_a_replay_follows_theory():
    (claim, _) = claims.claims_of("online_mirror_descent")
    (other,) = slack._replay("online_mirror_descent", [claim], [_tie()], 5)
    # two actions do not rotate: KL falls by (1 - ηβ)² a step near equilibrium, the bound by 1 - ηβ
    assert other.ratio == pytest.approx(0.5 ** np.arange(1, 6), rel=0.02)


def _tie() -> dict:
    """Two actions that tie, started close to the equilibrium; ηβ = 1/2."""
    return {
        "actions": 2,
        "beta": 0.5,
        "step_size": 1.0,
        "advantage": [[0.0, 0.0], [0.0, 0.0]],
        "log_ref": [np.log(0.5)] * 2,
        "log_nash": [np.log(0.5)] * 2,
        "log_start": [np.log(0.51), np.log(0.49)],
    }


def test_what_rounding_may_have_made_is_cut():
    values = np.array([[4.0, 2.0, 1.0, 0.5]])
    ceiling = np.array([[4.0, 4.0, 4.0, 4.0]])
    shown = slack._shown(values, np.array([[1.0, 0.5, 0.2, 0.05]]), ceiling)
    # at step 0 nothing has moved; at the last less than half of 0.125 was left
    np.testing.assert_array_equal(shown, [[np.nan, 0.5, 0.2, 0.0]])
    assert slack._cut(shown[0]) == [None, 0.5, 0.2, None]


def test_quantiles_count_the_floor_as_zero_and_leave_out_what_has_not_moved():
    rows = np.array([[np.nan, 0.0], [np.nan, 0.4], [np.nan, 0.8]])
    assert slack._quantile(rows, 0.5) == [None, pytest.approx(0.4)]
    assert slack._quantile(rows, 0.0) == [None, None]


def survives_json(one):
    document = records.loads(records.dumps(records.encode(one)), "memory")
    return records.decode(slack.Result, document) == one


def test_a_result_survives_json():
    assert survives_json(made_up())


@pytest.mark.slow
def test_a_measured_result_survives_json(result):
    assert survives_json(result)


def test_the_figure_has_a_panel_a_claim_and_keeps_methods_together():
    drawn = made_up()
    figure = slack_plot.plot(drawn)
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == len(drawn.panels)
    titles = [axes.get_title(loc="left") for axes in visible]
    assert sorted(titles) == sorted(
        f"{panel.name.split('.', 1)[1]}\n{slack_plot.STATUS[panel.status]}" for panel in drawn.panels
    )
    places = slack_plot.layout(drawn.panels)
    assert len(set(places)) == len(places)
    for method in {panel.name.split(".")[0] for panel in drawn.panels}:
        mine = [
            place
            for place, panel in zip(places, drawn.panels, strict=True)
            if panel.name.split(".")[0] == method
        ]
        assert len({row for row, _ in mine}) == 1
        assert [column for _, column in mine] == list(range(mine[0][1], mine[0][1] + len(mine)))


def test_the_table_has_a_row_a_claim():
    drawn = made_up()
    rows = slack_plot.table(drawn).splitlines()
    assert len(rows) == 2 + len(drawn.panels)
    assert len({row.count("|") for row in rows}) == 1
    assert "| 0.9 | 1 | near tie, A = 4, β = 0.25 | 0.95 | 2 | 3 | 0.125 |" in rows[2]


@pytest.mark.parametrize(
    ("field", "value", "message"), [("seeds", 0, "seeds is 0"), ("variants", ("egop",), "'egop'")]
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        slack.run(dataclasses.replace(CONFIG, **{field: value}))


def test_quick_is_smaller():
    assert slack.quick(slack.Config()).small
