"""The peer of ``nlhf bench tabular``: the updates and the gap in plain numpy, as one would write them there.

Log-space, ``P π`` computed once for the gap and the step, arrays of any leading shape: ``[A]`` is one run,
``[S, A]`` are S runs whose queries are one matrix product. The gap is the direct formula, which is cheaper
than the library's and loses its digits below 1e-16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Problem(NamedTuple):
    """One game, and the settings of one algorithm on it."""

    advantage: Array  # ``[A, A]`` skew
    log_ref: Array  # ``[A]``
    beta: Array  # ``[]`` or ``[S, 1]``
    step_size: Array  # ``[]`` or ``[S, 1]``

    def payoff(self, log_policy: Array) -> Array:
        """``(P - 1/2) π`` of each row; the matrix is skew, hence the sign and the order."""
        return -(np.exp(log_policy) @ self.advantage)

    def explicit(self, log_policy: Array, payoff: Array) -> Array:
        """Normalised ``(1 - ηβ) log π + ηβ log π_ref + η P``."""
        pull = self.step_size * self.beta
        return _normalise((1 - pull) * log_policy + pull * self.log_ref + self.step_size * payoff)

    def implicit(self, log_policy: Array, payoff: Array) -> Array:
        """Normalised ``(log π + gβ log π_ref + g P) / (1 + gβ)``."""
        pull = self.step_size * self.beta
        return _normalise((log_policy + pull * self.log_ref + self.step_size * payoff) / (1 + pull))


def loop(name: str, problem: Problem, num_steps: int) -> Array:
    """Return the duality gap at steps 0..num_steps - 1 of an algorithm started at the reference.

    Args:
      name: a key of ``STEPS``.
      num_steps: N >= 1.

    Returns:
      ``[N]`` or ``[N, S]``.
    """
    shape = np.broadcast_shapes(problem.beta.shape, problem.log_ref.shape)
    log_policy = half = np.broadcast_to(problem.log_ref, shape)
    gaps = []
    for count in range(num_steps):
        payoff = problem.payoff(log_policy)
        gaps.append(_gap(problem, log_policy, payoff))
        log_policy, half = STEPS[name](problem, log_policy, half, payoff, count)
    return np.stack(gaps)


def _normalise(logits: Array) -> Array:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _gap(problem: Problem, log_policy: Array, payoff: Array) -> Array:
    logits = problem.log_ref + payoff / problem.beta
    largest = logits.max(-1)
    value = largest + np.log(np.exp(logits - largest[..., None]).sum(-1))
    distance = (np.exp(log_policy) * (log_policy - problem.log_ref)).sum(-1)
    return 2 * problem.beta.reshape(value.shape) * (value + distance)


def _online_mirror_descent(
    problem: Problem, log_policy: Array, half: Array, payoff: Array, count: int
) -> tuple[Array, Array]:
    return problem.explicit(log_policy, payoff), half


def _nash_md(
    problem: Problem, log_policy: Array, half: Array, payoff: Array, count: int
) -> tuple[Array, Array]:
    pull = problem.step_size * problem.beta
    mixture = _normalise((1 - pull) * log_policy + pull * problem.log_ref)
    return _normalise(mixture + problem.step_size * problem.payoff(mixture)), half


def _nash_mirror_prox(
    problem: Problem, log_policy: Array, half: Array, payoff: Array, count: int
) -> tuple[Array, Array]:
    half = problem.implicit(log_policy, payoff)
    return problem.implicit(log_policy, problem.payoff(half)), half


def _egpo(problem: Problem, log_policy: Array, half: Array, payoff: Array, count: int) -> tuple[Array, Array]:
    half = problem.explicit(log_policy, payoff)
    return problem.explicit(log_policy, problem.payoff(half)), half


def _omwu(problem: Problem, log_policy: Array, half: Array, payoff: Array, count: int) -> tuple[Array, Array]:
    answer = problem.payoff(half)
    if count:  # the first query only extrapolates
        log_policy = problem.explicit(log_policy, answer)
    return log_policy, problem.explicit(log_policy, answer)


STEPS: dict[str, Callable[..., tuple[Array, Array]]] = {
    "online_mirror_descent": _online_mirror_descent,
    "nash_md": _nash_md,
    "nash_mirror_prox": _nash_mirror_prox,
    "egpo": _egpo,
    "omwu": _omwu,
}
