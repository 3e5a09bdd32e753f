"""DPO: maximum likelihood of the labels under the policy's implicit reward, online or offline."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner
from nlhf.losses import logistic
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
) -> tuple[LearnerState, Info]:
    """``y ~ π``, ``y' ~ π^(1 - mixture) π_ref^mixture``; append; ``π+ = argmin Σ logistic``."""
    opponent = space.mix(state.policy, space.reference, mixture)
    loss = Partial(logistic, beta=beta)
    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=opponent)


def dpo(beta: Any, mixture: Any, replay: Replay) -> Algorithm:
    """Direct preference optimisation; with an oracle that can be asked it is *online* (iterative) DPO.

    ``π+ = argmin_π Σ -log σ(β log π/π_ref(y+) - β log π/π_ref(y-))`` over the comparisons so far, each of
    them ``y ~ π``, ``y' ~ π^(1 - mixture) π_ref^mixture``. With an offline oracle and ``nlhf.replay.latest``
    one step is DPO on the data set, and the mixture means nothing.

    It does not explore: while β is small, an arm that the reference hardly plays is not found for exp(c/β)
    steps, and one unlucky label can freeze it for good (rows ``dpo.*`` of the ledger).

    Args:
      beta: KL coefficient, > 0.
      mixture: exponent of the reference in the second draw, in [0, 1]; 0: both draws from the policy.
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2305.18290 (offline); the online form is the baseline of arXiv:2405.21046, section 2.
    """
    check_number("beta", beta, open_low=True)
    check_number("mixture", mixture, high=1)
    return learner(init, step, replay, beta=beta, mixture=mixture)


METHOD = Method(
    name="dpo",
    factory=dpo,
    label="online DPO",
    colour="#CC6677",
    source="arXiv:2305.18290",
    queries="y ~ π, y' ~ mixture of π and π_ref; logistic loss; online or offline by the oracle",
    settings=lambda beta, step_size: {"mixture": 0.0},
    promise="log T regret at fixed β, with a constant that grows exponentially in 1/β",
)
