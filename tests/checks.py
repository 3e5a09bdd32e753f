"""Assertions that more than one test file makes about an algorithm."""

from __future__ import annotations

import functools

import bank
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Algorithm, hyper
from tabular import families
from tabular.games import Game, with_beta
from tabular.oracle import exact
from tabular.runner import run
from tabular.spaces.simplex import simplex
from tabular.traces import Measure, Trace

NUM_STEPS = 800
MEASURES = (
    *(Measure("kl_to_nash"), Measure("kl_to_nash", "half")),
    *(Measure("exploitability"), Measure("exploitability", "half"), Measure("span_to_nash")),
)
FLOOR = 1e-20  # below it a KL divergence is made of rounding errors of its policies; a span below its root
ROUNDING = 1e-9  # relative: what one evaluation of a metric above the floor may be off by


@jax.jit
def one_step(method, game, key, state):
    """One step with the exact oracle in the simplex."""
    space = simplex(game)
    return method.step(key, state, exact(game, space.log_prob), space)


def states(method: Algorithm, game: Game, start, num_steps: int) -> list:
    """The states of the first steps, the initial one first."""
    visited = [method.init(start)]
    for _ in range(num_steps):
        visited.append(one_step(method, game, jax.random.key(0), visited[-1])[0])
    return visited


def assert_steps_equal_transcription(name: str, num_steps: int = 6, **changes) -> None:
    """Each context of the contextual game follows the numpy transcription, from a start off the reference."""
    game = bank.known("contextual").game
    settings = {**bank.ROWS[name].hyper(0.3), **changes}
    start = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), game.log_ref.shape))
    visited = states(bank.ALGORITHMS[name](**settings), game, start, num_steps)
    ours = np.stack([np.asarray(state.policy) for state in visited])
    preference = np.asarray(game.preference)
    for x in range(preference.shape[0]):
        theirs = bank.ROWS[name].transcription(
            np.exp(start[x]), np.exp(game.log_ref[x]), preference[x], num_steps, **settings
        )
        np.testing.assert_allclose(np.exp(ours[:, x]), theirs, rtol=1e-12, atol=0)
        assert np.abs(theirs[-1] - theirs[0]).max() > 1e-3, "a step that moves nothing tests nothing"


def record(method: Algorithm, item: bank.Known, start=None, num_steps: int = NUM_STEPS) -> Trace:
    """A run from the reference (or ``start``) with the distances to Nash; one compilation an algorithm."""
    start = item.game.log_ref if start is None else start
    return run(method, item.game, num_steps=num_steps, measures=MEASURES, log_nash=item.log_nash, start=start)


@functools.cache
def bank_run(name: str, game_name: str) -> Trace:
    """The run of an algorithm, with its row's hyper-parameters, from the reference of a game of the bank."""
    item = bank.known(game_name)
    return record(bank.make(name, float(item.game.beta)), item)


def assert_fixed_point(method: Algorithm, item: bank.Known, log_policy) -> None:
    """A whole run from a policy stays there, but for rounding in units of the largest logit."""
    scale = max(1.0, float(jnp.abs(log_policy).max()), 0.5 / float(item.game.beta))
    end = record(method, item, log_policy).state.policy
    np.testing.assert_allclose(end, log_policy, rtol=0, atol=1e-13 * scale)


def assert_converges(trace: Trace) -> None:
    """KL(Nash, last iterate) falls to 1e-12."""
    gap = np.asarray(trace.of("kl_to_nash"))
    assert gap[0] > 1e-3, "a start at the equilibrium tests nothing"
    assert gap[-1] <= 1e-12


def worst_ratio(claim, trace: Trace, constants) -> float:
    """Largest measured/bound over all recorded steps; values below the floor count as the floor."""
    measured = np.asarray(trace.of(claim.metric, claim.iterate))
    bound = np.asarray(claim.bound(np.asarray(trace.step, float), constants))
    assert np.isfinite(measured).all()
    assert not np.isnan(bound).any()
    assert (bound >= 0).all()
    first = 0 if claim.regularised else 1  # an average of no iterates carries no bound
    floor = FLOOR**0.5 if claim.metric == "span_to_nash" else FLOOR
    return float((np.maximum(measured, floor) / np.maximum(bound, floor))[first:].max())


