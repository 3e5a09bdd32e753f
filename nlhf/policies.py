"""Policies that are more than an array: a trained one with its optimiser, and a lazy mixture of two."""

from __future__ import annotations

from typing import Any, NamedTuple


class Trained(NamedTuple):
    """A policy moved by an optimiser: what is trained, and where its training stands.

    Attributes:
      parameters: what the optimiser moves (of an actor, of a transformer, of adapters); ``None`` where a
        space says so, for the policy that nothing has moved.
      optimiser_state: of the optax transformation (Adam's moments), kept from step to step.
    """

    parameters: Any
    optimiser_state: Any


class Mixture(NamedTuple):
    """Lazy geometric mixture ``policy^(1 - weight) other^weight``; what moves of it is ``policy``.

    Attributes:
      policy: a policy of the space, or a mixture.
      other: likewise.
      weight: in [0, 1].
    """

    policy: Any
    other: Any
    weight: Any
