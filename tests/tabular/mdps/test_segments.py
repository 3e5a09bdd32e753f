import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf.errors import InputError
from nlhf.segments import Segments
from tabular.mdps.families import random_mdp, token_tree
from tabular.mdps.segments import (
    check_comparisons,
    compare,
    draw_segments,
    hard_regret,
    label,
    labelled_segments,
    partial_return,
    soft_regret,
)
from tabular.mdps.values import hard_values, soft_values

MDP = random_mdp(jax.random.key(0), 4, 3, deterministic=True, beta=0.5)
DRAW = jax.jit(functools.partial(draw_segments, num=4000, length=4))
RULES = (partial_return, soft_regret, hard_regret)


@jax.jit
def scores(mdp, segments):
    return [rule(mdp, segments) for rule in RULES]


@functools.cache
def values():
    return jax.jit(soft_values)(MDP), jax.jit(hard_values)(MDP)


def pairs(labels, weight=None, lengths=(2, 2)):
    labels = jnp.asarray(labels, float)
    first, second = (
        Segments(jnp.zeros((len(labels), t), int), jnp.ones((len(labels), t), int)) for t in lengths
    )
    return compare(first, second, labels, None if weight is None else jnp.asarray(weight, float))


def test_segments_follow_the_moves_and_the_behaviour():
    log_policy = jnp.tile(jnp.log(jnp.array([0.2, 0.3, 0.5])), (4, 1))
    drawn = DRAW(jax.random.key(1), MDP, log_policy=log_policy)
    following = np.asarray(MDP.transition).argmax(-1)[drawn.states, drawn.actions]
    np.testing.assert_array_equal(following[:, :-1], drawn.states[:, 1:])
    share = np.bincount(np.asarray(drawn.actions).ravel(), minlength=3) / drawn.actions.size
    np.testing.assert_allclose(share, [0.2, 0.3, 0.5], atol=0.02)
    assert set(np.asarray(drawn.states[:, 0])) == {0, 1, 2, 3}


def test_a_segment_that_ends_stays_at_the_end_and_scores_nothing_there():
    tree = token_tree(jax.random.key(0), 3, 2, additive=True, beta=0.3)
    assert tree.num_states == 5
    drawn = DRAW(jax.random.key(1), tree, start=jnp.zeros(4000, int))
    np.testing.assert_array_equal(drawn.states[:, 2:], 4)
    again = Segments(drawn.states, drawn.actions.at[:, 2:].set(0))
    np.testing.assert_array_equal(scores(tree, drawn), scores(tree, again))
    steps = tree.reward[0, drawn.actions[:, 0]] + tree.reward[drawn.states[:, 1], drawn.actions[:, 1]]
    np.testing.assert_allclose(scores(tree, drawn)[0], steps, rtol=1e-12)


def test_scores_are_the_sums_that_they_say():
    drawn = DRAW(jax.random.key(2), MDP)
    soft, hard = values()
    tables = (MDP.reward, soft.advantage, hard.advantage)
    for rule, table, score in zip(RULES, tables, scores(MDP, drawn), strict=True):
        steps = np.asarray(table)[drawn.states, drawn.actions]
        np.testing.assert_allclose(score, steps @ 0.9 ** np.arange(4), atol=1e-12)
        if rule is not hard_regret:
            np.testing.assert_allclose(Partial(rule, discount=1.0)(MDP, drawn), steps.sum(-1), atol=1e-12)
    # moves are certain here, so the form with the end state is the regret
    for best, score in zip((soft, hard), scores(MDP, drawn)[1:], strict=True):
        end = MDP.transition[drawn.states[:, -1], drawn.actions[:, -1]].argmax(-1)
        returned = partial_return(MDP, drawn) + 0.9**4 * best.v[end] - best.v[drawn.states[:, 0]]
        np.testing.assert_allclose(returned, score, atol=1e-12)


def test_a_noisy_judge_answers_with_the_logistic_probability_and_a_sure_one_with_the_order():
    difference = jnp.full(40_000, 0.7)
    np.testing.assert_allclose(label(jax.random.key(0), difference).mean(), jax.nn.sigmoid(0.7), atol=0.01)
    sure = label(jax.random.key(0), jnp.array([2.0, 1e-13, 0.0, -1e-3]), noiseless=True)
    np.testing.assert_array_equal(sure, [1, 0.5, 0.5, 0])


def test_labelled_segments_are_labelled_by_their_rule():
    sure = jax.jit(
        lambda key, start: labelled_segments(key, MDP, 200, 2, partial_return, noiseless=True, start=start)
    )
    start = jnp.arange(200) % 4
    made = sure(jax.random.key(3), start)
    difference = partial_return(MDP, made.first) - partial_return(MDP, made.second)
    np.testing.assert_array_equal(made.prefer_first, label(jax.random.key(0), difference, True))
    np.testing.assert_array_equal(made.first.states[:, 0], start)
    np.testing.assert_array_equal(made.second.states[:, 0], start)
    np.testing.assert_array_equal(made.context, start)
    assert set(np.asarray(made.prefer_first)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize(
    ("comparisons", "soft", "message"),
    [
        (lambda: pairs([]), True, "the data set has 0 comparisons"),
        (lambda: pairs([0, 1], weight=[0, 0]), True, "the data set has 0 comparisons"),
        (lambda: pairs([0, 1.5]), True, r"label 1 is 1.5, outside \[0, 1\]; give 1 where"),
        (lambda: pairs([0, np.nan]), True, "label 1 is nan"),
        (lambda: pairs([0, 9, -1], weight=[1, 0, 1]), True, "label 2 is -1"),
        (lambda: pairs([0, 0.5, 1]), False, r"label 1 is 0.5, outside \{0, 1\}"),
        (lambda: pairs([1, 1, 1]), True, "all 3 labels are 1: the first segment always wins"),
        (lambda: pairs([0, 1, 0], weight=[1, 0, 1]), True, "all 2 labels are 0: the second segment always"),
        (lambda: pairs([0, 1], lengths=(2, 3)), True, "first segments have 2 steps and the second 3"),
    ],
)
def test_data_from_which_nothing_can_be_learned_are_refused(comparisons, soft, message):
    with pytest.raises(InputError, match=message):
        check_comparisons(comparisons(), soft=soft)


def test_ties_probabilities_and_absent_rows_are_data():
    check_comparisons(pairs([0, 0.5, 1]))
    check_comparisons(pairs([0.7, 0.7]))
    check_comparisons(pairs([0, 1, 7], weight=[1, 2, 0]), soft=False)


def test_counts_of_segments_are_positive_whole_numbers():
    with pytest.raises(InputError, match="num is 0"):
        draw_segments(jax.random.key(0), MDP, 0, 2)
    with pytest.raises(InputError, match=r"length is 1\.5"):
        draw_segments(jax.random.key(0), MDP, 2, 1.5)
