import bank
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf import logspace
from nlhf.errors import InputError
from tabular import families
from tabular.games import make_game, with_beta
from tabular.metrics import METRICS, NEEDS_NASH, measure
from tabular.payoff import payoff

EACH_GAME = pytest.mark.parametrize("name", ["uniform_skew", "contextual", "published"])


def some_policies(game):
    return jax.nn.log_softmax(2 * jax.random.normal(jax.random.key(5), (3, *game.log_ref.shape)))


def regularised_value(game, first, second, x):
    """P_beta(first > second) in one context, by plain sums over probabilities."""
    preference, ref, beta = np.asarray(game.preference[x]), np.exp(game.log_ref[x]), float(game.beta)
    return first @ preference @ second - beta * reference.kl(first, ref) + beta * reference.kl(second, ref)


def brute_force_exploitability(game, log_policy):
    """``max_u P_beta(u > policy) - 1/2`` by maximising over logits with scipy."""
    total = 0.0
    for x in range(log_policy.shape[0]):
        policy = np.exp(np.asarray(log_policy[x]))
        best = -np.inf

        def loss(logits, x=x, policy=policy):
            return -regularised_value(game, reference.softmax(logits), policy, x)

        for seed in range(3):
            start = np.random.default_rng(seed).normal(size=policy.size)
            found = scipy.optimize.minimize(loss, start, method="BFGS", options={"gtol": 1e-9})
            best = max(best, -found.fun)
        total += float(game.context_prob[x]) * (best - 0.5)
    return total


@pytest.mark.parametrize("name", ["uniform_skew", "contextual"])
def test_exploitability_and_gap_against_brute_force(name):
    item = bank.known(name)
    for log_policy in some_policies(item.game):
        brute = brute_force_exploitability(item.game, log_policy)
        np.testing.assert_allclose(measure("exploitability", item.game, log_policy), brute, rtol=1e-7)
        # the second player exploits by as much in a symmetric game: the gap of both is twice it
        np.testing.assert_allclose(measure("duality_gap", item.game, log_policy), 2 * brute, rtol=1e-7)


@EACH_GAME
def test_exploitability_is_the_log_sum_exp_form(name):
    game = bank.known(name).game
    for log_policy in some_policies(game):
        advantage = np.asarray(payoff(game.advantage, log_policy))
        beta, log_ref = float(game.beta), np.asarray(game.log_ref)
        shifted = log_ref + advantage / beta
        top = shifted.max(-1)
        free = top + np.log(np.exp(shifted - top[:, None]).sum(-1))
        kl = (np.exp(log_policy) * (np.asarray(log_policy) - log_ref)).sum(-1)
        expected = np.asarray(game.context_prob) @ (beta * (free + kl))
        np.testing.assert_allclose(measure("exploitability", game, log_policy), expected, rtol=1e-11)


@EACH_GAME
def test_exploitability_is_beta_times_the_divergence_to_the_best_response(name):
    game = bank.known(name).game
    for log_policy in some_policies(game):
        kl = []
        for x in range(game.log_ref.shape[0]):
            policy = np.exp(np.asarray(log_policy[x]))
            response = reference.best_response(
                policy, np.exp(np.asarray(game.log_ref[x])), np.asarray(game.preference[x]), float(game.beta)
            )
            kl.append(reference.kl(policy, response))
        expected = float(game.beta) * np.asarray(game.context_prob) @ np.array(kl)
        np.testing.assert_allclose(measure("exploitability", game, log_policy), expected, rtol=1e-11)


@EACH_GAME
def test_the_nash_policy_wins_by_beta_times_the_divergence_to_it(name):
    # P_beta(Nash > policy) - 1/2 = beta KL(policy || Nash)
    item = bank.known(name)
    game = item.game
    nash = np.exp(item.log_nash)
    for log_policy in some_policies(game):
        policy = np.exp(log_policy)
        wins = [regularised_value(game, nash[x], policy[x], x) for x in range(len(nash))]
        expected = np.asarray(game.context_prob) @ (np.array(wins) - 0.5)
        ours = float(game.beta) * measure("kl_from_nash", game, log_policy, item.log_nash)
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


