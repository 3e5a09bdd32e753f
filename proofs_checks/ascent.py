"""Search for the worst instance of a claim by gradient ascent: the algorithms are differentiable.

The equilibrium is planted: skew matrix, Nash policy, start and (where it is not given) β are free, and
the reference is derived from them, so that no equilibrium has to be solved inside the objective

    max over 1 <= t <= T of log(measured_t / bound_t).

Half of the searches begin at random, half near cyclic games, whose linearisation rotates fastest and which
random starts do not find when there are many actions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlhf import logspace
from nlhf.base import Algorithm, Claim
from nlhf.optimiser import apply
from proofs_checks import bound as bounds
from proofs_checks.assumptions import step_size_of
from proofs_checks.claims import VARIANTS, claims_of
from tabular.bounds import constants
from tabular.families import rock_paper_scissors
from tabular.games import Game
from tabular.metrics import METRICS
from tabular.oracle import exact
from tabular.payoff import payoff
from tabular.spaces.simplex import simplex

Array = jax.Array

LOG_BETA = (math.log(1e-3), math.log(10.0))
VISIBLE = 1e-16  # a bound below it is not worth approaching: there rounding decides
LEARNING_RATE = 0.05
SATURATED = 1 - 1e-7  # decided pairs lie at infinity
RARE = 12.0  # nats below the most likely action


class Candidate(NamedTuple):
    """Free parameters of one search; β is not read where it is given."""

    skew: Array  # ``[A, A]``, the upper triangle: advantage = tanh(.) / 2
    nash: Array  # ``[A]`` logits of the planted equilibrium (of the reference, for β = 0)
    offset: Array  # ``[A]`` log start - log Nash, up to a constant
    beta: Array  # ``[]`` unbounded; squashed into [1e-3, 10]


class Problem(NamedTuple):
    """What to search for; every field is a batch ``[N]``, one entry a search."""

    weight: Array  # ``[N, C]`` which of the variant's claims (one-hot)
    stretch: Array  # step size over the end of the claim's range
    beta: Array  # KL coefficient, NaN where it is free
    method: Any = ()  # a batch of algorithms; empty where the subject makes them


class Found(NamedTuple):
    """The end of the searches."""

    ratio: Array  # ``[N]`` measured/bound, judged with the allowance for rounding
    step: Array  # ``[N]`` at which it was reached
    step_size: Array  # ``[N]``
    beta: Array  # ``[N]``
    advantage: Array  # ``[N, A, A]``
    log_ref: Array  # ``[N, A]``
    log_nash: Array  # ``[N, A]``
    log_start: Array  # ``[N, A]``


class Subject(NamedTuple):
    """What a compiled search is about; hashable."""

    # those that a search may be about, in the order of ``Problem.weight``; all of them about β > 0, or all
    # about β = 0
    claims: tuple[Claim, ...]
    make: Callable[[Any, Any], Algorithm]  # ``make(step_size, beta) -> Algorithm``, traceable
    # ``longest(beta)``, the longest step where a claim's range has no end; ``None`` where the algorithm
    # brings its own step size
    longest: Callable[[Any], Any] | None
    num_actions: int  # A
    num_steps: int  # T, steps of the runs

    @property
    def regularised(self) -> bool:
        """Whether the claims are about β > 0."""
        return self.claims[0].regularised


def subject_of(variant: str, names: tuple[str, ...], num_actions: int, num_steps: int) -> Subject:
    """Return the subject of some claims of a key of ``proofs_checks.claims.VARIANTS``."""
    recipe = VARIANTS[variant]
    claims = tuple(claim for claim in claims_of(variant) if claim.name in names)
    return Subject(claims, recipe.make, recipe.longest, num_actions, num_steps)


@functools.partial(jax.jit, static_argnums=(0, 1))
def ascend(
    subject: Subject,
    num_ascents: int,
    key: Array,
    problem: Problem,
    given: tuple[Array, Candidate] | None = None,
) -> Found:
    """Run one search for each entry of a batch of problems.

    Args:
      subject: what the searches are about.
      num_ascents: gradient steps.
      key: random key of the first candidates.
      given: ``[N]`` booleans, and candidates to begin at where they are True.
    """
    first = jax.vmap(functools.partial(_first, subject.num_actions))(
        jax.random.split(key, len(problem.beta)), jnp.arange(len(problem.beta)), problem.beta
    )
    if given is not None:
        use, candidate = given
        first = jax.tree.map(lambda new, old: jnp.where(_column(use, new), new, old), candidate, first)
    objective = functools.partial(_log_ratio, subject)
    slope = jax.vmap(jax.value_and_grad(objective))
    solver = optax.adam(LEARNING_RATE)

    def climb(carry: tuple, _: None) -> tuple[tuple, None]:
        candidate, state, best, record = carry
        value, gradient = slope(candidate, problem)
        better = value > record
        best = jax.tree.map(lambda new, old: jnp.where(_column(better, new), new, old), candidate, best)
        downhill = jax.tree.map(lambda leaf: -jnp.nan_to_num(leaf), gradient)
        moved, state = apply(solver, downhill, state, candidate)
        return (moved, state, best, jnp.where(better, value, record)), None

    start = (first, solver.init(first), first, jnp.full(len(problem.beta), -jnp.inf))
    (_, _, best, _), _ = jax.lax.scan(climb, start, None, length=num_ascents)
    return jax.vmap(functools.partial(_judge, subject))(best, problem)


def _column(flag: Array, like: Array) -> Array:
    return flag.reshape(flag.shape + (1,) * (like.ndim - 1))


def _first(num_actions: int, key: Array, index: Array, beta: Array) -> Candidate:
    skew_key, nash_key, offset_key, beta_key = jax.random.split(key, 4)
    cyclic = index % 2 == 1
    circle = jnp.asarray(np.triu(2 * rock_paper_scissors(num_actions) - 1, 1))
    noise = jax.random.normal(skew_key, (num_actions, num_actions))
    spread = jnp.asarray([0.1, 1.0, 3.0])[index // 2 % 3]
    return Candidate(
        skew=jnp.where(cyclic, 2 * circle + 0.1 * noise, 1.5 * noise),
        nash=jnp.where(cyclic, 0.1, 1.0) * jax.random.normal(nash_key, (num_actions,)),
        offset=spread * jax.random.normal(offset_key, (num_actions,)),
        beta=jnp.where(jnp.isnan(beta), 2 * jax.random.normal(beta_key), 0.0),
    )


def _instance(subject: Subject, candidate: Candidate, problem: Problem) -> tuple[Game, Array, Array, Array]:
    """Return game, Nash policy, start and step size of a candidate."""
    upper = jnp.triu(0.5 * jnp.tanh(candidate.skew), 1)
    advantage = (upper - upper.T)[None]
    log_nash = logspace.normalise(candidate.nash)[None]
    log_start = logspace.normalise(log_nash + candidate.offset[None])
    low, high = LOG_BETA
    free = jnp.exp(low + (high - low) * jax.nn.sigmoid(candidate.beta))
    beta = jnp.where(jnp.isnan(problem.beta), free, jnp.nan_to_num(problem.beta))
    game = Game(advantage, log_nash, jnp.ones((1,)), beta)
    if subject.regularised:
        game = game._replace(log_ref=bounds.planted_reference(game, log_nash))
    if subject.longest is None:
        return game, log_nash, log_start, jnp.asarray(jnp.nan)
    ends = []
    for claim in subject.claims:
        _, high_end = claim.step_size_range(beta)
        ends.append(jnp.where(jnp.isfinite(high_end), high_end, subject.longest(beta)))
    return game, log_nash, log_start, problem.stretch * (problem.weight @ jnp.stack(ends))


def _measure(subject: Subject, instance: tuple, method: Any) -> tuple[Array, Array, Array, Any]:
    """Return values and bounds ``[C, T + 1]`` of all claims, rounding ``[T + 1]`` and the step size."""
    game, log_nash, start, step_size = instance
    claims = subject.claims
    method = method or subject.make(step_size, game.beta)
    if subject.longest is None:
        step_size = step_size_of(method)
    policies = _trajectory(method._replace(claims=()), game, start, subject.num_steps)
    step = jnp.arange(subject.num_steps + 1.0)
    known = constants(game, log_nash, start, step_size)
    measured = {}
    for measure in dict.fromkeys((claim.metric, claim.iterate) for claim in claims):
        metric, log_policy = METRICS[measure[0]], policies[measure[1]]
        advantage = jax.vmap(payoff, (None, 0))(game.advantage, log_policy)
        measured[measure] = jax.vmap(metric, (None, 0, 0, None))(game, log_policy, advantage, log_nash)
    values = jnp.stack([measured[claim.metric, claim.iterate] for claim in claims])
    ceilings = jnp.stack([jnp.broadcast_to(claim.bound(step, known), step.shape) for claim in claims])
    return values, ceilings, bounds.log_rounding(game, start, step, step_size), step_size


def _trajectory(method: Any, game: Game, start: Array, num_steps: int) -> dict[str, Array]:
    """Return the policies ``[T + 1, 1, A]`` of each iterate.

    ``tabular.runner`` measures inside its scan, which spares memory; here the program is differentiated
    and compiling it is what costs: so policies are kept, and measured once, as one batch.
    """
    space = simplex(game)
    oracle = exact(game, space.log_prob)

    def advance(state: Any, key: Array) -> tuple[Any, tuple[Array, Array, Array]]:
        after, _ = method.step(key, state, oracle, space)
        half = getattr(after, "half", None)
        return after, (
            after.policy,
            after.policy if half is None else half,
            state.policy if half is None else half,
        )

    keys = jax.random.split(jax.random.key(0), num_steps)
    _, (last, half, played) = jax.lax.scan(advance, method.init(start), keys)
    mean = jnp.cumsum(jnp.exp(played), 0) / jnp.arange(1.0, num_steps + 1)[:, None, None]
    return {
        name: jnp.concatenate([start[None], rest])
        for name, rest in (("last", last), ("half", half), ("average", jnp.log(mean)))
    }


def _log_ratio(subject: Subject, candidate: Candidate, problem: Problem) -> Array:
    instance = _instance(subject, candidate, problem)
    values, ceilings, _, _ = _measure(subject, instance, problem.method)
    # a ceiling of zero or less (a step beyond a range) promises nothing that could be approached
    ceilings = jnp.where(ceilings > 0, ceilings, jnp.inf)
    logs = jnp.log(jnp.maximum(values, 1e-300)) - jnp.log(jnp.minimum(ceilings, 1e300) + VISIBLE)
    return problem.weight @ jnp.where(bounds.moved(values), logs, -1e3).max(1)


def _judge(subject: Subject, candidate: Candidate, problem: Problem) -> Found:
    return judge_instance(subject, _instance(subject, candidate, problem), problem.weight, problem.method)


def judge_instance(subject: Subject, instance: tuple, weight: Array, method: Any = ()) -> Found:
    """Run one instance and return where it comes closest to breaking the claim that ``weight`` selects.

    Args:
      subject: what it is about.
      instance: a game, its Nash policy, the start and the step size.
      weight: ``[C]`` one-hot.
      method: replaces the subject's.
    """
    values, ceilings, delta, step_size = _measure(subject, instance, method)
    game, log_nash, start, _ = instance
    claims = subject.claims
    rows = [bounds.ratio(claim, values[i], ceilings[i], delta, game.beta) for i, claim in enumerate(claims)]
    table = jnp.where(bounds.moved(values), jnp.nan_to_num(jnp.stack(rows), posinf=1e300), 0.0)
    ratios = weight @ table
    return Found(
        ratio=ratios.max(),
        step=ratios.argmax(),
        step_size=jnp.asarray(step_size),
        beta=game.beta,
        advantage=game.advantage[0],
        log_ref=game.log_ref[0],
        log_nash=log_nash[0],
        log_start=start[0],
    )


def instance_of(found: Found, row: int) -> dict[str, Any]:
    """Return one end as JSON values, enough to run it again."""
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[row], found)
    return {
        "actions": int(one.log_ref.size),
        "beta": float(one.beta),
        "step_size": float(one.step_size),
        "step": int(one.step),
        "ratio": float(one.ratio),
        "advantage": one.advantage.tolist(),
        "log_ref": one.log_ref.tolist(),
        "log_nash": one.log_nash.tolist(),
        "log_start": one.log_start.tolist(),
    }


def candidate_of(instance: dict[str, Any], num_actions: int) -> Candidate:
    """Return the parameters of an instance, with actions of next to no mass added up to ``num_actions``.

    Hence what breaks a claim with few actions is where the search with more of them begins.

    Args:
      instance: from ``instance_of``.
      num_actions: at least those of the instance.
    """
    extra = num_actions - instance["actions"]
    advantage = np.pad(np.asarray(instance["advantage"]), (0, extra))
    log_nash, log_start = np.asarray(instance["log_nash"]), np.asarray(instance["log_start"])
    return Candidate(
        skew=jnp.asarray(np.arctanh(np.clip(2 * advantage, -SATURATED, SATURATED))),
        nash=jnp.asarray(np.pad(log_nash, (0, extra), constant_values=log_nash.max() - RARE)),
        offset=jnp.asarray(np.pad(log_start - log_nash, (0, extra))),
        beta=jnp.zeros(()),
    )
