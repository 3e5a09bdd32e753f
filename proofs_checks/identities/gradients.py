"""Policy gradients and the regression on contrasts: what their gradients are, and what they lead to.

As in ``loss_identities``, one side is automatic differentiation of the objective as written here.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import losses, online_mirror_descent
from nlhf.base import Feedback
from nlhf.targets import explicit
from proofs_checks.identities.losses import (
    Draw,
    apply,
    check_of,
    error,
    gradient,
    ratio_of,
    score_mean,
    self_play_gradient,
    weight_of,
)
from proofs_checks.identities.variational import log_softmax, path_of
from proofs_checks.rows import Check
from tabular.games import Game
from tabular.spaces.simplex import simplex

Array = jax.Array


# Policy gradients against an opponent that is not differentiated


def _against_mixture(logits: Array, mixture: Array, preference: Array, log_ref: Array, beta: Array) -> Array:
    log_policy = jax.nn.log_softmax(logits)
    policy = jnp.exp(log_policy)
    mixed = jax.nn.log_softmax((1 - mixture) * log_policy + mixture * log_ref)
    return policy @ (preference @ jnp.exp(mixed)) - beta * (policy @ (log_policy - log_ref))


def _policy_gradient(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    expected = score_mean(draw, np.exp(draw.log_policy), weight_of(draw, draw.mixed))
    leaky = gradient(_against_mixture, draw.logits, draw.mixture, draw.preference, draw.log_ref, draw.beta)
    return error(self_play_gradient(draw, draw.mixed), expected), error(leaky, expected)


def _divergence(logits: Array, log_other: Array) -> Array:
    log_policy = jax.nn.log_softmax(logits)
    return jnp.exp(log_policy) @ (log_policy - log_other)


def _divergence_to_mixture(logits: Array, mixture: Array, log_ref: Array) -> Array:
    log_policy = jax.nn.log_softmax(logits)
    return _divergence(logits, jax.nn.log_softmax((1 - mixture) * log_policy + mixture * log_ref))


def _mixture_divergence(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    expected = draw.mixture[:, None] * gradient(_divergence, draw.logits, draw.log_ref)
    stopped = gradient(_divergence, draw.logits, draw.mixed)
    through = gradient(_divergence_to_mixture, draw.logits, draw.mixture, draw.log_ref)
    return error(stopped, expected), error(through, expected)


def _mixture_differentiated(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    stopped, through = _mixture_divergence(draw)
    return through, stopped


def _baseline_mean(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """What a constant adds to the mean gradient: nothing on policy, something under another law."""
    weight = weight_of(draw, draw.mixed)
    changes = []
    for law in (draw.log_policy, draw.mixed):
        with_half, without = (score_mean(draw, np.exp(law), value) for value in (weight, weight + 0.5))
        changes.append(error(with_half, without))
    return changes[0], changes[1]


def _variance(draw: Draw, baseline: np.ndarray) -> np.ndarray:
    """Total variance of ``s(y) (P(y ≻ y') - β lr(y) - baseline)`` over independent y, y' ~ π, ``[N]``."""
    policy = np.exp(draw.log_policy)
    reward = draw.preference - (draw.beta[:, None] * ratio_of(draw))[:, :, None] - baseline[:, None, None]
    second = np.einsum("na,nb,nab,na->n", policy, policy, reward**2, _score_norm(draw))
    mean = score_mean(draw, policy, np.einsum("nb,nab->na", policy, reward))
    return second - (mean**2).sum(-1)


def _score_norm(draw: Draw) -> np.ndarray:
    """``|e_y - π|²``, ``[N, A]``."""
    policy = np.exp(draw.log_policy)
    return 1 - 2 * policy + (policy**2).sum(-1, keepdims=True)


def _baseline_variance(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """By how much a baseline raises the variance, relative to it: 1/2, and the best constant."""
    policy, norm = np.exp(draw.log_policy), _score_norm(draw)
    reward = apply(draw.preference, policy) - draw.beta[:, None] * ratio_of(draw)
    best = (policy * norm * reward).sum(-1) / (policy * norm).sum(-1)
    without = _variance(draw, np.zeros_like(best))
    rises = (np.maximum(_variance(draw, baseline) / without - 1, 0) for baseline in (0.5 + 0 * best, best))
    half, optimal = rises
    return half, optimal


# The regression on contrasts


def regression(logits: Array, target: Array, weight: Array) -> Array:
    """The library's contrast loss of a softmax policy under weights that are not differentiated."""
    return losses.contrast(jax.nn.log_softmax(logits), target, jax.lax.stop_gradient(weight))


def _own_weights(logits: Array, target: Array) -> Array:
    return losses.contrast(jax.nn.log_softmax(logits), target, jax.nn.softmax(logits))


def _uniform(logits: Array, target: Array) -> Array:
    return losses.contrast(jax.nn.log_softmax(logits), target)


def _answer(draw: Draw) -> np.ndarray:
    """``log π_ref + (P - 1/2) π / β``, unnormalised."""
    return draw.log_ref + apply(draw.advantage, np.exp(draw.log_policy)) / draw.beta[:, None]


def _uniform_gradient(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    difference = draw.log_policy - _answer(draw)
    closed = (difference - difference.mean(-1, keepdims=True)) / draw.logits.shape[1]
    measured = gradient(_uniform, draw.logits, _answer(draw))
    return error(measured, 4 * closed), error(measured, 2 * closed)


def _descended(draw: Draw, factor: float) -> np.ndarray:
    """Logits after one step of gradient descent with rate ηβA/factor against the library's mirror step."""
    step_size = 0.7 / (draw.beta + 0.5)
    rate = step_size * draw.beta * draw.logits.shape[1] / factor
    descended = log_softmax(draw.logits - rate[:, None] * gradient(_uniform, draw.logits, _answer(draw)))
    tables = (draw.advantage[:, None], draw.log_ref[:, None], np.ones((len(rate), 1)), draw.beta)
    method = jax.vmap(online_mirror_descent)(jnp.asarray(step_size), jnp.asarray(draw.beta))
    path = path_of(method, Game(*map(jnp.asarray, tables)), draw.log_policy[:, None], 1)
    return error(descended, path.policy[1])


def _descent_is_mirror(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    return _descended(draw, 4.0), _descended(draw, 2.0)


def _descent_by_two(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    return _descended(draw, 2.0), _descended(draw, 4.0)


def _contrast_is_policy_gradient(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    policy = np.exp(draw.log_policy)
    weight = weight_of(draw, draw.log_policy)
    # any baseline: on policy it changes nothing
    expected = -4 * score_mean(draw, policy, weight - 0.3) / draw.beta[:, None]
    measured = gradient(regression, draw.logits, _answer(draw), policy)
    leaky = gradient(_own_weights, draw.logits, _answer(draw))
    return error(measured, expected), error(leaky, expected)


def _pairs(num_actions: int) -> np.ndarray:
    return np.array(list(itertools.product(range(num_actions), repeat=2)))


def _drawn(logits: Array, target: Array, responses: Array) -> Array:
    return losses.contrast(jax.nn.log_softmax(logits)[responses], target[responses])


def _mean_over_draws(logits: Array, target: Array, probability: Array) -> Array:
    pairs = jnp.asarray(_pairs(len(logits)))
    return probability @ jax.vmap(_drawn, (None, None, 0))(logits, target, pairs)


def _contrast_of_draws(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """The mean gradient over every way to draw two responses is half that of the population."""
    pairs, policy = _pairs(draw.logits.shape[1]), np.exp(draw.log_policy)
    probability = policy[:, pairs[:, 0]] * policy[:, pairs[:, 1]]
    measured = gradient(_mean_over_draws, draw.logits, _answer(draw), probability)
    population = gradient(regression, draw.logits, _answer(draw), policy)
    return error(measured, population / 2), error(measured, population)


_curvature = jax.jit(jax.vmap(jax.hessian(regression)))


def _projection(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the regression, quadratic in the logits, by one Newton step; compare with ``project``."""
    num_actions = draw.logits.shape[1]
    step_size = 0.7 / (draw.beta + 0.5)
    payoff = apply(draw.advantage, np.exp(draw.log_policy))
    anchors = (draw.log_policy, draw.log_ref)

    def project(log_policy: Array, log_ref: Array, payoff: Array, step_size: Array, beta: Array) -> Array:
        game = Game(jnp.zeros((1, num_actions, num_actions)), log_ref[None], jnp.ones((1,)), beta)
        target = Partial(explicit, step_size=step_size, beta=beta)
        return simplex(game).project(log_policy[None], target, Feedback(None, payoff[None]))[0]

    columns = (*anchors, payoff, step_size, draw.beta)
    closed = np.asarray(jax.vmap(project)(*map(jnp.asarray, columns)))
    pull = (step_size * draw.beta)[:, None]
    target = (1 - pull) * draw.log_policy + pull * draw.log_ref + step_size[:, None] * payoff
    seen = np.ones((len(pull), num_actions))
    blind = seen * (np.arange(num_actions) > 0)
    # the weights are any law of full support: here one that falls off by thirty; the control lacks an action
    law = np.exp(-np.linspace(0, 3.4, num_actions))

    def minimised(weight: np.ndarray) -> np.ndarray:
        weight = weight * law / (weight * law).sum(-1, keepdims=True)
        slope = gradient(regression, draw.logits, target, weight)
        curvature = np.asarray(_curvature(*map(jnp.asarray, (draw.logits, target, weight))))
        # singular along the constants, which move no policy
        return log_softmax(draw.logits - apply(np.linalg.pinv(curvature), slope))

    return error(minimised(seen), closed), error(minimised(blind), closed)


CHECKS: tuple[Check, ...] = (
    check_of(
        "nash_md.policy_gradient",
        "E_{y ~ π} s(y) [P(y ≻ m) - 1/2 - β log(π/π_ref)(y)] = ∇ P_β(π ≻ SG[m]), m the geometric mixture",
        _policy_gradient,
        "the mixture differentiated too",
        source="arXiv:2312.00886, the policy-gradient form of Nash-MD",
        status="theorem",
    ),
    check_of(
        "nash_md.mixture_divergence",
        "∇ KL(π‖SG[m]) = mixture ∇ KL(π‖π_ref), m = π^(1 - mixture) π_ref^mixture normalised",
        _mixture_divergence,
        "m differentiated too",
        source="arXiv:2312.00886; the stop-gradient derived",
    ),
    check_of(
        "nash_md.mixture_divergence_differentiated",
        "∇ KL(π‖m) = mixture ∇ KL(π‖π_ref) with m differentiated as well",
        _mixture_differentiated,
        "with a stop-gradient on m",
        source="arXiv:2312.00886, read without a stop-gradient",
        refuted=True,
    ),
    check_of(
        "loss.baseline_keeps_mean",
        "a constant baseline does not change the mean policy gradient",
        _baseline_mean,
        "responses drawn from the mixture",
    ),
    check_of(
        "loss.baseline_reduces_variance",
        "the baseline 1/2 never raises the variance of the policy gradient",
        _baseline_variance,
        "the best constant, E|s|²R / E|s|²",
        refuted=True,
    ),
    check_of(
        "loss.uniform_pairs_gradient",
        "∇ uniform-pair loss = (4/A) (log π - log π_ref - (P - 1/2)π/β, less its mean)",
        _uniform_gradient,
        "the factor 2/A",
        source="loss of arXiv:2503.08942; derived",
    ),
    check_of(
        "online_mirror_descent.is_gradient_descent",
        "gradient descent on the uniform-pair loss with rate ηβA/4 is the mirror step η",
        _descent_is_mirror,
        "the rate ηβA/2",
        source="loss of arXiv:2503.08942; derived",
    ),
    check_of(
        "online_mirror_descent.is_gradient_descent_by_two",
        "gradient descent on the uniform-pair loss with rate r is the mirror step 2r/(βA)",
        _descent_by_two,
        "the mirror step 4r/(βA)",
        source="factor of the simulations released with arXiv:2503.08942",
        refuted=True,
    ),
    check_of(
        "loss.contrast_is_policy_gradient",
        "∇ contrast regression on policy = -(4/β) E_π s(y) [P(y ≻ π) - 1/2 - β lr(y) - b], any b",
        _contrast_is_policy_gradient,
        "the weights differentiated too",
    ),
    check_of(
        "loss.contrast_of_draws",
        "over K drawn responses its mean gradient is (1 - 1/K) of the population's; K = 2",
        _contrast_of_draws,
        "the factor forgotten",
    ),
    check_of(
        "loss.contrast_is_projection",
        "the minimiser of the contrast regression is the projection log_softmax(target)",
        _projection,
        "one response never drawn",
        assumptions="weights of full support; β from 1e-3 to 10",
    ),
)
