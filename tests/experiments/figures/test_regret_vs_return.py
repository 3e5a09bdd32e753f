"""Regret against partial return: processes, learners, exact examples, the figure drawn from numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.regret_vs_return import examples as regret_examples
from experiments.figures.regret_vs_return import plot as regret_vs_return_plot
from experiments.figures.regret_vs_return import reward_learners
from experiments.figures.regret_vs_return import run as regret_vs_return
from experiments.figures.regret_vs_return import worlds as regret_worlds
from experiments.figures.regret_vs_return.run import Learning, Result
from experiments.figures.shared.curves import curve
from experiments.figures.shared.segment_fits import in_chunks
from experiments.output import records
from nlhf.base import Comparisons
from nlhf.errors import InputError
from nlhf.segments import Segments
from tabular.mdps.delivery import delivery, delivery_features
from tabular.mdps.mdp import make_mdp
from tabular.mdps.values import hard_values, policy_values

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

CONFIG = regret_vs_return.Config(seeds=2, mdps=4, families=("random",), levels=(3, 100), resamples=100)


@pytest.fixture(scope="module")
def shown():
    return regret_examples.examples()


def test_partial_returns_do_not_move_where_the_optimum_does(shown):
    assert [example.name for example in shown] == ["shift", "risk", "discount"]
    for example in shown:
        assert max(example.by_return) < 1e-12
        assert any(example.other_optimum)
        assert not all(example.other_optimum)
        at_base = int(np.abs(np.asarray(example.x) - example.base).argmin())
        assert example.x[at_base] == pytest.approx(example.base)
        assert example.by_regret[at_base] < 1e-12
        # the control: regret tells of every other optimum
        assert all(
            change > 0.02
            for change, other in zip(example.by_regret, example.other_optimum, strict=True)
            if other
        )


def test_the_optimum_changes_where_arithmetic_says(shown):
    shift, risk, discount = shown
    assert min(x for x, other in zip(risk.x, risk.other_optimum, strict=True) if not other) > -2
    assert max(x for x, other in zip(risk.x, risk.other_optimum, strict=True) if other) == pytest.approx(-2)
    assert all(
        other == (x >= 0.625 - 1e-9) for x, other in zip(discount.x, discount.other_optimum, strict=True)
    )
    # from the first state: five steps and the end, or for ever
    go = [sum(0.95**t * (c - 1) for t in range(5)) + 0.95**4 * 10 for c in shift.x]
    stay = [(c - 1) / 0.05 for c in shift.x]
    expected = [b > a for a, b in zip(go, stay, strict=True)]
    assert all(other for other, first in zip(shift.other_optimum, expected, strict=True) if first)


def test_boards_keep_the_rules_and_their_draws():
    few, more = regret_worlds.random_boards(2, 7), regret_worlds.random_boards(3, 7)
    np.testing.assert_array_equal(few.features, more.features[:2])
    board, weights = regret_worlds.random_board(np.random.default_rng([7, 1]))
    mdp = delivery(board, weights=weights)
    np.testing.assert_array_equal(few.mdp.reward[1, : mdp.num_states], mdp.reward)
    np.testing.assert_allclose(few.features[1] @ np.asarray(weights), few.mdp.reward[1], atol=1e-12)
    assert few.mdp.terminal[1, mdp.num_states :].all()
    assert few.mdp.transition[1].sum(-1) == pytest.approx(1.0)
    assert (few.mdp.initial[1, mdp.num_states :] == 0).all()
    # every free cell leads to the destination: no optimal run goes on for ever
    assert (np.asarray(hard_values(mdp).v) > -100).all()
    assert not regret_worlds._connected("dh...\nh....\n.....\n.....\n.....")
    assert delivery_features(board).shape[-1] == 6


def chain():
    """Two steps to a goal of 3 along a corridor of three states, or stay; gas 1."""
    transition = np.zeros((4, 2, 4))
    transition[:, 0] = np.eye(4)
    transition[:, 1] = np.eye(4, k=1)
    transition[3, 1, 3] = 1
    features = np.zeros((4, 2, 2))
    features[:3, :, 0] = 1
    features[2, 1, 1] = 1
    reward = features @ np.array([-1.0, 3.0])
    ends = np.arange(4) == 3
    return make_mdp(transition, reward, terminal=ends, discount=0.9, beta=0), jnp.asarray(features)


def test_advantages_are_linear_in_the_reward_of_a_fixed_policy():
    mdp, features = chain()
    table = reward_learners.advantage_features(mdp, features, mdp.reference)
    for theta in ([-1.0, 3.0], [0.5, -2.0]):
        moved = mdp._replace(reward=features @ jnp.asarray(theta))
        expected = policy_values(moved, mdp.reference).advantage
        np.testing.assert_allclose(table @ jnp.asarray(theta), expected, atol=1e-12)
    # and with the optimal policy of the reward, its optimal advantage
    theta = jnp.array([-1.0, 3.0])
    best = reward_learners.advantage_features(mdp, features, reward_learners.greedy(mdp, features, theta))
    np.testing.assert_allclose(best @ theta, hard_values(mdp).advantage, atol=1e-12)


def test_each_learner_finds_the_optimum_from_its_own_labels():
    mdp, features = chain()
    pairs = np.array([(s, a) for s in range(3) for a in range(2)])
    index = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
    sides = [Segments(pairs[index[:, side], :1], pairs[index[:, side], 1:]) for side in (0, 1)]
    learn = jax.jit(reward_learners.learn_rewards)
    best = np.asarray(hard_values(mdp).log_policy)[:3]

    def learned(table):
        score = np.asarray(table)[pairs[:, 0], pairs[:, 1]]
        label = (1 + np.sign(np.round(score[index[:, 0]] - score[index[:, 1]], 9))) / 2
        data = Comparisons(index[:, 0], *sides, jnp.asarray(label), jnp.ones(36))
        rewards = learn(mdp, features, data)
        return [np.asarray(reward_learners.greedy(mdp, features, theta))[:3] for theta in rewards]

    (regret, _), (_, by_return) = learned(hard_values(mdp).advantage), learned(mdp.reward)
    np.testing.assert_array_equal(np.exp(regret), np.exp(best))
    np.testing.assert_array_equal(np.exp(by_return), np.exp(best))
    # the control: from labels turned round neither does
    for policy in learned(-hard_values(mdp).advantage):
        assert not np.array_equal(np.exp(policy), np.exp(best))


def test_data_sets_are_nested_and_rows_beyond_a_level_are_absent():
    rows = np.arange(2 * 4 * 5).reshape(2, 4, 5)
    data = Comparisons(rows, rows, rows, rows, rows * 0 + 1.0)
    worlds = regret_worlds.Worlds(np.array([10, 20]), np.array([1, 2]))
    flat_worlds, flat = regret_vs_return._flat(worlds, data, [1, 3])
    assert flat.first.shape == (16, 3)
    np.testing.assert_array_equal(flat.first[0], flat.first[1])
    np.testing.assert_array_equal(flat.first[2], rows[0, 1, :3])
    np.testing.assert_array_equal(flat.weight[:2], [[1, 0, 0], [1, 1, 1]])
    assert flat_worlds.mdp.tolist() == [10] * 8 + [20] * 8


def test_chunks_return_every_row_once():
    found = in_chunks(lambda x: {"double": 2 * x}, (np.arange(7.0),), 3)
    np.testing.assert_array_equal(found["double"], 2 * np.arange(7.0))


@pytest.fixture(scope="module")
def result():
    return regret_vs_return.run(CONFIG)


@pytest.mark.slow
def test_regret_labels_teach_the_regret_learner(result):
    curves = {(c.labels, c.noiseless, c.learner): c for c in result.curves}
    assert len(curves) == 10
    own = curves["regret", True, "regret"]
    assert own.scaled.middle[1] > 0.97
    assert own.scaled.middle[1] > own.scaled.middle[0]
    for learner in ("return", "cpl"):
        assert curves["regret", True, learner].scaled.middle[1] < own.scaled.middle[1]
    for each in result.curves:
        for low, middle, high in zip(each.scaled.low, each.scaled.middle, each.scaled.high, strict=True):
            assert -1 <= low <= middle + 1e-12
            assert middle <= high + 1e-12 <= 1 + 1e-9
    assert {(test.noiseless, test.n) for test in result.tests} == {
        (a, n) for a in (True, False) for n in (3, 100)
    }


@pytest.mark.slow
def test_a_measured_result_survives_json_and_is_drawn(result):
    check_drawing(result, families=1)


def test_a_result_survives_json_and_is_drawn(shown):
    band = [0.0, 0.5], [-0.1, 0.4], [0.1, 0.6]
    curves = [
        Learning(family, labels, noiseless, learner, *[curve(learner, [3, 100], band)] * 2)
        for family in regret_vs_return.FAMILIES
        for labels, noiseless in regret_vs_return.LABELS
        for learner in ("regret", "return", "cpl")
        if (labels, learner) != ("return", "cpl")
    ]
    tests = [
        regret_vs_return.Test(family, noiseless, n, 3, 1, 0.25)
        for family in regret_vs_return.FAMILIES
        for noiseless in (True, False)
        for n in (3, 100)
    ]
    config = dataclasses.replace(CONFIG, families=regret_vs_return.FAMILIES)
    check_drawing(Result(config, curves, tests, shown), families=3)


def check_drawing(result, families):
    document = records.loads(records.dumps(records.encode(result)), "memory")
    assert records.decode(Result, document) == result
    figure = regret_vs_return_plot.plot(result)
    axes = [axes for part in figure.subfigs for axes in part.axes]
    assert len(axes) == 2 * 2 * families + 3
    rows = [row for row in regret_vs_return_plot.table(result).splitlines() if row.startswith("| ")]
    assert len(rows) == 3 + 10 * families + 4 * families + 3


@pytest.mark.slow
def test_where_runs_end_the_partial_return_learner_fails_on_regret_labels():
    config = dataclasses.replace(CONFIG, mdps=20, families=("boards",), levels=(10, 100))
    found = regret_vs_return.run(config)
    ends = {(c.labels, c.learner): c.scaled.middle[-1] for c in found.curves if c.noiseless}
    assert ends["regret", "regret"] > 0.95
    assert ends["regret", "return"] < 0.85
    assert ends["return", "regret"] < 0.85


def test_the_signed_rank_test_sees_a_difference_and_none():
    values = np.linspace(0.1, 0.9, 12)[:, None, None] * np.ones((12, 4, 2))
    equal = regret_vs_return._tests(CONFIG, "random", {"regret": values, "return": values})
    assert [test.p for test in equal] == [1.0] * 4
    better = regret_vs_return._tests(CONFIG, "random", {"regret": values, "return": values - 0.05 * values})
    assert all(test.p < 1e-3 and (test.better, test.worse) == (12, 0) for test in better)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seeds", 1, "seeds is 1"),
        ("levels", (10, 3), r"levels is \(10, 3\)"),
        ("levels", (), r"levels is \(\)"),
        ("families", ("grid",), "'grid'"),
        ("temperature", -1.0, "temperature is -1"),
    ],
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(InputError, match=message):
        regret_vs_return.run(dataclasses.replace(CONFIG, **{field: value}))


def test_quick_is_smaller():
    small = regret_vs_return.quick(regret_vs_return.Config())
    assert max(small.levels) <= 300
    assert small.mdps < 100
    assert "delivery" not in small.families
