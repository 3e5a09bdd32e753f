import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy.special import expit

from experiments.figures.people_vs_models import data as people_data
from experiments.figures.people_vs_models import fit as people_fit
from experiments.figures.people_vs_models import plot as people_vs_models_plot
from experiments.figures.people_vs_models import policies as people_policies
from experiments.figures.people_vs_models import run as people_vs_models
from experiments.output import records
from nlhf.errors import InputError
from tabular.people.data_sets import Votes
from tabular.people.vote_cells import places

CONFIG = people_vs_models.quick(people_vs_models.Config())


@pytest.fixture(scope="module")
def result():
    units = []
    found = people_vs_models.run(CONFIG, lambda what, total: units.append(total))
    assert units == [len(units)] * len(units)  # the total announced is what there was
    return found


def made_up(cyclic, seed=0):
    return people_data.population(cyclic, np.random.default_rng(seed)).votes


def test_the_general_model_predicts_people_who_go_round_and_gains_nothing_on_those_who_do_not(result):
    cyclic, transitive = result.panels
    assert cyclic.score.loss_gain.low > 0.03
    assert cyclic.score.accuracy_gain.low > 0.05
    assert cyclic.skew_used == 1
    assert cyclic.freedom[1] > cyclic.freedom[0] + 5
    # two controls: people who are transitive, and transitive twins of those who are not
    for gain in (transitive.score.loss_gain.low, *cyclic.twin_loss_gain, *transitive.twin_loss_gain):
        assert gain < 0.002
    assert transitive.score.loss_gain.high < 0.01


def test_cycles_are_more_than_those_of_transitive_twins_only_where_they_are_real(result):
    cyclic, transitive = result.panels
    share = [panel.overall.cyclic / panel.overall.triples for panel in (cyclic, transitive)]
    assert share[0] > 2 * max(cyclic.overall.twins)
    assert share[1] <= max(transitive.overall.twins)
    assert len(cyclic.overall.twins) == people_vs_models.CYCLE_TWINS


def test_a_nash_policy_withstands_the_answer_that_beats_the_rewards_optimum(result):
    beta = CONFIG.betas[0]
    rates = {
        (panel.name, one): people_vs_models_plot.match_of(panel, one, f"against_{one}", beta).win_rate
        for panel in result.panels
        for one in ("nash", "optimum")
    }
    cyclic, transitive = (panel.name for panel in result.panels)
    assert rates[cyclic, "optimum"].high < rates[cyclic, "nash"].low
    assert rates[transitive, "optimum"].high > rates[transitive, "nash"].low


def test_intervals_hold_their_estimates(result):
    for panel in result.panels:
        estimates = [
            panel.score.loss_gain,
            panel.score.accuracy_gain,
            *(match.win_rate for match in panel.matches),
        ]
        for one in estimates:
            assert one.low <= one.value <= one.high
        assert panel.score.loss_gain.value == pytest.approx(np.mean(panel.score.loss_gain_by_seed))
        assert panel.score.loss_gain.value == pytest.approx(
            panel.score.loss_bradley_terry - panel.score.loss_general
        )
        assert panel.score.accuracy_gain.value == pytest.approx(np.mean(panel.score.accuracy_gain_by_seed))
        for match in panel.matches:
            assert 0 <= match.same <= 1
            assert 0 < match.covered <= 1 + 1e-9


def test_matched_policies_are_as_far_from_the_reference(result):
    for panel in result.panels:
        match = people_vs_models_plot.match_of(panel, "nash", "matched", CONFIG.betas[0])
        assert match.kl_one == pytest.approx(match.kl_other, abs=1e-4)


@pytest.mark.slow
def test_the_seed_decides(result):
    again = people_vs_models.run(CONFIG)
    assert again == result


def test_a_result_survives_json(result):
    document = records.loads(records.dumps(records.encode(result)), "memory")
    assert records.decode(people_vs_models.Result, document) == result


def test_the_figure_and_the_table_have_a_row_a_data_set_and_say_what_is_made_up(result):
    figure = people_vs_models_plot.plot(result)
    assert [text.get_text().split("\n")[0] for text in figure.axes[0].get_yticklabels()] == [
        "made-up, cyclic",
        "made-up, transitive",
    ]
    rows = people_vs_models_plot.table(result).splitlines()
    assert len({row.count("|") for row in rows[:4]}) == 1
    assert len({row.count("|") for row in rows[5:9]}) == 1
    assert rows[-1].startswith("These people are made up")
    noted = dataclasses.replace(result, notes=["hanna is not there"])
    assert people_vs_models_plot.table(noted).splitlines()[-1] == "hanna is not there"


@pytest.mark.slow
def test_real_people_go_with_bradley_terry(shared):
    config = dataclasses.replace(CONFIG, data=str(shared / "data"))
    found = people_vs_models.run(config)
    assert found.notes == []
    assert [panel.name for panel in found.panels if panel.real] == [
        "HANNA",
        "llmfao",
        "qa_feedback",
        "HH harmless",
    ]
    for panel in found.panels[:4]:
        assert panel.score.loss_gain.low < 0.001  # a gain of more would be news
    assert people_vs_models_plot.plot(found)


