"""XPO's gap identity, the decomposition of its regret, and what its bonus does before and beside the data.

Identities are measured against their definitions in numpy; gaps, optima, objectives and gradients are the
library's.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from nlhf import losses
from nlhf.base import Calibration
from nlhf.replay import no_comparisons
from proofs_checks.learners.labels import arms
from proofs_checks.learners.outcomes import judged
from proofs_checks.learners.xpo_identities import BETAS, LIMIT
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.bandits import Bandit, optimal_value, optimum, suboptimality
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.simplex import log_ratio_loss

Array = jax.Array


class Draws(NamedTuple):
    """N bandits of X contexts and A actions with policies, in numpy."""

    bandit: Bandit
    reward: np.ndarray
    log_ref: np.ndarray
    rho: np.ndarray
    beta: np.ndarray
    log_policy: np.ndarray
    other: np.ndarray

    def mean(self, log_policy: np.ndarray, table: np.ndarray) -> np.ndarray:
        """``E_{x~ρ, a~π} table(x, a)``, ``[N]``."""
        return (self.rho * (np.exp(log_policy) * table).sum(-1)).sum(-1)

    def worth(self, log_policy: np.ndarray) -> np.ndarray:
        """J(π) from its definition."""
        price = self.beta[:, None, None] * (log_policy - self.log_ref)
        return self.mean(log_policy, self.reward - price)

    def best(self) -> np.ndarray:
        """π* in closed form."""
        return log_softmax(self.log_ref + self.reward / self.beta[:, None, None], axis=-1)


@functools.cache
def bandits(effort: Effort) -> Draws:
    """Contextual bandits with two more policies each, rewards standard normal, β log-uniform."""
    count, shape, rng = effort.pick(100, 1000), (3, 8), effort.rng("bandits")
    beta = np.exp(rng.uniform(np.log(BETAS[0]), np.log(BETAS[1]), count))
    reward = rng.normal(size=(count, *shape))
    log_ref, log_policy, other = log_softmax(2 * rng.normal(size=(3, count, *shape)), axis=-1)
    rho = rng.dirichlet(np.ones(shape[0]), count)
    bandit = Bandit(*(jnp.asarray(each) for each in (reward, log_ref, rho, beta)))
    return Draws(bandit, reward, log_ref, rho, beta, log_policy, other)


def _bandit_outcome(draws: Draws, error: np.ndarray, control: str, wrong: np.ndarray) -> Outcome:
    scale = 1 + np.abs(draws.worth(draws.log_policy))
    return judged(error / scale, control, wrong / scale, LIMIT, beta=draws.beta, contexts=3, size=8)


def _gap(effort: Effort) -> Outcome:
    draws = bandits(effort)
    measure = jax.jit(jax.vmap(lambda b, p: (suboptimality(b, p), optimal_value(b), optimum(b))))
    gap, best, star = map(np.asarray, measure(draws.bandit, jnp.asarray(draws.log_policy)))
    # J(π*) once through the library's closed form, once from the definition at the library's π*
    difference = draws.worth(star) - draws.worth(draws.log_policy)
    error = np.maximum(np.abs(gap - difference), np.abs(best - draws.worth(star)))
    reverse = draws.beta * draws.mean(star, star - draws.log_policy)
    return _bandit_outcome(draws, error, "β KL(π*‖π)", np.abs(reverse - difference))


def _decomposition(effort: Effort) -> Outcome:
    draws = bandits(effort)
    beta, star = draws.beta[:, None, None], draws.best()
    misfit = beta * (draws.log_policy - draws.log_ref) - draws.reward
    bonus = draws.mean(draws.other, beta * (draws.log_policy - star))
    gap = np.asarray(jax.jit(jax.vmap(suboptimality))(draws.bandit, jnp.asarray(draws.log_policy)))
    excess = draws.mean(draws.log_policy, misfit) - draws.mean(draws.other, misfit)
    error, wrong = (np.abs(gap - sign * bonus - excess) for sign in (1, -1))
    return _bandit_outcome(draws, error, "the first difference with the other sign", wrong)


# The bonus in expectation


def bonus(bandit: Any, log_policy: Array, sampler: Array, weight: Any = 1.0) -> Array:
    """The bonus in the mean, ``weight E_{x~ρ, y'~sampler}[log π/π_ref]``, through the library's objective."""
    loss = Partial(losses.logistic, beta=1.0)
    return log_ratio_loss(log_policy, bandit, loss, no_comparisons(1), Calibration(sampler, weight))


@jax.jit
def _push(bandit: Bandit, logits: Array, sampler: Array) -> tuple[Array, Array]:
    """Norm of the gradient of the bonus in the logits, and its largest eigenvalue of the Hessian."""

    def objective(flat: Array) -> Array:
        return bonus(bandit, jax.nn.log_softmax(flat.reshape(logits.shape), axis=-1), sampler)

    flat = logits.reshape(-1)
    curvature = jnp.linalg.eigvalsh(jax.hessian(objective)(flat)).max()
    return jnp.linalg.norm(jax.grad(objective)(flat)), curvature


def _forward_kl(effort: Effort) -> Outcome:
    draws = bandits(effort)
    measured = np.asarray(
        jax.jit(jax.vmap(bonus))(draws.bandit, jnp.asarray(draws.log_policy), jnp.asarray(draws.log_ref))
    )
    forward = draws.mean(draws.log_ref, draws.log_ref - draws.log_policy)
    backward = draws.mean(draws.log_policy, draws.log_policy - draws.log_ref)
    return _bandit_outcome(
        draws, np.abs(measured + forward), "the other divergence, KL(π‖π_ref)", np.abs(measured + backward)
    )


def _stationary(effort: Effort) -> Outcome:
    draws, rng = bandits(effort), effort.rng("stationary")
    count = effort.pick(50, 200)
    bandit = jax.tree.map(lambda leaf: leaf[:count], draws.bandit)
    # 64 draws of the reference in each context, as a run has them, in place of the reference itself
    reference = np.exp(draws.log_ref[:count])
    seen = np.stack([[rng.multinomial(64, row / row.sum()) for row in each] for each in reference]) / 64
    with np.errstate(divide="ignore"):
        sampled = np.log(seen)
    push = jax.vmap(_push)
    slope, curvature = (np.asarray(each) for each in push(bandit, bandit.log_ref, bandit.log_ref))
    moved, _ = push(bandit, bandit.log_ref, jnp.asarray(sampled))
    error = np.maximum(slope, curvature)
    return judged(
        error,
        "the bonus on 64 sampled responses a context",
        moved.min(),
        LIMIT,
        detail={"largest eigenvalue": curvature.max()},
        beta=draws.beta,
    )


# Before any data


def _first_value(mass: float, beta: float) -> float:
    """``J*(r) - E_ref r`` of the reward 1 on a set of this mass, 0 elsewhere."""
    return beta * np.log1p(mass * np.expm1(1 / beta)) - mass


def _best_mass(beta: float) -> float:
    """Where ``_first_value`` is largest, by search."""
    found = minimize_scalar(
        lambda mass: -_first_value(mass, beta), bounds=(0, 1), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)


def _first_pick(effort: Effort) -> Outcome:
    """Optimism alone, over rewards in [0, 1]: the library's fit against all vertices of the box."""
    count, size, rng = effort.pick(20, 100), 4, effort.rng("first_pick")
    beta = np.exp(rng.uniform(np.log(0.05), np.log(0.5), count))
    log_ref = log_softmax(1.5 * rng.normal(size=(count, size)), axis=-1)
    vertices = np.array(list(itertools.product((0.0, 1.0), repeat=size)))
    tilted = log_ref[:, None] + vertices / beta[:, None, None]
    value = beta[:, None] * logsumexp(tilted, axis=-1) - np.exp(log_ref) @ vertices.T
    keys = jax.random.split(effort.key("first_pick"), count)
    picked = np.asarray(_fit_without_data(keys, arms(np.zeros((count, size)), log_ref, beta)))[:, 0]
    # J*(r) - E_ref r of whatever reward the fitted policy stands for: β KL(π_ref‖π)
    reached = beta * (np.exp(log_ref) * (log_ref - picked)).sum(-1)
    formula = beta - 1 / np.expm1(1 / beta)
    found = np.array([_best_mass(each) for each in beta])
    # Newton's method stops at a vertex exactly; a maximum is found to the root of the rounding unit
    error = np.maximum(np.abs(reached - value.max(1)) / 1e-9, np.abs(found - formula) / 1e-6)
    rarest = np.array([_first_value(np.exp(low), b) for low, b in zip(log_ref.min(1), beta, strict=True)])
    mass = (np.exp(log_ref) @ vertices.T)[np.arange(count), value.argmax(1)]
    return judged(
        error,
        "the rarest response alone",
        np.abs(rarest - value.max(1)).max() / 1e-9,
        1.0,
        detail={"largest |mass - p*|": np.abs(mass - formula).max()},
        beta=beta,
        size=size,
    )


@jax.jit
def _fit_without_data(keys: Array, bandit: Bandit) -> Array:
    def one(key: Array, bandit: Any) -> Array:
        space = bounded_rewards(1.0, num_starts=128)(bandit)
        loss = Partial(losses.logistic, beta=bandit.beta)
        value = Calibration(space.reference, bandit.beta)
        return space.fit(key, space.reference, loss, no_comparisons(1), value)

    return jax.vmap(one)(keys, bandit)


# Where comparing with the reference stops to inform


def _information(second: tuple[int, int], distance: np.ndarray) -> np.ndarray:
    """Fisher information of one comparison about r_0 - r_1, from the Hessian of the library's mean loss.

    Rewards are (R, R - 1/2, 0); response 0 meets ``second[0]`` and response 1 meets ``second[1]``, in turn.
    """

    @jax.jit
    @jax.vmap
    def inverse(reward: Array) -> Array:
        first, other = jnp.array([0, 1]), jnp.array(second)
        label = jax.nn.sigmoid(reward[first] - reward[other])

        def loss(parameter: Array) -> Array:
            # beta 1 and a zero reference: log-ratios are rewards
            return losses.logistic(parameter[first], parameter[other], label, beta=1.0).mean()

        curvature = jax.hessian(loss)(reward)
        direction = jnp.array([1.0, -1.0, 0.0])
        return direction @ jnp.linalg.pinv(curvature, rtol=1e-13, hermitian=True) @ direction

    reward = np.stack([distance, distance - 0.5, 0 * distance], 1)
    return 1 / np.asarray(inverse(jnp.asarray(reward)))


def _saturation(effort: Effort) -> Outcome:
    del effort
    distance = np.linspace(6.0, 12.0, 13)

    slope, flat = (
        np.polyfit(distance, np.log(_information(second, distance)), 1)[0] for second in ((2, 2), (1, 0))
    )
    return judged(
        abs(slope + 1),
        "comparing the two with each other",
        abs(flat + 1),
        0.02,
        instances=len(distance),
        detail={"slope": slope, "slope of the direct pair": flat},
        rewards=["R", "R - 1/2", 0],
    )


_identity = functools.partial(check_of, kind="identity")
CHECKS: tuple[Check, ...] = (
    _identity(
        "bandit.gap",
        "J(π*) - J(π) = β E_ρ KL(π‖π*)",
        "3 contexts, 8 actions",
        _gap,
        source="arXiv:2405.21046, appendix",
        status="theorem",
    ),
    _identity(
        "xpo.regret_decomposition",
        "J(π*) - J(π) = E_ν[β log π - β log π*] + E_π[β log π/π_ref - r] - E_ν[β log π/π_ref - r]",
        "any π and ν; 3 contexts, 8 actions",
        _decomposition,
        source="arXiv:2405.21046, Lemma 3.1",
        status="theorem",
    ),
    _identity(
        "xpo.bonus_forward_kl",
        "the bonus in the mean is E_ref[log π/π_ref] = -KL(π_ref‖π): it moves away from the reference",
        "one context; π_ref and π random, of full support",
        _forward_kl,
    ),
    _identity(
        "xpo.bonus_stationary",
        "at π_ref the bonus in the mean has zero gradient and no direction of growth, so it starts no motion",
        "in logits; the norm of the gradient and the largest eigenvalue of the Hessian",
        _stationary,
    ),
    _identity(
        "xpo.first_pick",
        "before data, optimism over [0, 1]^A picks the set of reference mass p with the largest "
        "β log(1 + p(e^(1/β) - 1)) - p, whose maximum is at p = β - 1/(e^(1/β) - 1): not the rarest response",
        "4 responses, β in [0.05, 0.5]",
        _first_pick,
    ),
    _identity(
        "xpo.reference_saturation",
        "what a comparison with a response R below tells about two good ones falls like exp(-R)",
        "R from 6 to 12; |slope + 1| of the log of the Fisher information",
        _saturation,
    ),
)
