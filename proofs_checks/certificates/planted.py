"""Small instances in doubles that are meant exactly, and the metrics of their policies, in balls.

The equilibrium needs no solver where it is planted: π* is chosen, and ``log π_ref = log π* - A π*/β`` up to a
constant makes it the regularised Nash policy. Where a reference is given instead, π* is enclosed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from flint import arb

from nlhf.errors import InputError
from proofs_checks.certificates.balls import Balls, balls
from proofs_checks.certificates.enclosure import enclose_nash, kl, log_sum, normalise, probabilities
from proofs_checks.instances import BETAS

SHARES = (1.0, 0.5, 0.9, 0.1, 1.0)
NUM_KINDS = 4


class Instance(NamedTuple):
    """A small game with a start, in doubles that are meant exactly; ``_asdict()`` is JSON."""

    matrix: Any  # ``[A, A]`` P - 1/2, skew, entries in [-1/2, 1/2]
    start: Any  # ``[A]`` logits of the first policy; ``None`` is the reference
    beta: float  # KL coefficient, >= 0
    # ``[A]`` logits of the planted π*, from which the reference follows (β > 0); or ``None``
    nash: Any = None
    reference: Any = None  # ``[A]`` logits of the reference, where no ``nash`` is given
    step_size: float | None = None  # the step size; ``None`` where ``share`` says it
    share: float | None = None  # the step size as a share of the largest that the claim covers


class Played(NamedTuple):
    """An instance in balls at the current precision."""

    advantage: Balls  # ``[A, A]``
    log_ref: Balls  # ``[A]``
    log_nash: Balls  # ``[A]``, NaN for β = 0
    log_start: Balls  # ``[A]``
    beta: arb  # ball of radius zero
    step_size: arb  # ball


def exploitability_original(log_policy: Balls, played: Played) -> arb:
    """Return ``max_a (A π)_a``."""
    return functools.reduce(arb.max, _payoff(log_policy, played))


def exploitability(log_policy: Balls, played: Played) -> arb:
    """Return ``β (logsumexp(log π_ref + A π/β) + KL(π‖π_ref))``, for β = 0 ``max_a (A π)_a``."""
    if played.beta == 0:
        return exploitability_original(log_policy, played)
    response = played.log_ref + _payoff(log_policy, played) / played.beta
    return played.beta * (log_sum(response) + kl(log_policy, played.log_ref))


def span_to_nash(log_policy: Balls, played: Played) -> arb:
    """Return ``max_a - min_a`` of ``log π - log π*``."""
    difference = log_policy - played.log_nash
    return functools.reduce(arb.max, difference) - functools.reduce(arb.min, difference)


def _payoff(log_policy: Balls, played: Played) -> Balls:
    return played.advantage @ probabilities(log_policy)


# none of these shares code with tabular.metrics: its KL divergence is a series, cut for floats
METRICS: dict[str, Callable[[Balls, Played], arb]] = {
    "kl_to_nash": lambda log_policy, played: kl(played.log_nash, log_policy),
    "kl_from_nash": lambda log_policy, played: kl(log_policy, played.log_nash),
    "kl_to_reference": lambda log_policy, played: kl(log_policy, played.log_ref),
    "span_to_nash": span_to_nash,
    "exploitability": exploitability,
    "exploitability_original": exploitability_original,
    "duality_gap": lambda log_policy, played: 2 * exploitability(log_policy, played),
}


def play(instance: Instance, longest: Callable[[arb], arb]) -> Played:
    """Read an instance at the current precision.

    Args:
      instance: the game, start and step size.
      longest: β -> the end of the range that a claim covers, which a share is a share of.

    Raises:
      InputError: if the instance is not one: see ``Instance``.
      UndecidedError: if the equilibrium cannot be enclosed at this precision.
    """
    _check(instance)
    advantage, beta = balls(np.asarray(instance.matrix, float)), arb(instance.beta)
    if instance.nash is not None:
        log_nash = normalise(balls(instance.nash))
        pull = advantage @ probabilities(log_nash)
        log_ref = normalise(log_nash - pull / beta)
    else:
        log_ref = normalise(balls(instance.reference))
        unknown = np.full(len(advantage), arb.nan(), object)
        log_nash = enclose_nash(advantage, log_ref, beta) if instance.beta > 0 else unknown
    log_start = log_ref if instance.start is None else normalise(balls(instance.start))
    if instance.step_size is not None:
        step_size = arb(instance.step_size)
    else:
        step_size = arb(instance.share) * longest(beta)
    return Played(advantage, log_ref, log_nash, log_start, beta, step_size)


def _check(instance: Instance) -> None:
    matrix = np.asarray(instance.matrix, float)
    if matrix.ndim != 2 or not np.array_equal(matrix, -matrix.T):
        raise InputError("the matrix is not skew, but P - 1/2 must be; give minus its transpose below")
    if np.abs(matrix).max() > 0.5:
        raise InputError(f"the matrix reaches {np.abs(matrix).max():g}, but P - 1/2 stays within [-1/2, 1/2]")
    if (instance.nash is None) == (instance.reference is None):
        raise InputError("give one of nash and reference: the other follows from it")
    if not instance.beta >= 0 or (instance.beta == 0 and instance.nash is not None):
        raise InputError(f"beta is {instance.beta:g}, but it must be >= 0, and > 0 for a planted equilibrium")
    if (instance.step_size is None) == (instance.share is None):
        raise InputError("give one of step_size and share")
    for name in ("start", "nash", "reference"):
        logits = getattr(instance, name)
        if logits is not None and not (len(logits) == len(matrix) and np.isfinite(logits).all()):
            raise InputError(f"{name} is {logits}, but it must hold {len(matrix)} finite logits")


def draw(
    rng: np.random.Generator,
    index: int,
    *,
    regularised: bool = True,
    step_size: Callable[[np.random.Generator, float], float] | None = None,
) -> Instance:
    """Draw a game of 2 to 5 actions, a start and a step size; the index rotates the kinds.

    Uniform skew games, tournaments, near ties and games with one dominating action; log β uniform between
    log 1e-3 and log 10, the first two draws at its ends; masses down to about 1e-7.

    Args:
      index: number of the instance.
      regularised: False draws β = 0, and a reference in place of an equilibrium.
      step_size: ``step_size(rng, beta)``; ``None`` gives a share of the claim's range in rotation.
    """
    size = 2 + index % 4
    kind = index // 4 % NUM_KINDS
    pairs = rng.uniform(-0.5, 0.5, (size, size))
    if kind == 1:
        pairs = np.sign(pairs) / 2
    elif kind == 2:
        pairs = 1e-4 * pairs
    elif kind == 3:
        pairs[0] = 0.5
    upper = np.triu(pairs, 1)
    low, high = np.log(BETAS)
    share = (1.0, 0.0, *rng.uniform(size=1))[min(index, 2)]
    beta = float(np.exp(low + (high - low) * share)) if regularised else 0.0
    spread = (1.0, 4.0)[index % 2]
    policy, start = (spread * rng.normal(size=(2, size))).tolist()
    given = step_size is not None
    return Instance(
        matrix=(upper - upper.T).tolist(),
        start=None if index % 3 == 0 and regularised else start,
        beta=beta,
        nash=policy if regularised else None,
        reference=None if regularised else policy,
        step_size=step_size(rng, beta) if step_size is not None else None,
        share=None if given else SHARES[index % len(SHARES)],
    )
