"""A user's own claim: it holds, fails with its instance printed, or is refused by assumption."""

import dataclasses
import math
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import (
    Algorithm,
    Claim,
    InputError,
    egpo,
    nash_md,
    nash_mirror_prox,
    nash_prox,
    online_mirror_descent,
)
from nlhf.algorithms.egpo import EGPOState
from nlhf.base import Info, algorithm
from nlhf.targets import explicit
from proofs_checks import assert_claim, check, worst
from tabular import families
from tabular.games import make_game, with_beta
from tabular.oracle import sampled

GAMES = [
    make_game(
        families.uniform_skew(jax.random.key(1), 4), families.random_reference(jax.random.key(2), 4), 0.1
    ),
    make_game(families.tournament(jax.random.key(7), 4), np.log([0.5, 0.25, 0.2, 0.05]), 1.0),
]
TWO_CONTEXTS = make_game(families.uniform_skew(jax.random.key(8), 4, 2), beta=0.1)


def longest(beta):
    return egpo(1 / (beta + 0.5), beta)


def test_a_claim_holds_on_two_games():
    verdict = check("egpo.kl", longest, GAMES, num_steps=40)
    assert verdict.holds
    assert 0.3 < verdict.worst <= 1
    assert verdict.runs == 4
    found = verdict.witness
    assert found.measured <= found.bound
    assert found.step >= 1


def test_half_of_a_bound_fails_and_the_instance_is_printed():
    claim = egpo(0.5, 0.1).claims[0]
    half = dataclasses.replace(claim, name="mine", bound=lambda step, known: 0.5 * claim.bound(step, known))
    with pytest.raises(AssertionError) as raised:
        assert_claim(half, longest, GAMES, num_steps=40)
    text = str(raised.value)
    assert text.startswith("mine: FAILS, worst measured/bound 1.")
    for word in ("after step", "bound", "preference", "reference", "start", "beta = ", "step size"):
        assert word in text
    assert assert_claim(claim, longest, GAMES, num_steps=40).holds


def test_the_key_draws_the_starts():
    one, same, other = (
        check("egpo.kl", longest, GAMES[0], jax.random.key(k), num_steps=40) for k in (5, 5, 6)
    )
    assert one.worst == same.worst != other.worst
    assert one.runs == 2


def test_a_sampled_oracle_is_judged_in_expectation():
    # one draw a query is far from the exact payoff: single runs break the bound, their mean does not
    arguments = {"make_oracle": sampled(1), "num_steps": 40, "num_starts": 1}
    game = GAMES[1]
    method = nash_md(0.5, 1.0)
    verdict = check("nash_md.constant.kl_sharp", method, game, num_seeds=100, **arguments)
    assert verdict.holds
    assert verdict.witness.standard_error > 0
    claim = method.claims[1]
    noiseless = dataclasses.replace(claim, bound=lambda step, known: 0.5**step * known.kl_start)
    assert not check(noiseless, method, game, num_seeds=100, **arguments).holds


def test_a_game_without_regularisation():
    game = with_beta(GAMES[0], 0.0)
    assert check("nash_mirror_prox.average", nash_mirror_prox(2.0, 0.0), game, num_steps=40).holds


@pytest.mark.parametrize(
    ("claim", "method", "game", "match"),
    [
        ("egpo.kl", egpo(0.5, 0.0), with_beta(GAMES[0], 0.0), r"beta = 0, but egpo.kl assumes a regularised"),
        (
            "nash_mirror_prox.average",
            nash_mirror_prox(2.0, 0.1),
            GAMES[0],
            r"beta = 0.1, but nash_mirror_prox.average assumes the original game",
        ),
        (
            "egpo.kl",
            egpo(1.9, 0.1),
            GAMES[0],
            r"step size is 1.9, but egpo.kl assumes one above 0 in \[0, 1.66667\]",
        ),
        ("egpo.kl", egpo(0.0, 0.1), GAMES[0], r"step size is 0"),
        (
            "egpo.kl",
            egpo(0.5, 0.2),
            GAMES[0],
            r"algorithm's beta is 0.2, but egpo.kl assumes that of the game",
        ),
        ("egpo.span", egpo(0.5, 0.1), TWO_CONTEXTS, r"the game has 2 contexts, but egpo.span assumes 1"),
        ("egpo.kll", egpo(0.5, 0.1), GAMES[0], r"'egpo.kll' is not a claim.*egpo.half_kl"),
        ("egpo.kl", egpo(0.5, 0.1), [], r"0 games"),
    ],
)
def test_what_is_outside_the_assumptions_is_refused(claim, method, game, match):
    with pytest.raises(InputError, match=match):
        check(claim, method, game)


