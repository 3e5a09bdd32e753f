"""RLHF: learn a Bradley-Terry reward from the comparisons, then follow the policy gradient on it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Feedback, Info, Oracle, Policy, PolicySpace, check_number, warn_above
from nlhf.learning import count_queries, learner
from nlhf.losses import logistic
from nlhf.method import Method
from nlhf.replay import Memory, Replay
from nlhf.targets import explicit


class RLHFState(NamedTuple):
    """State of the method.

    Attributes:
      policy: the last iterate.
      memory: the comparisons.
      reward: the reward model, as the policy ρ whose implicit reward it is: r = β log ρ/π_ref.
    """

    policy: Policy
    memory: Memory
    reward: Policy


def init(policy: Policy, *, replay: Replay) -> RLHFState:
    """Start from a policy, an empty memory and a reward model that equals the policy."""
    return RLHFState(policy, replay.empty(), policy)


def step(
    key: Array,
    state: RLHFState,
    oracle: Oracle,
    space: PolicySpace,
    *,
    replay: Replay,
    step_size: Any,
    beta: Any,
) -> tuple[RLHFState, Info]:
    """``y, y' ~ π``; append; ``r = argmin Σ logistic``; ``log π+ = (1-ηβ) log π + ηβ log π_ref + η r``."""
    duel_key, fit_key, draw_key = jax.random.split(key, 3)
    answer = oracle.duel(duel_key, state.policy, state.policy)
    memory = replay.append(state.memory, answer)
    reward = space.fit(fit_key, state.reward, Partial(logistic, beta=beta), memory.comparisons)
    # the oracle chooses the responses on which the reward is read; what it says about them is not used
    responses = oracle.payoff(draw_key, state.policy).responses
    log_ratio = space.log_prob(reward, responses) - space.log_prob(space.reference, responses)
    mirror = Partial(explicit, step_size=step_size, beta=beta)
    policy = space.project(state.policy, mirror, Feedback(responses, beta * log_ratio))
    return RLHFState(policy, memory, reward), count_queries(answer)


def rlhf(step_size: Any, beta: Any, replay: Replay) -> Algorithm:
    """Two stages in one loop: Bradley-Terry reward by maximum likelihood, policy gradient with a KL penalty.

    ``r+ = argmin_r -Σ log σ(r(y+) - r(y-))``, then one step up ``E_π[r+] - β KL(π‖π_ref)``. In a space that
    projects exactly the step is the natural policy gradient,
    ``log π+ = (1 - ηβ) log π + ηβ log π_ref + η r+``; in one of k = 1 gradient steps on on-policy contrasts
    it is REINFORCE with the mean as baseline. The reward lives in the same space as the policy, as the
    implicit reward ``β log ρ/π_ref`` of a second policy ρ; a constant added to it changes nothing.

    Args:
      step_size: η >= 0, ηβ <= 1, or a schedule ``count -> η``.
      beta: KL coefficient, > 0.
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is an ``RLHFState``.

    Raises:
      InputError: if a number is out of range.

    Warns:
      RangeWarning: if ηβ > 1.

    Reference: the pipeline of arXiv:2203.02155 with REINFORCE in the place of PPO.
    """
    check_number("step_size", step_size)
    check_number("beta", beta, open_low=True)
    warn_above("step_size", step_size, 1 / beta, "the weight 1 - ηβ of the policy is negative")
    return learner(init, step, replay, step_size=step_size, beta=beta)


METHOD = Method(
    name="rlhf",
    factory=rlhf,
    label="RLHF",
    colour="#661100",
    source="arXiv:2203.02155",
    queries="y, y' ~ π; Bradley-Terry reward, then a policy-gradient step on it",
    step_size=lambda beta: min(1.0, 1 / beta),
)
