"""What VPO is: maximum likelihood regularised by the value of the reward, and the same thing in policies.

Write ℓ(r) for minus the log-likelihood of the labels, J*(r) for the best value under r, and calibrate a
reward by ``E_{x~ρ, y~cal} r = 0``. One side of each row is the library's (losses and spaces over policies);
the other is the reward space, in numpy. Stationarity in the reward of the pessimistic problem
``ℓ(r) + αJ*(r)`` reads

    α ρ(x) (π_r(y|x) - cal(y|x)) = Σ_{y won} (1 - σ) - Σ_{y lost} (1 - σ),                                 (1)

σ the fitted probability of each label: a response that is in no comparison keeps the probability that the
*calibration policy* gives it, whatever the reference says. That is what the choice of it decides.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import optimize

from nlhf import vpo
from nlhf.base import Algorithm, Calibration, Comparisons
from nlhf.losses import logistic
from proofs_checks.learners.labels import Data, draw, fit_once
from proofs_checks.learners.outcomes import judged
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bandits import Bandit, optimal_value, optimum
from tabular.replay import counts
from tabular.spaces.simplex import log_ratio_loss, simplex

Array = jax.Array
LIMIT = 1e-12  # relative to 1 + the terms
FEW = 10  # comparisons of 12 responses: some are in none
SOLVED = 1e-6  # probabilities of two solvers, each at a gradient of 1e-10 of the data's weight


def _objective(
    bandit: Any, log_policy: Array, comparisons: Comparisons, log_cal: Array, weight: Array
) -> Array:
    """VPO's objective as the library sums it, in policies."""
    loss = Partial(logistic, beta=bandit.beta)
    mean = log_ratio_loss(log_policy, bandit, loss, comparisons, Calibration(log_cal, weight))
    return mean * comparisons.weight.sum()


def in_policies(data: Data, log_policy: np.ndarray, optimism: np.ndarray) -> np.ndarray:
    """``Σ logistic + αβ E_cal[log π/π_ref]`` by the library, ``[N]``; α of any sign."""
    weight = jnp.asarray(optimism * data.beta)
    arguments = (jnp.asarray(log_policy), data.comparisons, jnp.asarray(data.log_cal), weight)
    return np.asarray(jax.jit(jax.vmap(_objective))(data.bandit, *arguments))