def test_numbers_that_are_no_counts_are_refused():
    with pytest.raises(InputError, match="num_starts is 0"):
        check("egpo.kl", longest, GAMES, num_starts=0)


def test_records_of_anybody_and_whole_numbers_in_closures_are_judged():
    def mine(step_size, beta):
        shared = egpo(float(step_size), beta)
        return types.SimpleNamespace(
            init=shared.init, step=lambda *of: shared.step(*of) if step_size else None, claims=shared.claims
        )

    for method in (mine(1, 0.1), lambda beta: mine(1, beta)):
        verdict = check("egpo.kl", method, GAMES[0], num_steps=5)
        assert verdict.holds
        assert verdict.witness.step_size == 1


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        check("egpo.kl", longest, GAMES[:1])


def test_an_excluded_action_stays_out():
    log_ref = jnp.log(jnp.array([0.5, 0.3, 0.2, 0.0]))
    game = make_game(families.uniform_skew(jax.random.key(3), 4), log_ref, 0.3)
    assert check("egpo.span", longest, game, num_steps=40).holds


def test_several_contexts_are_judged_together():
    assert check("egpo.kl", longest, TWO_CONTEXTS, num_steps=40).holds


def single(game):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), game)


@pytest.mark.parametrize(
    ("claim", "method", "game", "match"),
    [
        (3, longest, GAMES[0], "claim is a int"),
        ("egpo.kl", "egpo", GAMES[0], "algorithm is a str"),
        ("egpo.kl", longest, [np.eye(3)], "game 0 is a ndarray, but it must be a Game"),
        ("egpo.kl", longest, with_beta(GAMES[0], [0.1, 0.2]), "game 0 is a batch"),
        ("egpo.kl", longest, single(GAMES[0]), "game 0 holds float32 numbers"),
        ("egpo.kl", longest, GAMES[0]._replace(advantage=abs(GAMES[0].advantage)), r"assumes P \+ P\^T = 1"),
        ("egpo.kl", longest, GAMES[0]._replace(advantage=3 * GAMES[0].advantage), r"entries in \[0, 1\]"),
        ("egpo.kl", longest, with_beta(GAMES[0], 1e-14), "rounding moves log-policies"),
    ],
)
def test_what_is_no_game_or_method_is_refused(claim, method, game, match):
    with pytest.raises(InputError, match=match):
        check(claim, method, game, num_steps=40)


def test_a_sampled_oracle_needs_seeds():
    with pytest.raises(InputError, match="num_seeds is 1, but"):
        check("nash_md.constant.kl", nash_md(0.5, 1.0), GAMES[1], make_oracle=sampled(1))


def test_a_negative_bound_holds_for_nothing():
    claim = Claim("mine", metric="kl_to_nash", bound=lambda step, known: -1.0 + 0 * step)
    assert not check(claim, longest, GAMES[0], num_steps=40).holds


def test_an_algorithm_without_a_step_size_is_judged():
    def step(key, state, oracle, space):
        feedback = oracle.payoff(key, state.policy)
        best = space.project(state.policy, lambda log_prob, log_ref, p: log_ref + p / 2.0, feedback)
        return state._replace(policy=best), Info(1)

    mine = algorithm(online_mirror_descent(0.1, 2.0).init.func, step)
    # the best-response map contracts the span by 1/(2β)
    claim = Claim("mine", metric="span_to_nash", bound=lambda step, known: known.span_start / 4.0**step)
    assert check(claim, mine, with_beta(GAMES[0], 2.0), num_steps=40).holds


def test_an_original_game_has_no_nash_to_be_near():
    claim = Claim("mine", metric="kl_to_nash", bound=lambda step, known: 100 + 0 * step, regularised=False)
    with pytest.raises(InputError, match="kl_to_nash needs log_nash"):
        check(claim, egpo(0.5, 0.0), with_beta(GAMES[0], 0.0))


def _start_both(policy):
    return EGPOState(policy, policy)


def _short_step(key, state, oracle, space, *, step_size, beta):
    """EGPO with a half step of half the length."""
    short, full = (Partial(explicit, step_size=scale * step_size, beta=beta) for scale in (0.5, 1.0))
    half = space.project(state.policy, short, oracle.payoff(key, state.policy))
    return EGPOState(space.project(state.policy, full, oracle.payoff(key, half)), half), Info(queries=2)


def short_egpo(beta):
    return algorithm(_start_both, _short_step, step_size=1 / (beta + 0.5), beta=beta)


