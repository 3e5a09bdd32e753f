"""Certificates: claims judged in ball arithmetic on small games, so that a verdict is a proof.

The algorithm's own step is traced and run in balls (``balls``), the metrics are computed directly
(``planted``); then ``measured <= bound`` is certain, or its opposite is, or the balls overlap and the
precision is raised. What is certain is a statement about the equations in real numbers, for one instance
whose data are exact doubles.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx

from nlhf import algorithms
from nlhf.base import Algorithm, Claim, Constants
from proofs_checks.certificates.balls import PRECISION, Balls, UndecidedError, trace
from proofs_checks.certificates.enclosure import probabilities
from proofs_checks.certificates.planted import METRICS, Instance, Played, draw, play, span_to_nash
from proofs_checks.claims import VARIANTS
from proofs_checks.rows import Effort
from tabular.games import Game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

PROVED, REFUTED, UNDECIDED = "proved", "refuted", "undecided"
PRECISIONS = (256, 512, 2048)  # bits
Method = Callable[[Any, Any], Algorithm]  # (step_size, beta)
StepSize = Callable[[np.random.Generator, float], float]  # (rng, beta)
NUM_INNER = 25
METHODS: dict[str, Method] = {
    **{
        name: getattr(algorithms, name)
        for name in ("online_mirror_descent", "nash_mirror_prox", "egpo", "omwu")
    },
    "nash_md.constant": algorithms.nash_md,
    "nash_md.decreasing": lambda step_size, beta: algorithms.nash_md(None, beta),
    "nash_prox": functools.partial(algorithms.nash_prox, num_inner=NUM_INNER),
}
METHODS |= {name: recipe.make for name, recipe in VARIANTS.items() if name not in METHODS}
# a first step that only extrapolates leaves the two sides of the inequality equal
FIRST = {"omwu.kl": 2, "omwu.long_step": 2}
# ranges without an end; of nash_prox, where 25 inner steps shrink an inner game's distance a millionfold
STEP_SIZES: dict[str, StepSize] = {
    "online_mirror_descent.average": lambda rng, beta: float(10 ** rng.uniform(-2, 1)),
    "nash_prox.kl": lambda rng, beta: float(beta * 2 ** rng.uniform(-2, 1)),
}


class Step(NamedTuple):
    """Both sides of a claim after one step, as balls, and what they decide."""

    step: int
    measured: arb
    bound: arb
    verdict: str


class Certificate(NamedTuple):
    """What is certain about one instance."""

    verdict: str  # ``PROVED`` if every step is, ``REFUTED`` if one step is, else ``UNDECIDED``
    steps: tuple[Step, ...]  # the steps that were compared
    bits: int  # the precision that decided
    reason: str = ""  # why a run in balls broke off, else empty

    @property
    def worst(self) -> float:
        """A double that no step's measured / bound exceeds; infinite where the balls cannot say."""
        ratios = (above(step.measured / step.bound) if step.bound > 0 else np.inf for step in self.steps)
        return max(ratios, default=np.inf)


class Summary(NamedTuple):
    """How many instances of a claim were decided which way."""

    proved: int  # certain to hold, at every step
    refuted: int  # certain to fail, at some step
    undecided: int  # neither, at the highest precision
    bits: int  # the highest precision that was needed
    worst: float  # an upper bound on measured / bound over all instances and steps
    witness: Mapping[str, Any]  # the instance of that ratio, or the first that is not proved


def above(value: arb) -> float:
    """Return a double that is certainly not below the ball; ``inf`` where it has no upper end."""
    top = value.upper()
    if not top.is_finite():
        return np.inf
    nearest = float(top)
    return nearest if arb(nearest) >= top else float(np.nextafter(nearest, np.inf))


def below(value: arb) -> float:
    """Return a double that is certainly not above the ball; ``-inf`` where it has no lower end."""
    return -above(-value)


@functools.cache
def claimed() -> dict[str, tuple[Claim, Method]]:
    """Return every claim by name, with the method that makes it."""
    pairs = ((claim, method) for method in METHODS.values() for claim in method(0.1, 1.0).claims)
    return {claim.name: (claim, method) for claim, method in pairs}


