"""IPO: least squares on differences of log-ratios, online or offline."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner
from nlhf.losses import squared
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
    """``y ~ π``, ``y' ~ π^(1 - mixture) π_ref^mixture``; append; ``π+ = argmin Σ squared``."""
    opponent = space.mix(state.policy, space.reference, mixture)
    loss = Partial(squared, beta=beta)
    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=opponent)


def ipo(beta: Any, mixture: Any, replay: Replay) -> Algorithm:
    """Identity preference optimisation: regress log-ratio differences on the labels.

    ``π+ = argmin_π Σ (h - 1/(2β))²``, ``h = log π/π_ref(y+) - log π/π_ref(y-)``. For pairs from one policy
    the population minimiser has ``log π/π_ref(y) = P(y ≻ policy)/β + constant``: it maximises the win rate,
    not a Bradley-Terry reward, and stays finite on separable labels. (The *mirror descent* that the online
    form takes with fresh pairs alone is ``online_mirror_descent``; here all pairs are remembered.)

    Args:
      beta: KL coefficient (τ in the paper), > 0.
      mixture: exponent of the reference in the second draw, in [0, 1]; 0: both draws from the policy.
      replay: what is remembered.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2310.12036.
    """
    check_number("beta", beta, open_low=True)
    check_number("mixture", mixture, high=1)
    return learner(init, step, replay, beta=beta, mixture=mixture)


METHOD = Method(
    name="ipo",
    factory=ipo,
    label="IPO",
    colour="#999933",
    source="arXiv:2310.12036",
    queries="the draws of dpo; squared loss",
    settings=lambda beta, step_size: {"mixture": 0.0},
)
