import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.base import Comparisons
from nlhf.errors import InputError
from tabular import families
from tabular.games import Game, make_game
from tabular.oracle import exact, offline, sampled
from tabular.payoff import BradleyTerry, dense

GAME = make_game(
    families.uniform_skew(jax.random.key(0), 4, 2), families.random_reference(jax.random.key(1), 4, 2), 0.1
)
POLICY, OPPONENT = jax.nn.log_softmax(jax.random.normal(jax.random.key(2), (2, 2, 4)))
TRUTH = np.einsum("xab,xb->xa", np.asarray(GAME.preference), np.exp(POLICY))
REPEATS = 4000
KEYS = jax.random.split(jax.random.key(3), REPEATS)


def identity(policy):
    return policy


def draws(make_oracle):
    """``[REPEATS, X, A]`` payoffs of independent queries, as probabilities."""
    oracle = make_oracle(GAME, identity)
    return np.asarray(jax.jit(jax.vmap(lambda key: oracle.payoff(key, POLICY).preference))(KEYS)) + 0.5


def test_exact_payoff_is_the_centred_product():
    feedback = exact(GAME, identity).payoff(jax.random.key(0), POLICY)
    assert feedback.responses is None
    np.testing.assert_allclose(feedback.preference, TRUTH - 0.5, rtol=0, atol=1e-15)


@pytest.mark.parametrize("num_draws", [1, 7])
def test_labelled_payoffs_are_unbiased_with_the_variance_of_a_coin(num_draws):
    payoffs = draws(sampled(num_draws))
    # each label against a draw of the opponent is a coin with probability P(a > policy)
    variance = TRUTH * (1 - TRUTH) / num_draws
    error = np.sqrt(variance / REPEATS)
    assert (np.abs(payoffs.mean(0) - TRUTH) <= 4.5 * error).all()
    # relative standard error of a variance: sqrt((kurtosis - 1) / n), measured
    centred = payoffs - TRUTH
    spread = (centred**2).std(0) / np.sqrt(REPEATS)
    assert (np.abs((centred**2).mean(0) - variance) <= 4.5 * spread).all()
    assert payoffs.std(0).max() <= 0.5 / np.sqrt(num_draws) * 1.05
    # labels are multiples of 1/n
    np.testing.assert_allclose(payoffs * num_draws, np.round(payoffs * num_draws), atol=1e-12)


def test_probabilities_instead_of_labels_leave_the_variance_of_the_draw():
    payoffs = draws(sampled(5, labels=False))
    preference, policy = np.asarray(GAME.preference), np.exp(POLICY)
    second = np.einsum("xab,xb->xa", preference**2, policy)
    variance = (second - TRUTH**2) / 5
    assert (np.abs(payoffs.mean(0) - TRUTH) <= 4.5 * np.sqrt(variance / REPEATS)).all()
    np.testing.assert_allclose(payoffs.var(0), variance, rtol=0.15)
    assert (payoffs.var(0) < draws(sampled(5)).var(0)).all()


def test_actions_share_the_draw_of_the_opponent():
    payoffs = draws(sampled(1))
    preference, policy = np.asarray(GAME.preference), np.exp(POLICY)
    for x in range(2):
        shared = np.einsum("ab,cb,b->ac", preference[x], preference[x], policy[x])
        covariance = shared - np.outer(TRUTH[x], TRUTH[x])
        measured = np.cov(payoffs[:, x].T)
        off = ~np.eye(4, dtype=bool)
        # a product of two centred labels has a standard deviation below 1/4
        assert (np.abs(measured - covariance)[off] <= 4.5 * 0.25 / np.sqrt(REPEATS)).all()
    # contexts do not share theirs
    cross = np.cov(payoffs[:, 0, 0], payoffs[:, 1, 0])[0, 1]
    assert abs(cross) <= 4.5 * 0.25 / np.sqrt(REPEATS)


@pytest.mark.parametrize("make_oracle", [exact, sampled(1)], ids=["exact", "sampled"])
def test_duel_frequencies(make_oracle):
    oracle = make_oracle(GAME, identity)
    duels = jax.jit(jax.vmap(lambda key: oracle.duel(key, POLICY, OPPONENT)))(KEYS)
    assert bool((duels.weight == 1).all())
    for x in range(2):
        rows = np.asarray(duels.context) == x
        assert rows.sum() == REPEATS
        first, second, label = (
            np.asarray(leaf)[rows] for leaf in (duels.first, duels.second, duels.prefer_first)
        )
        joint = np.zeros((4, 4))
        np.add.at(joint, (first, second), 1)
        expected = np.outer(np.exp(POLICY[x]), np.exp(OPPONENT[x]))
        error = np.sqrt(expected * (1 - expected) / REPEATS)
        assert (np.abs(joint / REPEATS - expected) <= 4.5 * error).all()
        wins = np.zeros((4, 4))
        np.add.at(wins, (first, second), label)
        probability = np.asarray(GAME.preference[x])
        error = np.sqrt(probability * (1 - probability) / np.maximum(joint, 1))
        assert (np.abs(wins / np.maximum(joint, 1) - probability) <= 4.5 * error)[joint > 30].all()
        assert set(np.unique(label)) == {0.0, 1.0}


def test_sampled_duels_come_in_the_number_asked_for():
    duels = sampled(1, num_duels=6)(GAME, identity).duel(jax.random.key(0), POLICY, OPPONENT)
    assert {leaf.shape for leaf in duels} == {(12,)}
    assert np.bincount(duels.context).tolist() == [6, 6]