def certify(
    claim: Claim,
    method: Method,
    instance: Instance,
    *,
    num_steps: int = 5,
    first: int = 1,
    precisions: tuple[int, ...] = PRECISIONS,
) -> Certificate:
    """Judge a claim on one instance for certain.

    Args:
      claim: its ``bound``, ``metric`` and ``iterate`` are used, and its range where the instance has a share.
      method: ``method(step_size, beta) -> Algorithm``; called with tracers.
      instance: the game, start and step size.
      num_steps: steps to run, >= 1.
      first: first step to compare. Both sides of many claims are *equal* at step 0, which no balls of a
        positive radius can decide.
      precisions: bits to try in turn until the verdict is certain.
    """
    certificate = Certificate(UNDECIDED, (), 0)
    for bits in precisions:
        with PRECISION, ctx.workprec(bits):
            try:
                steps = _compare(claim, method, instance, num_steps, first)
            except UndecidedError as error:
                certificate = Certificate(UNDECIDED, (), bits, str(error))
                continue
        verdicts = {step.verdict for step in steps}
        verdict = REFUTED if REFUTED in verdicts else PROVED if verdicts == {PROVED} else UNDECIDED
        certificate = Certificate(verdict, steps, bits)
        if verdict != UNDECIDED:
            break
    return certificate


def certify_claim(
    claim: Claim | str,
    method: Method | None = None,
    *,
    seed: int = 0,
    num_instances: int = 20,
    num_steps: int = 5,
    step_size: StepSize | None = None,
) -> Summary:
    """Judge a claim on drawn instances for certain; the steps reach and include the end of its range.

    Args:
      claim: a claim, or the name of one in ``claimed()``.
      method: ``method(step_size, beta) -> Algorithm``; ``None`` is the one that makes the claim.
      seed: root of the draws, which depend on the claim's name too.
      num_instances: how many games.
      num_steps: steps of each.
      step_size: ``step_size(rng, beta)``, for a claim whose range has no end; ``None`` is ``STEP_SIZES``.
    """
    claim, method = _resolve(claim, method)
    counts = {PROVED: 0, REFUTED: 0, UNDECIDED: 0}
    bits, worst = 0, -np.inf
    witness: Mapping[str, Any] = {}
    for instance in itertools.islice(_drawn(claim, seed, step_size), num_instances):
        certificate = certify(claim, method, instance, num_steps=num_steps, first=FIRST.get(claim.name, 1))
        counts[certificate.verdict] += 1
        bits = max(bits, certificate.bits)
        if certificate.worst > worst:
            worst, witness = certificate.worst, instance._asdict()
    return Summary(counts[PROVED], counts[REFUTED], counts[UNDECIDED], bits, float(worst), witness)


def certify_violation(
    claim: Claim | str,
    instance: Mapping[str, Any],
    method: Method | None = None,
    *,
    num_steps: int = 5,
) -> Certificate:
    """Judge a claim on an instance given as JSON values: ``REFUTED`` means that it is certainly violated.

    Args:
      claim: a claim, or the name of one in ``claimed()``.
      instance: the fields of ``planted.Instance``.
      method: as in ``certify_claim``.
      num_steps: steps to look at.
    """
    claim, method = _resolve(claim, method)
    first = FIRST.get(claim.name, 1)
    return certify(claim, method, Instance(**instance), num_steps=num_steps, first=first)


def certify_found(name: str, found: Mapping[str, Any], num_steps: int) -> str:
    """Judge an instance that a search in floating point has found, in balls.

    Args:
      name: the claim, one of ``claimed()``.
      found: JSON values of ``proofs_checks.ascent.instance_of``.
      num_steps: steps to look at, the found one among them.

    Returns:
      ``REFUTED``: violated for certain; ``PROVED``: not violated in these steps; or ``UNDECIDED``.
    """
    instance = {
        "matrix": found["advantage"],
        "start": found["log_start"],
        "beta": found["beta"],
        "nash": found["log_nash"] if found["beta"] > 0 else None,
        "step_size": found["step_size"],
    }
    return certify_violation(name, instance, num_steps=num_steps).verdict


