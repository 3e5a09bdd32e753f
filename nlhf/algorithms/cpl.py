"""CPL: a policy from preferences between segments, by contrast of log-probabilities; no reward, no RL."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner
from nlhf.losses import contrastive
from nlhf.method import Method
from nlhf.replay import Replay


def step(
    key: Array,
    state: LearnerState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    temperature: Any,
    bias: Any,
) -> tuple[LearnerState, Info]:
    """Take comparisons of segments; ``π+ = argmin Σ contrastive``."""
    loss = Partial(contrastive, temperature=temperature, bias=bias)
    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=state.policy)


def cpl(temperature: Any, bias: Any, replay: Replay) -> Algorithm:
    """Contrastive preference learning from regret-labelled segments.

    ``π+ = argmin_π Σ -log σ(α (s+ - λ s-))``, ``s = Σ_t γ^t log π(a_t|s_t)`` along a segment. The space says
    what a segment's log-probability is, γ included. With comparisons labelled by regret (the discounted
    optimal advantage of maximum-entropy control, which is α log π*) the population minimiser at λ = 1 is π*;
    with labels by partial return it is *not*: on pairs from one state it is the myopic policy.

    In a space that fits to tolerance one step on the whole data set is the estimate; in a space of k
    optimiser steps each step is a minibatch update, and a run is the training.

    Args:
      temperature: α > 0, of the labeller's maximum-entropy objective.
      bias: λ in (0, 1]; less than 1 puts mass on the actions of the data.
      replay: what is remembered; ``nlhf.replay.latest`` for a data set or for minibatches of one.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2310.13639; the released code has no γ.
    """
    check_number("temperature", temperature, open_low=True)
    check_number("bias", bias, high=1, open_low=True)
    return learner(init, step, replay, temperature=temperature, bias=bias)


METHOD = Method(
    name="cpl",
    factory=cpl,
    label="CPL",
    colour="#004488",
    source="arXiv:2310.13639",
    queries="contrast of two segments' discounted log-probabilities, λ on the loser",
    settings=lambda beta, step_size: {"temperature": beta, "bias": 1.0},
    promise="consistent with labels by regret, n^-1/2; with labels by partial return it is myopic",
)