def test_structured_games_answer_the_same_verbs():
    scores = BradleyTerry(jnp.array([[0.0, 1.0, -2.0]]))
    game = Game(scores, jnp.log(jnp.full((1, 3), 1 / 3)), jnp.ones(1), 0.1)
    matrix = game._replace(advantage=dense(game.advantage))
    log_policy = jnp.log(jnp.array([[0.5, 0.2, 0.3]]))
    for make_oracle in (exact, sampled(4)):
        one, two = (make_oracle(g, identity) for g in (game, matrix))
        np.testing.assert_allclose(
            one.payoff(jax.random.key(1), log_policy).preference,
            two.payoff(jax.random.key(1), log_policy).preference,
            rtol=0,
            atol=1e-15,
        )
        assert jax.tree.all(
            jax.tree.map(
                lambda a, b: bool((a == b).all()),
                one.duel(jax.random.key(2), log_policy, log_policy),
                two.duel(jax.random.key(2), log_policy, log_policy),
            )
        )


def comparisons(rows, weight=None):
    context, first, second, label = (jnp.array(column) for column in zip(*rows, strict=True))
    present = jnp.ones(len(rows)) if weight is None else jnp.array(weight, float)
    return Comparisons(context, first, second, label, present)


ROWS = [
    (0, 0, 1, 1.0),
    (0, 0, 1, 1.0),
    (0, 1, 0, 1.0),
    (0, 2, 3, 0.25),
    (1, 3, 0, 1.0),
    (0, 0, 1, 1.0),
    (0, 2, 2, 1.0),
]


def test_offline_payoffs_are_those_of_the_table_of_shares():
    data = comparisons(ROWS, [True] * 5 + [False, True])
    oracle = offline(data, prior=0.5)(GAME, identity)
    table = np.full((2, 4, 4), 0.5)
    # wins of 0 over 1: two of three; the masked row and the pair of an action with itself say nothing
    for (x, a, b), wins, total in (((0, 0, 1), 2, 3), ((0, 2, 3), 0.25, 1), ((1, 3, 0), 1, 1)):
        table[x, a, b] = (wins + 0.5) / (total + 1)
        table[x, b, a] = 1 - table[x, a, b]
    expected = np.einsum("xab,xb->xa", table - 0.5, np.exp(POLICY))
    np.testing.assert_allclose(
        oracle.payoff(jax.random.key(0), POLICY).preference, expected, rtol=0, atol=1e-15
    )
    strong = offline(data, prior=1e6)(GAME, identity).payoff(jax.random.key(0), POLICY).preference
    np.testing.assert_allclose(strong, 0, atol=1e-5)


def test_offline_duels_return_the_data_in_another_order():
    data = comparisons(ROWS, [True] * 5 + [False, True])
    oracle = offline(data)(GAME, identity)
    orders = []
    for seed in range(3):
        duels = oracle.duel(jax.random.key(seed), POLICY, OPPONENT)
        rows = list(zip(*(leaf.tolist() for leaf in duels), strict=True))
        original = list(zip(*(leaf.tolist() for leaf in data), strict=True))
        assert sorted(rows) == sorted(original)
        orders.append(tuple(rows))
    assert len(set(orders)) > 1


def test_a_large_data_set_approaches_the_game():
    oracle = sampled(1, num_duels=40_000)(GAME, identity)
    uniform = jnp.log(jnp.full((2, 4), 0.25))
    data = oracle.duel(jax.random.key(5), uniform, uniform)
    estimate = offline(data)(GAME, identity).payoff(jax.random.key(0), POLICY).preference
    # 5000 comparisons a pair: a share is off by at most 1/2 / sqrt(5000) in standard deviation
    np.testing.assert_allclose(estimate, TRUTH - 0.5, atol=4.5 * 0.5 / np.sqrt(5000))


def test_factories_are_cached_so_that_runs_do_not_recompile():
    assert sampled(3) is sampled(3)
    assert sampled(3) is not sampled(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sampled(0), "num_draws is 0"),
        (lambda: sampled(1.5), r"num_draws is 1\.5, but it must be a whole number"),
        (lambda: sampled(1, num_duels=-2), "num_duels is -2"),
        (lambda: offline(comparisons(ROWS), prior=0.0), "prior is 0"),
        (lambda: offline(comparisons(ROWS[:1], [False])), "has 0 comparisons, but at least 1"),
        (lambda: offline(comparisons([(0, 0, 1, 1.5)])), r"label 0 is 1\.5, outside \[0, 1\]"),
        (lambda: offline(comparisons(2 * ROWS[:1])), "all 2 labels are 1: the first response always wins"),
        (lambda: offline(comparisons(ROWS[:2], [1.0, -1.0])), "weight 1 is -1"),
        (lambda: offline(comparisons([(0, 0, 1, float("nan"))])), "label 0 is nan"),
        (
            lambda: offline(comparisons([(2, 0, 1, 0.5)]))(GAME, identity),
            "context 2, but the game has 2",
        ),
        (
            lambda: offline(comparisons([(0, 0, 4, 0.5)]))(GAME, identity),
            "action 4, but the game has 4",
        ),
        (
            lambda: offline(comparisons([(0, -1, 1, 0.5)]))(GAME, identity),
            "action -1, but the game has 4",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