def assert_claims_hold(
    method: Algorithm, settings: dict, item: bank.Known, trace: Trace | None = None
) -> None:
    """Every claim about a regularised game holds at every step of a run from the reference."""
    trace = record(method, item) if trace is None else trace
    constants = bank.constants(settings, item)
    claims = [claim for claim in method.claims if claim.regularised]
    assert claims
    for claim in claims:
        ratio = worst_ratio(claim, trace, constants)
        assert ratio <= 1 + ROUNDING, f"{claim.name}: measured/bound reaches {ratio}"


def assert_control_fails(
    method: Algorithm, control: Algorithm, settings: dict, item: bank.Known, num_steps: int = NUM_STEPS
) -> None:
    """A wrong method, judged by the right one's claims and constants, breaks every one of them."""
    constants = bank.constants(settings, item)
    trace = record(control._replace(claims=method.claims), item, num_steps=num_steps)
    for claim in method.claims:
        if claim.regularised:
            ratio = worst_ratio(claim, trace, constants)
            assert ratio > 1.01, f"{claim.name}: the control passes, measured/bound is {ratio}"


def assert_linear(name: str, game_name: str, share: float = 0.3) -> None:
    """The run of a method with a linear-rate theorem: it converges, its claims hold, Nash is fixed.

    The claims are checked at the row's step size and at ``share`` of it.
    """
    item = bank.known(game_name)
    settings = bank.ROWS[name].hyper(float(item.game.beta))
    method, trace = bank.ALGORITHMS[name](**settings), bank_run(name, game_name)
    assert_converges(trace)
    assert_claims_hold(method, settings, item, trace)
    assert_fixed_point(method, item, item.log_nash)
    shorter = {**settings, "step_size": share * settings["step_size"]}
    assert_claims_hold(bank.ALGORITHMS[name](**shorter), shorter, item)


def unregularised(game_name: str) -> bank.Known:
    """A game of the bank at beta = 0; its ``log_nash`` stays that of the regularised game."""
    item = bank.known(game_name)
    return bank.Known(with_beta(item.game, 0.0), item.log_nash)


def assert_average_claim(method: Algorithm, settings: dict, control: Algorithm | None = None) -> None:
    """The claims about the unregularised game hold on games of the bank, from their references."""
    claims = [claim for claim in method.claims if not claim.regularised]
    assert claims
    measures = tuple(Measure(claim.metric, claim.iterate) for claim in claims)
    for name in ("uniform_skew", "tournament", "low_rank_logits"):
        item = unregularised(name)
        constants = bank.constants(settings, item)
        for judged in (method,) if control is None else (method, control._replace(claims=method.claims)):
            trace = run(judged, item.game, num_steps=NUM_STEPS, measures=measures)
            for claim in claims:
                ratio = worst_ratio(claim, trace, constants)
                said = f"{claim.name} on {name}: measured/bound reaches {ratio}"
                assert (ratio <= 1 + ROUNDING) if judged is method else (ratio > 1.01), said


def flipped(method: Algorithm) -> Algorithm:
    """The method with the sign of every payoff wrong."""
    return method._replace(step=Partial(_flipped_step, method.step))


def _flipped_step(step, key, state, oracle, space):
    return step(key, state, oracle._replace(payoff=Partial(_negated, oracle.payoff)), space)


def _negated(payoff, key, policy):
    feedback = payoff(key, policy)
    return feedback._replace(preference=-feedback.preference)


def half_pull(name: str, settings: dict) -> Algorithm:
    """The method with half the pull towards the reference: it runs at beta / 2 on the game with beta.

    Its hyper-parameters are hidden, for a run warns of two betas that differ.
    """
    method = bank.ALGORITHMS[name](**{**settings, "beta": settings["beta"] / 2})
    return method._replace(step=Partial(_hidden_step, method.step))


def _hidden_step(step, *arguments):
    return step(*arguments)


def replaced_step(method: Algorithm, step) -> Algorithm:
    """The method's hyper-parameters with another step."""
    return method._replace(step=Partial(step, **hyper(method)))


@functools.cache
def hard_game() -> bank.Known:
    """Nearly cyclic, asymmetric, small beta: without an exact half step the extragradient family diverges."""
    log_ref = np.log([0.35, 0.25, 0.2, 0.15, 0.05])
    return bank.solved(families.rock_paper_scissors(5), log_ref, 0.01)


def easy_game() -> bank.Known:
    """Decided pairs, a skewed reference and beta = 1: every bound is tight enough to be broken."""
    log_ref = np.log([0.6, 0.2, 0.1, 0.07, 0.03])
    return bank.solved(families.rock_paper_scissors(5), log_ref, 1.0)
