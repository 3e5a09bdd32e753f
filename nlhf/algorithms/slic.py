"""SLiC-HF: a hinge on the implicit reward's margin, with a pull towards the reference's responses.

The published loss takes plain log-likelihoods; here they are relative to the reference, as in every other
loss of this package, and the margin is 1 in units of the implicit reward.
"""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Calibration, Comparisons, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner, total
from nlhf.losses import hinge
from nlhf.method import Method
from nlhf.replay import Replay


def step(
    key: Array,
    state: LearnerState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    beta: Any,
    mixture: Any,
    regularisation: Any,
) -> tuple[LearnerState, Info]:
    """Ask, append, ``π+ = argmin Σ [hinge - λ E_{π_ref} log π/π_ref]``."""
    opponent = space.mix(state.policy, space.reference, mixture)
    loss = Partial(hinge, beta=beta)

    def pull(rows: Comparisons) -> Calibration:
        return Calibration(space.reference, -regularisation * total(rows))

    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=opponent, calibrate=pull)


def slic(beta: Any, mixture: Any, regularisation: Any, replay: Replay) -> Algorithm:
    """Sequence likelihood calibration from human feedback.

    ``π+ = argmin_π Σ_i [max(0, 1 - β h_i) - λ E_{y~π_ref} log π/π_ref(y)]``, with ``h`` the log-ratio of the
    preferred response less that of the other one. The hinge has kinks: fit it in a space of k optimiser steps
    (a quasi-Newton fit to tolerance stops at one of them).

    Args:
      beta: KL coefficient, > 0.
      mixture: exponent of the reference in the second draw, in [0, 1]; 0: both draws from the policy.
      regularisation: λ >= 0, weight of the reference's likelihood a comparison.
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2305.10425.
    """
    check_number("beta", beta, open_low=True)
    check_number("mixture", mixture, high=1)
    check_number("regularisation", regularisation)
    return learner(init, step, replay, beta=beta, mixture=mixture, regularisation=regularisation)


METHOD = Method(
    name="slic",
    factory=slic,
    label="SLiC",
    colour="#DDCC77",
    source="arXiv:2305.10425",
    queries="the draws of dpo; hinge loss",
    settings=lambda beta, step_size: {"mixture": 0.0, "regularisation": 0.1},
)
