"""KL-UCB: optimism by a confidence bonus on the reward, where the KL term gives regret of order log T."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Comparisons, Feedback, Info, Oracle, Policy, PolicySpace, check_number
from nlhf.functions import as_partial
from nlhf.learning import learn, learner
from nlhf.losses import logistic
from nlhf.method import Method
from nlhf.replay import Memory, Replay

Uncertainty = Callable[[Comparisons], Array]


class KLUCBState(NamedTuple):
    """State of the method.

    Attributes:
      policy: the last iterate, the optimistic policy that is played.
      memory: the comparisons.
      estimate: the policy of the estimated reward, without the bonus.
    """

    policy: Policy
    memory: Memory
    estimate: Policy


def init(policy: Policy, *, replay: Replay) -> KLUCBState:
    """Start from a policy, which is the first estimate too, and an empty memory."""
    return KLUCBState(policy, replay.empty(), policy)


def optimistic(log_prob: Array, log_ref: Array, preference: Array, *, beta: Any) -> Array:
    """``log π_estimate + bonus/β``: the policy of the reward r + bonus."""
    del log_ref
    return log_prob + preference / beta


def step(
    key: Array,
    state: KLUCBState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    uncertainty: Uncertainty,
    width: Any,
    beta: Any,
) -> tuple[KLUCBState, Info]:
    """``y ~ π``, ``y' ~ π_ref``; append; ``r = argmin Σ logistic``; ``π+ ∝ π_ref exp((r + c u)/β)``."""
    loss, start = Partial(logistic, beta=beta), state.estimate
    (estimate, memory), info = learn(
        key, state, oracle, space, replay=replay, loss=loss, opponent=space.reference, start=start
    )
    bonus = Feedback(None, width * uncertainty(memory.comparisons))
    policy = space.project(estimate, Partial(optimistic, beta=beta), bonus)
    return KLUCBState(policy, memory, estimate), info


def kl_ucb(width: Any, beta: Any, replay: Replay, uncertainty: Uncertainty) -> Algorithm:
    """Upper confidence bounds in the KL-regularised bandit with comparisons.

    ``r+ = argmin_r -Σ log σ(r(y+) - r(y-))``, ``π+ ∝ π_ref exp((r+ + c u)/β)``, u the width of the confidence
    interval of ``r(y) - E_{π_ref} r``. The suboptimality of the policy of a reward is the variance of its
    error divided by 2β, not the error: hence regret of order log T at a fixed β, where optimism without KL
    has √T.

    The published analysis of multi-armed bandits has rewards as feedback; with comparisons the estimate is
    the Bradley-Terry fit and u the elliptic width of the differences. The constant c is the caller's.

    Args:
      width: c >= 0; 0 is greedy, with a draw of the reference in every comparison.
      beta: KL coefficient (1/η in the papers), > 0.
      replay: what is remembered.
      uncertainty: ``uncertainty(comparisons) -> [X, A]`` >= 0, as ``tabular.uncertainty.elliptic`` makes it.

    Returns:
      An ``Algorithm``; its state is a ``KLUCBState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2502.07460 and arXiv:2603.02155; abstracts read, the form with comparisons is ours.
    """
    check_number("width", width)
    check_number("beta", beta, open_low=True)
    return learner(init, step, replay, uncertainty=as_partial(uncertainty), width=width, beta=beta)


METHOD = Method(
    name="kl_ucb",
    factory=kl_ucb,
    label="KL-UCB",
    colour="#88CCEE",
    source="arXiv:2502.07460",
    queries="y ~ π, y' ~ π_ref; the fitted reward plus a confidence bonus",
    settings=lambda beta, step_size: {"width": 1.0},
    promise="log T regret at fixed β",
)
