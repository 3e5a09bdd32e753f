"""XPO with the previous policy in the place of the reference: a sampler that moves with what was learnt.

Comparing against the reference saturates once the good responses are far better than any of its own; the
published remedies move the second draw along. Their texts were not available to us. This is a variant of the
general form of XPO (its Algorithm 2), which draws its second response from the policy that bears the bonus:
here the draw is one policy behind the bonus, and the paper's guarantee is not claimed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jax.tree_util import Partial

from nlhf.base import (
    Algorithm,
    Array,
    Calibration,
    Comparisons,
    Info,
    Oracle,
    Policy,
    PolicySpace,
    check_number,
)
from nlhf.learning import learn, learner, total
from nlhf.losses import logistic
from nlhf.method import Method
from nlhf.replay import Memory, Replay


class XPOPreviousState(NamedTuple):
    """State of the method.

    Attributes:
      policy: the last iterate.
      memory: the comparisons.
      previous: the iterate before it, at first the start.
    """

    policy: Policy
    memory: Memory
    previous: Policy


def init(policy: Policy, *, replay: Replay) -> XPOPreviousState:
    """Start from a policy, which is the first sampling policy too, and an empty memory."""
    return XPOPreviousState(policy, replay.empty(), policy)


def step(
    key: Array,
    state: XPOPreviousState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    optimism: Any,
    beta: Any,
) -> tuple[XPOPreviousState, Info]:
    """``y ~ π``, ``y' ~ π_previous``; ``π+ = argmin {α n E_π log π+ + Σ logistic}``, E over this π."""

    def bonus(rows: Comparisons) -> Calibration:
        return Calibration(state.policy, optimism * total(rows))

    loss, previous = Partial(logistic, beta=beta), state.previous
    learned, info = learn(
        key, state, oracle, space, replay=replay, loss=loss, opponent=previous, calibrate=bonus
    )
    return XPOPreviousState(*learned, state.policy), info


def xpo_previous(optimism: Any, beta: Any, replay: Replay) -> Algorithm:
    """Exploratory preference optimisation against a sampling policy that moves.

    ``π_{t+1} = argmin_π {α n E_{y~π_t} log π(y) - Σ_i log σ(β log π/π_ref(y+_i) - β log π/π_ref(y-_i))}``
    over the n comparisons so far, ``y_i ~ π_i`` and ``y'_i ~ π_{i-1}``. Next round's second draw is this
    round's π_t, whose responses the bonus moves away from.

    Args:
      optimism: α >= 0 a comparison.
      beta: KL coefficient, > 0.
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is an ``XPOPreviousState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2405.21046, Algorithm 2; the moving second draw after arXiv:2509.22633 and
      arXiv:2502.00666, of which only the abstracts were read.
    """
    check_number("optimism", optimism)
    check_number("beta", beta, open_low=True)
    return learner(init, step, replay, optimism=optimism, beta=beta)


METHOD = Method(
    name="xpo_previous",
    factory=xpo_previous,
    label="XPO, prev. draw",
    colour="#AA4499",
    source="arXiv:2405.21046, Algorithm 2",
    queries="XPO with the previous policy in the place of π_ref",
    optimism=lambda beta, total: beta / total**0.5,
    offline=False,
    promise="does not saturate where π_ref's responses are far below the best",
)