def _drawn(claim: Claim, seed: int, step_size: StepSize | None) -> Iterator[Instance]:
    rng = Effort(seed).rng("certificate." + claim.name)
    rule = step_size or STEP_SIZES.get(claim.name)
    for index in itertools.count():
        yield draw(rng, index, regularised=claim.regularised, step_size=rule)


def _resolve(claim: Claim | str, method: Method | None) -> tuple[Claim, Method]:
    if isinstance(claim, str):
        claim = claimed()[claim][0]
    return claim, claimed()[claim.name][1] if method is None else method


def _compare(
    claim: Claim, method: Method, instance: Instance, num_steps: int, first: int
) -> tuple[Step, ...]:
    played = play(instance, lambda beta: _longest(claim)(beta)[()])
    constants = Constants(
        step_size=played.step_size,
        beta=played.beta,
        kl_start=METRICS["kl_to_nash"](played.log_start, played),
        log_start=functools.reduce(arb.max, -played.log_start),
        span_start=span_to_nash(played.log_start, played),
        num_actions=arb(len(played.log_ref)),
        log_min_ref=functools.reduce(arb.min, played.log_ref),
        largest_advantage=functools.reduce(arb.max, played.advantage.reshape(-1)),
    )
    steps = []
    for count, log_policy in enumerate(_iterates(claim.iterate, method, played, num_steps), 1):
        if count >= first:
            measured = METRICS[claim.metric](log_policy, played)
            bound = _bound(claim)(jnp.asarray(count), constants)[()]
            verdict = PROVED if measured <= bound else REFUTED if measured > bound else UNDECIDED
            steps.append(Step(count, measured, bound, verdict))
    return tuple(steps)


def _iterates(iterate: str, method: Method, played: Played, num_steps: int) -> Iterator[Balls]:
    """Yield the iterate that a claim is about after 1, 2, ... steps; averages as in ``tabular.runner``."""
    start, step = _programs(method, len(played.log_ref))
    state = start(played.step_size, played.beta, played.log_start[None])
    total: Any = 0
    for count in range(1, num_steps + 1):
        before = state
        state = step(played.step_size, played.beta, state, played.advantage[None], played.log_ref[None])
        if iterate != "average":
            yield (getattr(state, "half", state.policy) if iterate == "half" else state.policy)[0]
            continue
        seen = state.half if hasattr(state, "half") else before.policy
        total = total + probabilities(seen[0])
        yield np.array([(entry / count).log() for entry in total], object)


@functools.lru_cache(maxsize=256)
def _programs(method: Method, num_actions: int) -> tuple[Callable, Callable]:
    def start(step_size: Any, beta: Any, policy: Any) -> Any:
        return method(step_size, beta).init(policy)

    def step(step_size: Any, beta: Any, state: Any, advantage: Any, log_ref: Any) -> Any:
        game = Game(advantage, log_ref, jnp.ones(1), beta)
        space = simplex(game)
        oracle = exact(game, space.log_prob)
        return method(step_size, beta).step(jax.random.key(0), state, oracle, space)[0]

    number = jnp.zeros(())
    policy = jnp.zeros((1, num_actions))
    state = jax.eval_shape(start, number, number, policy)
    matrix = jnp.zeros((1, num_actions, num_actions))
    return trace(start, number, number, policy), trace(step, number, number, state, matrix, policy)


@functools.lru_cache(maxsize=256)
def _bound(claim: Claim) -> Callable:
    number = jnp.zeros(())
    return trace(claim.bound, jnp.asarray(0), Constants(*[number] * len(Constants._fields)))


@functools.lru_cache(maxsize=256)
def _longest(claim: Claim) -> Callable:
    return trace(lambda beta: jnp.asarray(claim.step_size_range(beta)[1]), jnp.zeros(()))
