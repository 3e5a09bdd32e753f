"""A world that writes down what an algorithm asks of it: tests of the boxes themselves, nothing compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nlhf.base import Comparisons, Feedback, Oracle, PolicySpace
from nlhf.replay import buffer

ANSWER = Comparisons(
    context=jnp.array([0, 0]),
    first=jnp.array([1, 2]),
    second=jnp.array([0, 1]),
    prefer_first=jnp.array([1.0, 0.0]),
    weight=jnp.ones(2),
)
KEY = jax.random.key(0)
RATIO = jnp.array([-0.7, 0.2, 1.1])  # log-ratios at which recorded losses are evaluated


class World:
    """An oracle and a space whose policies are names.

    Attributes:
      duels: pairs (policy, opponent) that were asked.
      fits: (start, value of the loss at RATIO on the memory, calibration) of every fit.
      projections: (start, target at log-policies 0.3 and references 0.1, feedback) of every projection.
    """

    def __init__(self) -> None:
        self.duels: list[tuple] = []
        self.fits: list[tuple] = []
        self.projections: list[tuple] = []

    @property
    def oracle(self) -> Oracle:
        def duel(key: Any, policy: Any, opponent: Any) -> Comparisons:
            self.duels.append((policy, opponent))
            return ANSWER

        return Oracle(payoff=lambda key, policy: Feedback(None, jnp.zeros((1, 3))), duel=duel)

    @property
    def space(self) -> PolicySpace:
        def fit(key, policy, loss, comparisons, calibration=None):
            each = loss(RATIO[comparisons.first], RATIO[comparisons.second], comparisons.prefer_first)
            self.fits.append((policy, (comparisons.weight * each).sum(), calibration))
            return f"fit{len(self.fits)}"

        def project(policy, target, feedback):
            moved = target(jnp.full((1, 3), 0.3), jnp.full((1, 3), 0.1), feedback.preference)
            self.projections.append((policy, moved, feedback))
            return f"projection{len(self.projections)}"

        reference, other = jnp.log(jnp.array([[0.2, 0.3, 0.5]])), jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
        return PolicySpace(
            reference="reference",
            log_prob=lambda policy, responses=None: reference if policy == "reference" else other,
            mix=lambda policy, other, weight: (policy, other, weight),
            project=project,
            fit=fit,
        )


def play(method, num_steps: int = 1):
    """Run an algorithm from the policy "start"; returns the world and the last state."""
    world, state = World(), method.init("start")
    for _ in range(num_steps):
        state, info = method.step(KEY, state, world.oracle, world.space)
        assert int(info.queries) == 2
    return world, state


def replay():
    """Room for three answers."""
    return buffer(6)
