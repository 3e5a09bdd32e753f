"""Every mistake of a newcomer is answered in one line: value, rule and remedy."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tabular
from nlhf import Algorithm, Claim, Info, InputError, egpo
from nlhf.base import algorithm
from nlhf.logspace import normalise
from tabular import Axes, labelled, make_game, mistakes, run, sampled, simplex, solve

MATRIX = np.array([[0.5, 0.9], [0.1, 0.5]])
GAME = make_game(MATRIX, beta=0.3)
METHOD = egpo(0.8, 0.3)


class State(NamedTuple):
    policy: jax.Array


class Twice(NamedTuple):
    policy: jax.Array
    other: jax.Array


class Nameless(NamedTuple):
    table: jax.Array


def method(step, init=State, **hyper):
    return algorithm(init, step, **hyper)


def fine(key, state, oracle, space):
    return state, Info(1)


def swapped(key, state, oracle, space):
    return Info(1), state


def forgotten(key, state, oracle, space):
    return state


def fractional(key, state, oracle, space):
    return state, Info(queries=1.0)


def unnormalised(key, state, oracle, space):
    return State(state.policy + 1.0), Info(1)


def repeated(key, state, oracle, space, *, times):
    for _ in range(times):
        state = State(state.policy)
    return state, Info(1)


def branched(key, state, oracle, space, *, step_size):
    if step_size > 0:
        state = State(state.policy * 1)
    return state, Info(1)


def grown(key, state, oracle, space):
    return State(jnp.concatenate([state.policy, state.policy])), Info(1)


def misspelt(key, state, oracle, space):
    return State(oracle.payof(key, state.policy)), Info(1)


def started(**settings):
    return lambda: run(METHOD, GAME, num_steps=1, **settings)


def of(step, **settings):
    return lambda: run(method(step, **settings), GAME, num_steps=1)


MISTAKES = {
    "factory not called": (
        lambda: run(egpo, GAME, num_steps=1),
        "the algorithm is the function egpo, but a run takes an Algorithm; give what it returns, egpo(",
    ),
    "name for an algorithm": (
        lambda: run("egpo", GAME, num_steps=1),
        "the algorithm is the name 'egpo', but a run takes an Algorithm; give nlhf.default(\"egpo\", game.",
    ),
    "None for an algorithm": (lambda: run(None, GAME, num_steps=1), "an algorithm has the functions init"),
    "matrix for a game": (
        lambda: run(METHOD, MATRIX, num_steps=1),
        "the game is an array of shape (2, 2) and type float64, but a run takes a Game, a Bandit or an MDP; "
        "give tabular.make_game(preference, beta=...)",
    ),
    "matrix to solve": (lambda: solve(MATRIX), "the game is a ndarray, but a solver needs a Game; give"),
    "batch to solve": (
        lambda: solve(tabular.with_beta(GAME, np.array([0.1, 0.2]))),
        "the game is a batch (beta (2,), log_ref (1, 2)), but one is solved at a time; solve each, or vmap",
    ),
    "oracle factory not called": (
        started(make_oracle=sampled),
        "make_oracle is sampled, which takes settings first, but a run needs a function that returns the "
        "Oracle; give make_oracle=sampled(...)",
    ),
    "labels not called": (started(make_oracle=labelled), "make_oracle is labelled, which takes settings"),
    "space not called": (
        started(make_space=tabular.bounded_rewards),
        "make_space is bounded_rewards, which takes settings first, but a run needs a function that returns "
        "the PolicySpace; give make_space=bounded_rewards(...)",
    ),
    "space of nothing": (started(make_space=lambda game: game), "make_space is <lambda>, which returned a"),
    "four keys without axes": (
        started(key=jax.random.split(jax.random.key(0), 4)),
        "the key is a batch of shape (4,), but 0 levels of axes open it; give one key, or add Axes(key=0)",
    ),
    "seed for a key": (
        started(key=7), "the key is 7, but a run takes a key of JAX; give jax.random.key(7)"
    ),
    "not recorded": (
        lambda: run(METHOD, GAME, num_steps=1).of("kl_to_nash"),
        "'kl_to_nash' of last was not recorded, but only 'duality_gap' of last; add it to the run's measures",
    ),
    "letters for metrics": (started(measures=("gap",)), "'gap' is not a metric; known are kl_to_nash"),
    "no equilibrium": (started(measures="kl_to_nash"), "kl_to_nash needs log_nash; give tabular.solve(game)"),
    "swapped returns": (of(swapped), "swapped returned (info, state), but a step returns (state, info);"),
    "Info forgotten": (
        of(forgotten), "forgotten returned a State, but a step returns (state, info); end it with return"
    ),
    "Info forgotten, two fields": (
        of(forgotten, init=lambda policy: Twice(policy, policy)), "forgotten returned a Twice, but a"
    ),
    "fractional queries": (
        of(fractional), "fractional says queries=1.0, but queries are a whole number; give Info(queries=1)"
    ),
    "state without policy": (
        of(fine, init=Nameless), "Nameless returned a Nameless, but a state has a field `policy`, the last"
    ),
    "number for range": (
        of(repeated, times=np.array(3)), "repeated needs a concrete number (in range, if or float), but jit"
    ),
    "number for if": (of(branched, step_size=0.1), "branched needs a concrete number (in range, if"),
    "state that changes": (
        of(grown), "grown turned the state State(float64[1, 2]) into State(float64[2, 2]), but a state keeps"
    ),
    "unnormalised policy": (
        of(unnormalised), "unnormalised returned a policy of total probability 2.71828, but it must be 1; put"
    ),
    "bound of floats": (
        lambda: run(
            method(fine)._replace(claims=(Claim("mine", "duality_gap", lambda t, known: math.exp(-t)),)),
            GAME, num_steps=1,
        ).plot(bound=True),
        "the bound of mine fails on an array of steps (TypeError:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_in_one_line(name):
    call, message = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        call()
    said = str(caught.value)
    assert said.startswith(message)
    assert "\n" not in said
    assert "; " in said or " " in message  # a remedy after the rule


def test_what_fails_inside_a_step_keeps_its_traceback_and_says_whose_step_it_was():
    with pytest.raises(AttributeError, match="payof") as caught:
        run(method(misspelt), GAME, num_steps=1)
    note = "This was raised in misspelt, the step of the algorithm that the run was given."
    assert note in caught.value.__notes__
    assert any(entry.name == "misspelt" for entry in caught.traceback)


def test_nan_is_named_and_the_run_returned():
    def lost(key, state, oracle, space):
        return State(state.policy * jnp.nan), Info(1)

    with pytest.warns(UserWarning, match="lost has left NaN in 1 of 1 policies"):
        trace = run(method(lost), GAME, num_steps=1)
    assert np.isnan(trace.of("duality_gap")[-1])


def test_a_game_made_without_float64_is_named_by_a_run_and_refused_by_the_solver():
    with jax.enable_x64(False):
        game = make_game(MATRIX, beta=0.3)
    with pytest.warns(UserWarning, match="the game was made while float64 was off, so metrics") as caught:
        run(METHOD, game, num_steps=1)
    assert caught[0].filename == __file__
    with pytest.raises(InputError, match="the game is in float32, but an equilibrium needs float64; make"):
        solve(game)


def test_what_is_accepted():
    nash = solve(GAME)
    whole = run(METHOD, GAME, num_steps=1, log_nash=nash, measures="kl_to_nash", key=jax.random.PRNGKey(0))
    table = run(METHOD, GAME, num_steps=1, log_nash=nash.log_policy, measures=("kl_to_nash",))
    np.testing.assert_array_equal(whole.of("kl_to_nash"), table.of("kl_to_nash"))
    batch = run(METHOD, GAME, num_steps=1, key=jax.random.split(jax.random.key(0), 2), axes=(Axes(key=0),))
    assert batch.of("duality_gap").shape == (2, 2)

    def counted(key, state, oracle, space):
        return Twice(state.policy, state.other + 1), Info(jnp.asarray(1))

    assert int(run(method(counted, lambda policy: Twice(policy, 0)), GAME, num_steps=2).state.other) == 2
    weights = jnp.array([[0.2, 0.8]])

    def weighted(key, state, oracle, space):
        return State(normalise(state.policy + weights)), Info(1)

    def shifted(game):  # whose policies are tables, but no log-probabilities
        return simplex(game)._replace(reference=game.log_ref + 3, log_prob=lambda policy: normalise(policy))

    assert run(Algorithm(State, weighted), GAME, num_steps=1).state.policy.shape == (1, 2)
    assert float(run(method(fine), GAME, num_steps=1, make_space=shifted).of("duality_gap")[-1]) > 0


def test_a_step_is_checked_once_for_each_program():
    calls = []

    def counting(key, state, oracle, space):
        calls.append(1)
        return State(normalise(state.policy)), Info(1)

    counted = Algorithm(method(counting).init, method(counting).step)
    run(counted, GAME, num_steps=1)
    first = len(calls)
    run(counted, GAME, num_steps=1)
    assert len(calls) == first
    assert mistakes.MASS < 0.1