def test_missing_data_are_named_and_the_rest_is_used(tmp_path, shared):
    (tmp_path / "hanna").mkdir()
    with pytest.raises(InputError, match=r"none of the files of human votes.*dig-team/hanna-benchmark-asg"):
        people_vs_models.run(dataclasses.replace(CONFIG, data=str(tmp_path)))
    shutil.copy(shared / "data/hanna/ratings.npz", tmp_path / "hanna")
    found, notes = people_data.load(str(tmp_path))
    assert [loaded.votes.name for loaded in found] == ["HANNA"]
    assert "Human" not in found[0].votes.answers
    assert len(notes) == 3
    (tmp_path / "hanna/ratings.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"ratings.npz"):
        people_data.load(str(tmp_path))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", 0, "seeds is 0"),
        ("betas", (), "betas is empty"),
        ("betas", (0.1, 0.0), "beta is 0"),
        ("resamples", 10, "resamples is 10"),
        ("most_folds", 1, "most_folds is 1"),
        ("seed", -1, "seed is -1"),
        ("data", "nowhere", "nowhere: holds none"),
    ],
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        people_vs_models.run(dataclasses.replace(CONFIG, **{field: value}))


def test_units_are_dealt_evenly_in_every_stratum_and_never_split():
    votes = made_up(cyclic=True)
    rater = np.arange(len(votes.label)) % 3
    by_prompt = votes._replace(unit=votes.prompt * 3 + rater, stratum=votes.prompt, cluster=votes.prompt)
    everybody = np.ones(len(votes.label), bool)
    fold = people_fit.deal(by_prompt, everybody, 3, np.random.default_rng(0))
    for prompt in range(votes.num_prompts):
        here = by_prompt.prompt == prompt
        pairs = {(int(unit), int(part)) for unit, part in zip(by_prompt.unit[here], fold[here], strict=True)}
        assert sorted(part for _, part in pairs) == [0, 1, 2]
    rest = fold != 0
    inner = people_fit.deal(by_prompt, rest, 3, np.random.default_rng(0))
    assert set(inner[rest]) == {0, 1}  # two raters are left
    assert set(inner[~rest]) == {-1}
    people = people_fit.deal(votes, everybody, 5, np.random.default_rng(0))
    sizes = [len(np.unique(votes.unit[people == part])) for part in range(5)]
    assert sizes == [people_data.PEOPLE // 5] * 5


def test_a_prediction_does_not_see_the_votes_it_is_about():
    votes = made_up(cyclic=True)
    kept = votes.unit < 15
    votes = Votes(votes.name, *(column[kept] for column in votes[1:9]), votes.answers)
    problem = people_fit.prepare(votes)
    fold = people_fit.deal(votes, np.ones(len(votes.label), bool), 5, np.random.default_rng(3))
    # whatever those who are held out first vote, the same is predicted of them
    other = problem._replace(votes=votes._replace(label=np.where(fold == 0, 1 - votes.label, votes.label)))
    one, two = (people_fit.predict(these, 5, np.random.default_rng(3)) for these in (problem, other))
    np.testing.assert_array_equal(one.general[fold == 0], two.general[fold == 0])
    assert np.abs(one.general[fold != 0] - two.general[fold != 0]).max() > 0.01


def test_a_twin_has_the_ties_of_the_votes_and_each_voter_ranks():
    rng = np.random.default_rng(0)
    votes = made_up(cyclic=True)
    logit = rng.normal(0, 0.5, len(votes.label))
    label = people_data.draw_twin(votes, logit, people_data.Twin(1.5, 0.4), rng).label
    twin = people_data.fit_twin(logit, label)
    assert twin.factor == pytest.approx(1.5, abs=0.25)
    assert twin.threshold == pytest.approx(0.4, abs=0.05)
    assert people_data.fit_twin(logit, np.ones(len(label))) == people_data.Twin(1.0, 0.0)
    # a voter who meets the same three answers in a ring cannot go round
    ring = np.tile([0, 1, 2], 500)
    voter = np.repeat(np.arange(500), 3)
    none = 0 * voter
    asked = Votes("", none, ring, (ring + 1) % 3, 0.5 + none, voter, voter, none, voter, ("a", "b", "c"))
    drawn = people_data.draw_twin(asked, 0.0 * voter, people_data.Twin(1.0, 0.0), rng).label.reshape(-1, 3)
    assert set(drawn.sum(1)) == {1.0, 2.0}
    apart = people_data.draw_twin(
        asked._replace(voter=np.arange(1500)), 0.0 * voter, people_data.Twin(1.0, 0.0), rng
    ).label.reshape(-1, 3)
    assert {0.0, 3.0} <= set(apart.sum(1))  # separate people do


def test_policies_of_rock_paper_scissors_are_known():
    ring = np.array([0, 1, 2])
    votes = Votes("", 0 * ring, ring, (ring + 1) % 3, 0.0 * ring, ring, ring, 0 * ring, ring, ("r", "p", "s"))
    problem = people_fit.prepare(votes)
    where = places(problem.cells)
    logit = np.array([-2.0, 2.0, -2.0])  # cells (0, 1), (0, 2), (1, 2): each loses to the next
    reward = np.array([1.0, 0.0, 0.5])
    line = reward[problem.cells.first] - reward[problem.cells.second]
    table = people_fit.Table(line, logit, np.ones(3, bool))
    made = people_policies.policies(problem, where, table, 0.1)
    np.testing.assert_allclose(made.nash, [[1 / 3] * 3], atol=1e-9)
    expected = np.exp(reward / 0.1) / np.exp(reward / 0.1).sum()
    np.testing.assert_allclose(made.optimum, expected[None], rtol=1e-9)
    assert people_policies.divergence(made.matched, made.reference) < 1e-6
    np.testing.assert_array_equal(made.against_optimum, [[0, 1, 0]])
    # all three votes say that the next one wins: held-out people make the attack win, nobody beats Nash
    attack = people_policies.duel(problem, where, np.ones(3, bool), made.optimum, made.against_optimum)
    assert 0.5 + (1 - attack.same) * attack.advantage.sum() / attack.weight.sum() < 0.01
    safe = people_policies.duel(problem, where, np.ones(3, bool), made.nash, made.against_nash)
    assert safe.advantage.sum() == pytest.approx(0, abs=1e-9)
    assert safe.same == pytest.approx(1 / 3)
    assert safe.covered == pytest.approx(1)


def test_a_duel_on_all_votes_is_the_win_rate_of_the_table():
    rng = np.random.default_rng(5)
    prompt, first, second = (axis.ravel() for axis in np.indices((2, 4, 4)))
    kept = first != second
    prompt, first, second = prompt[kept], first[kept], second[kept]
    label = rng.choice([0.0, 0.5, 1.0], size=len(prompt))
    none = 0 * prompt
    problem = people_fit.prepare(
        Votes("", prompt, first, second, label, none, none, none, prompt, ("a", "b", "c", "d"))
    )
    one, other = rng.dirichlet(np.ones(4), 2), rng.dirichlet(np.ones(4), 2)
    shares = np.full((2, 4, 4), 0.5)
    for x, a, b, y in zip(prompt, first, second, label, strict=True):
        # two votes a pair, one each way round
        back = label[(prompt == x) & (first == b) & (second == a)][0]
        shares[x, a, b] = (y + 1 - back) / 2
    expected = np.mean(np.einsum("xa,xab,xb->x", one, shares, other))
    found = people_policies.duel(problem, places(problem.cells), np.ones(len(prompt), bool), one, other)
    assert 0.5 + (1 - found.same) * found.advantage.sum() / found.weight.sum() == pytest.approx(expected)
    turned = people_policies.duel(problem, places(problem.cells), np.ones(len(prompt), bool), other, one)
    assert turned.advantage.sum() == pytest.approx(-found.advantage.sum())


def test_the_bootstrap_is_as_wide_as_the_normal_interval():
    rng = np.random.default_rng(1)
    top = rng.normal(0.3, 1.0, 400)
    found = people_vs_models.bootstrap(top, np.ones(400), people_vs_models.Config())
    assert found.value == pytest.approx(top.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * top.std() / 20, rel=0.1)


def test_texts_are_predicted_by_what_they_say():
    rng = np.random.default_rng(0)
    words = np.array(["sun", "rain", "wind", "snow", "fog", "hail"])
    answers, first, second, label = [], [], [], []
    for vote in range(120):
        texts = [" ".join(rng.choice(words, size=12)) for _ in range(2)]
        margin = 1.5 * (texts[0].count("sun") - texts[1].count("sun"))
        answers += texts
        first.append(2 * vote)
        second.append(2 * vote + 1)
        label.append(1.0 * (rng.random() < expit(margin)))
    prompt = np.arange(120)
    columns = (prompt, np.array(first), np.array(second), np.array(label), prompt, prompt, 0 * prompt, prompt)
    votes = Votes("texts", *columns, tuple(answers), ("weather?",) * 120)
    found = people_fit.predict(people_fit.prepare(votes), 3, np.random.default_rng(0))
    assert np.mean((found.bradley_terry > 0) == (votes.label == 1)) > 0.65
    assert len(found.tables) == 1  # prompts are held out: each has its table from the fold without it
    assert found.tables[0].held_out.all()


def test_quick_is_smaller_and_plain_data():
    assert CONFIG.seeds == 1
    assert len(CONFIG.betas) == 1
    json.dumps(records.encode(CONFIG))
