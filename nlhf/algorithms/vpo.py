"""VPO: maximum likelihood regularised by the value of the reward, for it online and against it offline."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Calibration, Info, Oracle, Policy, PolicySpace, check_number
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
    optimism: Any,
    beta: Any,
    calibration: Policy | None,
) -> tuple[LearnerState, Info]:
    """``y, y' ~ π``; append; ``π+ = argmin {Σ logistic + αβ E_cal[log π/π_ref]}``."""
    value = Calibration(space.reference if calibration is None else calibration, optimism * beta)
    loss = Partial(logistic, beta=beta)
    return learn(
        key,
        state,
        oracle,
        space,
        replay=replay,
        loss=loss,
        opponent=state.policy,
        calibrate=lambda rows: value,
    )


def vpo(optimism: Any, beta: Any, replay: Replay, calibration: Policy | None = None) -> Algorithm:
    """Value-incentivised preference optimisation.

    ``r+ = argmin_r {-log likelihood(r) - α J*(r)}`` over rewards with mean zero under the calibration policy;
    for them ``J*(r) = -β E_cal[log π_r/π_ref]``, so in policies
    ``π+ = argmin_π {-Σ log σ(β log π/π_ref(y+) - β log π/π_ref(y-)) + αβ E_{x~ρ, y~cal}[log π/π_ref]}``.
    α > 0 is optimistic (online), α < 0 pessimistic (offline, with an offline oracle and ``replay.latest``);
    α = 0 is online DPO with both draws from the policy.

    What users get wrong: α multiplies the value *once* beside a sum over the data (XPO's α times its number
    of comparisons is this α times β); the calibration policy must not follow π; and both draws on-policy can
    collapse for small β, which costs exp(C/β) steps (row ``vpo.wall``).

    Args:
      optimism: α, any sign; of the order of √T online and -√N offline.
      beta: KL coefficient, > 0.
      replay: what is remembered.
      calibration: policy of the calibration, in the space's representation; ``None`` is the reference.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2405.19320; read at second hand, with both forms' equality derived and tested here.
    """
    check_number("optimism", optimism, low=float("-inf"))
    check_number("beta", beta, open_low=True)
    return learner(init, step, replay, optimism=optimism, beta=beta, calibration=calibration)


METHOD = Method(
    name="vpo",
    factory=vpo,
    label="VPO",
    colour="#117733",
    source="arXiv:2405.19320",
    queries="y, y' ~ π; DPO loss plus (online) or minus (offline) αβ E_cal log π/π_ref",
    optimism=lambda beta, total: beta / total**0.5 * total,  # once beside the sum over all comparisons
    promise="equals value-regularised maximum likelihood; offline N^-1/2 under poor coverage; online, "
    "on-policy pairs cost exp(C/β)",
)