@EACH_GAME
def test_exploitability_is_sandwiched_between_divergences(name):
    # beta KL(pi, Nash) <= exploit <= beta KL(pi, Nash) + KL(Nash, pi) / (4 beta)
    item = bank.known(name)
    beta = float(item.game.beta)
    for log_policy in some_policies(item.game):
        exploit = float(measure("exploitability", item.game, log_policy))
        away = float(measure("kl_from_nash", item.game, log_policy, item.log_nash))
        towards = float(measure("kl_to_nash", item.game, log_policy, item.log_nash))
        assert beta * away <= exploit * (1 + 1e-12)
        assert exploit <= beta * away + towards / (4 * beta)


@pytest.mark.parametrize("name", bank.GAMES)
def test_everything_vanishes_at_the_equilibrium(name):
    item = bank.known(name)
    zero = {"kl_to_nash": 0.0, "kl_from_nash": 0.0, "span_to_nash": 0.0}
    for metric, expected in zero.items():
        assert float(measure(metric, item.game, item.log_nash, item.log_nash)) == expected
    # rounding of the logits, of relative size 1e-15 of 1/beta, enters squared
    assert 0 <= float(measure("exploitability", item.game, item.log_nash)) <= 1e-26
    assert 0 <= float(measure("duality_gap", item.game, item.log_nash)) <= 2e-26
    # KL(Nash, reference) <= 1 / (2 beta)
    assert float(measure("kl_to_reference", item.game, item.log_nash)) <= 0.5 / float(item.game.beta)


def test_divergences_by_hand_and_their_average_over_contexts():
    item = bank.known("contextual")
    log_policy = some_policies(item.game)[0]
    policy, nash, ref = (np.exp(np.asarray(t)) for t in (log_policy, item.log_nash, item.game.log_ref))
    weight = np.array([0.5, 0.3, 0.2])
    for metric, pairs in {
        "kl_to_nash": (nash, policy),
        "kl_from_nash": (policy, nash),
        "kl_to_reference": (policy, ref),
    }.items():
        expected = weight @ [reference.kl(p, q) for p, q in zip(*pairs, strict=True)]
        np.testing.assert_allclose(
            measure(metric, item.game, log_policy, item.log_nash), expected, rtol=1e-12
        )


def test_span_takes_the_worst_context():
    item = bank.known("contextual")
    log_policy = some_policies(item.game)[0]
    spans = np.ptp(np.asarray(log_policy - item.log_nash), axis=-1)
    np.testing.assert_allclose(
        measure("span_to_nash", item.game, log_policy, item.log_nash), spans.max(), rtol=1e-13
    )


def test_win_rate_by_hand():
    game = bank.known("contextual").game
    log_policy = some_policies(game)[0]
    rates = [
        np.exp(p) @ m @ np.exp(r)
        for p, m, r in zip(*map(np.asarray, (log_policy, game.preference, game.log_ref)), strict=True)
    ]
    np.testing.assert_allclose(
        measure("win_rate", game, log_policy), np.array([0.5, 0.3, 0.2]) @ rates, rtol=1e-13
    )
    assert float(measure("win_rate", game, game.log_ref)) == pytest.approx(0.5, abs=1e-15)


def test_without_regularisation_the_best_answer_is_one_action():
    game = with_beta(bank.known("contextual").game, 0.0)
    log_policy = some_policies(game)[0]
    best = np.einsum("xab,xb->xa", np.asarray(game.preference), np.exp(log_policy)).max(-1)
    expected = np.array([0.5, 0.3, 0.2]) @ (best - 0.5)
    for metric in ("exploitability", "exploitability_original"):
        np.testing.assert_allclose(measure(metric, game, log_policy), expected, rtol=1e-13)
    np.testing.assert_allclose(measure("duality_gap", game, log_policy), 2 * expected, rtol=1e-13)