def error(measured: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Largest difference over 1 + |expected|, by instance."""
    apart = np.abs(measured - expected) / (1 + np.abs(expected))
    return apart.reshape(len(apart), -1).max(-1)


def shown(data: Data) -> dict[str, Any]:
    """What a witness shows of an instance."""
    return {"beta": data.beta, "optimism": data.optimism, "log_ref": data.log_ref, "reward": data.reward}


def count_of(effort: Effort) -> int:
    """How many instances a cheap row draws."""
    return effort.pick(64, 1000)


def _judge_form(effort: Effort, sign: float) -> Outcome:
    """Both forms at calibrated rewards; controls: a reward with a mean, and the other sign of the bonus."""
    data = draw(effort, "vpo.form", count_of(effort))
    reward = data.centred(data.reward)
    measured = in_policies(data, data.tilted(reward), sign * data.optimism)
    expected = data.likelihood(reward) - sign * data.optimism * data.reward_value(reward)
    shifted = data.likelihood(data.reward) - sign * data.optimism * data.reward_value(data.reward)
    flipped = data.likelihood(reward) + sign * data.optimism * data.reward_value(reward)
    right, loose, wrong = (error(measured, value) for value in (expected, shifted, flipped))
    control = "a reward that is not calibrated; and the other sign of the value"
    return judged(right, control, min(loose.max(), wrong.max()), LIMIT, **shown(data))


def _judge_gradient(effort: Effort) -> Outcome:
    """Complex steps on numpy's J* (exact to rounding) against ρ times the library's optimum."""
    data = draw(effort, "vpo.gradient", effort.pick(16, 200))
    bandit = data.bandit
    policy = np.exp(np.asarray(jax.vmap(optimum)(bandit)))
    beta, small = data.beta[:, None, None], 1e-30
    slope = np.empty_like(policy)
    for context, action in np.ndindex(policy.shape[1:]):
        moved = data.reward.astype(complex)
        moved[:, context, action] += 1j * small
        total = np.exp(data.log_ref + moved / beta).sum(-1)
        slope[:, context, action] = (data.beta * (data.prob * np.log(total)).sum(-1)).imag / small
    right = error(data.prob[:, :, None] * policy, slope)
    wrong = error(data.prob[:, :, None] * np.exp(data.log_ref), slope)
    return judged(right, "the reference in the place of the optimum", wrong, LIMIT, **shown(data))


def _judge_shift(effort: Effort) -> Outcome:
    """Change of the objective in reward space under a constant, calibrated or not."""
    data = draw(effort, "vpo.shift", count_of(effort))
    constant = 100 * effort.rng("vpo.shifts").normal(size=len(data.beta))
    shifted = data.reward + constant[:, None, None]

    def change(calibrate: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        values = []
        for reward in (calibrate(data.reward), calibrate(shifted)):
            bandit = data.bandit._replace(reward=jnp.asarray(reward))
            best = np.asarray(jax.vmap(optimal_value)(bandit))
            values.append(data.likelihood(reward) - data.optimism * best)
        return values[1] - values[0]

    expected = -data.optimism * constant
    right, wrong = error(change(lambda reward: reward), expected), error(change(data.centred), expected)
    return judged(right, "calibrated rewards, which do not move", wrong, LIMIT, **shown(data))


def _judge_gauge(effort: Effort) -> Outcome:
    data = draw(effort, "vpo.gauge", count_of(effort))
    implicit = data.beta[:, None, None] * (data.tilted(data.reward) - data.log_ref)
    values = [
        np.abs(np.asarray(jax.vmap(optimal_value)(data.bandit._replace(reward=jnp.asarray(reward)))))
        for reward in (implicit, data.centred(implicit))
    ]
    return judged(values[0], "the same reward, calibrated", values[1], LIMIT, **shown(data))


def settled(settings: tuple[Array, Array], bandit: Bandit) -> Algorithm:
    """VPO with ``settings = (α, log calibration policy)``, for ``labels.fit_once``."""
    optimism, log_cal = settings
    return vpo(optimism, bandit.beta, counts(*bandit.log_ref.shape), log_cal)


@functools.lru_cache(maxsize=2)
def pessimistic(effort: Effort) -> tuple[Data, np.ndarray, np.ndarray]:
    """Instances, and the library's offline policies with and without the value, ``[N, X, A]`` each."""
    data = draw(effort, "vpo.offline", effort.pick(8, 60), FEW)
    found = []
    for sign in (-1.0, 0.0):
        settings = (jnp.asarray(sign * data.optimism), jnp.asarray(data.log_cal))
        found.append(fit_once(settled, settings, data.bandit, data.comparisons, simplex))
    return data, found[0], found[1]


def reward_space(data: Data, index: int, sign: float = 1.0) -> np.ndarray:
    """Policy ``[X, A]`` of the calibrated reward that minimises ``ℓ(r) + sign αJ*(r)``, by SciPy."""
    one = Data(*(column[index : index + 1] for column in data))
    shape, alpha = one.reward.shape, sign * one.optimism[0]
    share = (one.prob[:, :, None] * np.exp(one.log_cal))[0].ravel()
    centre = np.eye(share.size) - np.ones((share.size, 1)) * share

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        reward = (centre @ flat).reshape(shape)
        value = one.likelihood(reward)[0] + alpha * one.reward_value(reward)[0]
        slope = alpha * one.prob[:, :, None] * np.exp(one.tilted(reward)) - one.pull(reward)
        return value, centre.T @ slope.ravel()

    def curve(flat: np.ndarray) -> np.ndarray:
        return hessian(one, (centre @ flat).reshape(shape), alpha, centre)[0]

    found = optimize.minimize(
        evaluate, np.zeros(share.size), jac=True, hess=curve, method="trust-exact", options={"gtol": 1e-10}
    )
    return one.tilted((centre @ found.x).reshape(shape))[0]


def hessian(data: Data, reward: np.ndarray, alpha: Any, centre: np.ndarray) -> np.ndarray:
    """``[N, XA, XA]`` second derivative of ``ℓ + αJ*`` in the reward, through the calibration ``centre``."""
    count, contexts, actions = reward.shape
    total = np.zeros((count, contexts * actions, contexts * actions))
    row = np.arange(count)[:, None]
    chance = 1 / (1 + np.exp(-data.margin(reward)))
    weight = chance * (1 - chance)
    first, second = data.context * actions + data.first, data.context * actions + data.second
    signs = ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1))
    for one, other, sign in signs:
        np.add.at(total, (row, one, other), sign * weight)
    policy = np.exp(data.tilted(reward))
    for context in range(contexts):
        block = slice(context * actions, (context + 1) * actions)
        p = policy[:, context]
        spread = p[:, :, None] * np.eye(actions) - p[:, :, None] * p[:, None, :]
        scale = alpha * data.prob[:, context] / data.beta
        total[:, block, block] += scale[:, None, None] * spread
    return centre.T @ total @ centre


