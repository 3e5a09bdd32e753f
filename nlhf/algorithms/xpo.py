"""XPO: online DPO whose second response comes from the reference, with a bonus on that response."""

from __future__ import annotations

from typing import Any

from jax.tree_util import Partial

from nlhf.base import Algorithm, Array, Info, Oracle, PolicySpace, check_number
from nlhf.learning import LearnerState, init, learn, learner
from nlhf.losses import exploratory
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
) -> tuple[LearnerState, Info]:
    """``y ~ π``, ``y' ~ π_ref``; append; ``π+ = argmin Σ [α log π(y') + logistic]`` over all so far."""
    loss = Partial(exploratory, beta=beta, optimism=optimism)
    return learn(key, state, oracle, space, replay=replay, loss=loss, opponent=space.reference)


def xpo(optimism: Any, beta: Any, replay: Replay) -> Algorithm:
    """Exploratory preference optimisation.

    ``π+ = argmin_π {α Σ_i log π(y'_i) - Σ_i log σ(β log π/π_ref(y+_i) - β log π/π_ref(y-_i))}`` over all
    comparisons so far, ``y_i ~ π_i`` and ``y'_i ~ π_ref``.

    What users get wrong: the sign of the bonus (plus, in a minimisation: several public versions have minus,
    and never explore); the sampler (it matters as much as the bonus: with both draws on-policy the method can
    fail for exp(c/β) steps); the sum over *all* past comparisons (a replay that forgets rescales α); and that
    the theorem is about the *best* iterate, and about a class in which |β log π/π_ref| is bounded: in an
    unbounded space (the simplex) the bonus has no minimum, and a fit to tolerance runs away.

    Args:
      optimism: α >= 0 a comparison, in the theorem proportional to β/√T.
      beta: KL coefficient, > 0.
      replay: what is remembered; ``buffer(T)`` for all of it.

    Returns:
      An ``Algorithm``; its state is a ``LearnerState``. optimism = 0 is DPO with ``mixture=1``.

    Raises:
      InputError: if a number is out of range.

    Reference: arXiv:2405.21046, Algorithm 1 and Theorem 3.1.
    """
    check_number("optimism", optimism)
    check_number("beta", beta, open_low=True)
    return learner(init, step, replay, optimism=optimism, beta=beta)


METHOD = Method(
    name="xpo",
    factory=xpo,
    label="XPO",
    colour="#332288",
    source="arXiv:2405.21046",
    queries="y ~ π, y' ~ π_ref; DPO loss **plus** α log π(y')",
    optimism=lambda beta, total: beta / total**0.5,  # of the order of Theorem 3.1
    offline=False,
    promise="finds responses that DPO misses; regret T^-1/2 for every β; with a flipped sign all seeds fail",
)