def test_bias_of_regularisation():
    # the original exploitability of the regularised Nash policy is at most beta log(1 / min reference)
    for name in bank.GAMES:
        item = bank.known(name)
        exploit = float(measure("exploitability_original", item.game, item.log_nash))
        assert exploit <= float(item.game.beta) * float(jnp.max(-item.game.log_ref))


@settings(max_examples=15, deadline=None)
@given(st.floats(-1 / 3, 1 / 3))
def test_known_equilibrium_of_the_original_game_is_not_exploitable(epsilon):
    game = make_game(families.three_types(epsilon), beta=0.0)
    nash = np.array([[1 / 3 + epsilon / 2, 1 / 3 + epsilon / 2, 1 / 3 - epsilon]])
    log_nash = jnp.log(jnp.maximum(nash, 1e-300))
    assert abs(float(measure("exploitability", game, log_nash))) <= 1e-15


def test_an_excluded_action_is_no_answer():
    matrix = [[0.5, 0.0, 0.4], [1.0, 0.5, 0.9], [0.6, 0.1, 0.5]]
    game = make_game(matrix, np.log(np.array([0.5, 1e-300, 0.5])) + np.array([0, -np.inf, 0]), 0.2)
    smaller = make_game([[0.5, 0.4], [0.6, 0.5]], np.log([0.5, 0.5]), 0.2)
    log_policy = jnp.log(jnp.array([[0.3, 0.0, 0.7]]))
    small = jnp.log(jnp.array([[0.3, 0.7]]))
    for metric in METRICS:
        one = measure(metric, game, log_policy, game.log_ref)
        two = measure(metric, smaller, small, smaller.log_ref)
        np.testing.assert_allclose(one, two, rtol=1e-13)
    for beta in (0.0, 0.2):
        np.testing.assert_allclose(
            measure("exploitability_original", with_beta(game, beta), log_policy),
            measure("exploitability_original", with_beta(smaller, beta), small),
            rtol=1e-13,
        )


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_work_under_vmap_and_jit(metric):
    item = bank.known("contextual")
    policies = some_policies(item.game)
    together = jax.jit(jax.vmap(lambda p: measure(metric, item.game, p, item.log_nash)))(policies)
    apart = [measure(metric, item.game, policy, item.log_nash) for policy in policies]
    assert together.shape == (3,)
    np.testing.assert_allclose(together, np.stack(apart), rtol=1e-12)


def test_gap_near_equilibrium_keeps_its_digits():
    # at distance d the gap is quadratic in d, down to 1e-25
    item = bank.known("planted")
    direction = jax.random.normal(jax.random.key(1), item.log_nash.shape)
    gaps = [
        float(measure("exploitability", item.game, logspace.normalise(item.log_nash + d * direction)))
        for d in (1e-4, 1e-8, 1e-11)
    ]
    np.testing.assert_allclose(gaps[1] / gaps[0], 1e-8, rtol=1e-3)
    np.testing.assert_allclose(gaps[2] / gaps[1], 1e-6, rtol=1e-3)


def test_span_of_a_policy_without_mass_on_an_allowed_action_is_infinite():
    game = bank.known("biased_rock_paper_scissors").game
    pure = jnp.array([[0.0, -jnp.inf, -jnp.inf]])
    assert measure("span_to_nash", game, pure, game.log_ref) == jnp.inf


@pytest.mark.parametrize("name", sorted(NEEDS_NASH))
def test_a_missing_equilibrium_is_refused_not_replaced(name):
    game = next(iter(bank.GAMES.values()))().game
    with pytest.raises(InputError, match="needs log_nash"):
        measure(name, game, game.log_ref)