def _judge_solvers(effort: Effort) -> Outcome:
    data, fitted, plain = pessimistic(effort)
    solved = np.exp([reward_space(data, index) for index in range(len(data.beta))])
    right, wrong = (np.abs(np.exp(each) - solved).max((1, 2)) for each in (fitted, plain))
    return judged(right, "without the value: maximum likelihood", wrong, SOLVED, **shown(data))


def _judge_convex(effort: Effort) -> Outcome:
    """Most negative curvature over the largest, at random rewards; online is the control."""
    data = draw(effort, "vpo.convex", count_of(effort))
    eye = np.eye(data.reward[0].size)
    curves = (
        np.linalg.eigvalsh(hessian(data, data.reward, sign * data.optimism, eye)) for sign in (1.0, -1.0)
    )
    right, wrong = (-curvature[:, 0] / np.abs(curvature).max(1) for curvature in curves)
    return judged(right, "the optimistic sign", wrong, LIMIT, **shown(data))


def _judge_unseen(effort: Effort) -> Outcome:
    """Equation (1) of the module's text at the library's offline policies."""
    data, fitted, _ = pessimistic(effort)
    reward = data.beta[:, None, None] * (fitted - data.log_ref)
    scale = (data.optimism[:, None] * data.prob)[:, :, None]
    pull = data.pull(reward)
    right = np.abs(np.exp(fitted) - np.exp(data.log_cal) - pull / scale).max((1, 2))
    wrong = np.abs(np.exp(fitted) - np.exp(data.log_ref) - pull / scale).max((1, 2))
    kept = np.abs(np.exp(fitted) - np.exp(data.log_cal))[data.seen() == 0]
    return judged(
        right,
        "the reference in the place of the calibration policy",
        wrong,
        SOLVED,
        detail={"unseen": kept.max(), "num_unseen": len(kept)},
        **shown(data),
    )


ANY = "random contextual bandits, β in [0.1, 2], α in [1/2, 8], any calibration policy"
identity = functools.partial(
    check_of, kind="identity", assumptions=ANY, source="arXiv:2405.19320 at second hand; derived"
)
CHECKS: tuple[Check, ...] = (
    identity(
        "vpo.online_form",
        "calibrated r: ℓ(r) - αJ*(r) = Σ logistic(π_r) + αβ E_cal[log π_r/π_ref]",
        judge=functools.partial(_judge_form, sign=1.0),
    ),
    identity(
        "vpo.offline_form",
        "calibrated r: ℓ(r) + αJ*(r) = Σ logistic(π_r) - αβ E_cal[log π_r/π_ref]",
        judge=functools.partial(_judge_form, sign=-1.0),
    ),
    identity("vpo.value_gradient", "∂J*/∂r(x, y) = ρ(x) π_r(y|x)", judge=_judge_gradient),
    identity(
        "vpo.uncalibrated_is_unbounded",
        "without calibration ℓ(r + c) - αJ*(r + c) = ℓ(r) - αJ*(r) - αc for every constant c",
        judge=_judge_shift,
    ),
    identity(
        "vpo.uncalibrated_is_vacuous",
        "r = β log π/π_ref, the uncalibrated reward of a policy, has J*(r) = 0 for every π",
        judge=_judge_gauge,
    ),
    identity(
        "vpo.offline_solvers_agree",
        "offline VPO's policy is that of the reward minimising ℓ(r) + αJ*(r)",
        judge=_judge_solvers,
        assumptions="library's fit to 1e-10 in the gradient, SciPy's trust region in reward space",
    ),
    identity("vpo.offline_is_convex", "ℓ(r) + αJ*(r) is convex in r", judge=_judge_convex),
    identity(
        "vpo.calibration_keeps_unseen",
        "offline: αρ(x)(π - cal)(y|x) = Σ_{y won}(1 - σ) - Σ_{y lost}(1 - σ), 0 where y was never compared",
        judge=_judge_unseen,
        assumptions="stationary point in the simplex; the reference does not enter",
        source="derived",
    ),
)
