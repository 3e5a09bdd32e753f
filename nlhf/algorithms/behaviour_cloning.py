"""Behaviour cloning: maximum likelihood of the responses themselves, the baseline and warm start of CPL."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner
from nlhf.losses import cloning
from nlhf.method import Method
from nlhf.replay import Replay


def step(
    key: Array,
    state: LearnerState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    preferred: Any,
) -> tuple[LearnerState, Info]:
    """Take comparisons; ``π+ = argmin Σ cloning``."""
    loss = Partial(cloning, preferred=preferred)
    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=state.policy)


def behaviour_cloning(preferred: Any, replay: Replay) -> Algorithm:
    """Imitate the responses (or segments) of the comparisons.

    ``π+ = argmin_π -Σ [(1 - c) (s + s')/2 + c s_preferred]``, s a response's log-probability: c = 0 clones
    all of them and ignores the labels, c = 1 clones the preferred ones ("SFT" in the tables of CPL).

    Args:
      preferred: c in [0, 1].
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: the baseline of arXiv:2310.13639.
    """
    check_number("preferred", preferred, high=1)
    return learner(init, step, replay, preferred=preferred)


METHOD = Method(
    name="behaviour_cloning",
    factory=behaviour_cloning,
    label="Behaviour cloning",
    colour="#888888",
    source="the baseline of arXiv:2310.13639",
    queries="likelihood of both, or of the preferred responses",
    settings=lambda beta, step_size: {"preferred": 1.0},
    promise="the baseline of CPL",
)