GUESS = Claim(
    "short_egpo.kl",
    metric="kl_to_nash",
    bound=lambda step, known: (1 - known.step_size * known.beta) ** step * known.kl_start,
    statement="KL_t <= (1 - ηβ)^t KL_0",
)
CIRCLES = [make_game(families.biased_rock_paper_scissors(), beta=beta) for beta in (0.01, 0.1, 1.0)]


def test_a_false_claim_passes_three_games_and_the_search_refutes_it():
    assert assert_claim(GUESS, short_egpo, CIRCLES, num_steps=30).holds
    with pytest.raises(AssertionError) as raised:
        assert_claim(GUESS, short_egpo, CIRCLES, search=True, num_steps=30)
    text = str(raised.value)
    assert re.search(r"short_egpo.kl: FAILS, worst measured/bound [2-9]\S* in 6 runs and 32 searches", text)
    # a circle of three decided pairs, in plain decimals
    assert re.search(r"preference 0\.500 \S+ \S+\n +\S+ 0\.500 \S+\n +\S+ \S+ 0\.500\n", text)
    assert not re.search(r"\de[+-]\d\d .*\n +reference", text)


def test_the_bank_refutes_it_too_and_a_true_claim_survives_both():
    # min cannot be traced: the algorithms of all betas are one batch then
    true = assert_claim(
        "egpo.kl", lambda beta: egpo(min(1 / (beta + 0.5), 2.0), beta), "bank", search=True, num_steps=30
    )
    assert (true.runs, true.searches) == (160, 32)
    assert 0.99 < true.worst <= 1 + 1e-9
    assert true.witness.game.num_actions <= 5
    false = check(GUESS, short_egpo, "bank", num_steps=200)
    assert not false.holds
    assert false.runs == 160


@pytest.mark.parametrize(
    ("bound", "match"),
    [
        (lambda step, known: math.exp(-step), r"TypeError.*write jnp.exp for math.exp"),
        (lambda step, known: 1.0 if step == 0 else 0.5, r"jnp.where\(step == 0, a, b\) for if"),
        (lambda step, known: known.actions * 1.0**step, r"known has step_size.*num_actions, log_min_ref"),
        (lambda step, known: jnp.ones(3), r"returns \(3,\) for 41 steps"),
        (lambda step, known: None, r"returns None for 41 steps"),
    ],
)
def test_a_bound_that_cannot_be_evaluated_is_refused_before_a_run(bound, match):
    claim = Claim("mine", metric="kl_to_nash", bound=bound)
    for search in (False, True):
        with pytest.raises(InputError, match=match):
            check(claim, longest, GAMES, num_steps=40, search=search)


def test_a_bound_in_the_number_of_actions_and_the_smallest_reference():
    def bound(step, known):
        return (-known.log_min_ref + 0 * jnp.log(known.num_actions)) * jnp.ones_like(step)

    claim = Claim("mine", metric="kl_to_nash", bound=bound)
    found = check(claim, longest, GAMES[1], num_starts=1, num_steps=40)
    assert found.holds  # the uniform log of the reference bounds every divergence from it
    assert found.witness.bound == pytest.approx(np.log(20))


@pytest.mark.parametrize(
    ("method", "games", "more", "match"),
    [
        (egpo(0.5, 0.1), "bank", {}, "betas from 0.001 to 10, but the algorithm is made for one"),
        (longest, "ledger", {}, "games is 'ledger', but"),
        (lambda beta: egpo(5.0, beta), "bank", {}, "the step size is 5, but egpo.kl assumes"),
        (
            longest,
            GAMES,
            {"search": True, "make_oracle": sampled(1), "num_seeds": 10},
            "run the exact oracle on tables",
        ),
    ],
)
def test_what_the_bank_and_the_search_cannot_do_is_refused(method, games, more, match):
    with pytest.raises(InputError, match=match):
        check("egpo.kl", method, games, num_steps=40, **more)


def test_closures_are_traced_or_else_compiled_one_by_one(monkeypatch):
    monkeypatch.setattr(worst, "NUM_PROGRAMS", 2)

    def closure(beta):
        shared = short_egpo(beta)
        return Algorithm(shared.init, lambda *arguments: shared.step(*arguments))

    def untraceable(beta):
        return closure(float(beta))

    def of_two_programs(beta):
        return nash_prox(float(beta), float(beta), 1 + int(beta > 0.1))

    claim = dataclasses.replace(GUESS, bound=lambda step, known: known.kl_start + 0 * step)
    proposal = worst.on_bank(claim, closure, 5)
    assert proposal.tried == 160
    assert proposal.start.shape == proposal.game.log_ref.shape
    # the numbers of a closure are a batch
    assert worst.on_bank(claim, untraceable, 5).tried == 160
    assert worst.on_bank(claim, of_two_programs, 5).tried == worst.NUM_PROGRAMS
