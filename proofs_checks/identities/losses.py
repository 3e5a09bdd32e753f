"""Gradients of identity preference optimisation: online IPO, and IPO-MD with its mixture.

One side is automatic differentiation of the objective, over all pairs of responses and with every
stop-gradient written out; the losses are the library's. The other side is the closed form, in numpy. A policy
is the softmax of its logits, and ``s(y) = e_y - π`` is the gradient of ``log π(y)``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import losses
from proofs_checks import rows
from proofs_checks.identities.variational import log_softmax
from proofs_checks.rows import Check, Effort, Outcome

LIMIT = 1e-12  # relative to 1 + |value|
Array = jax.Array


class Draw(NamedTuple):
    """N games of one size with a policy each, all of full support."""

    preference: np.ndarray  # ``[N, A, A]``
    log_ref: np.ndarray  # ``[N, A]``
    beta: np.ndarray  # ``[N]`` from 1e-3 to 10
    logits: np.ndarray  # ``[N, A]`` of the policy
    mixture: np.ndarray  # ``[N]`` exponent of the reference in the opponent, in (0, 1)

    @property
    def log_policy(self) -> np.ndarray:
        """``[N, A]``."""
        return log_softmax(self.logits)

    @property
    def mixed(self) -> np.ndarray:
        """``[N, A]`` logarithm of the normalised mixture ``π^(1 - mixture) π_ref^mixture``."""
        weight = self.mixture[:, None]
        return log_softmax((1 - weight) * self.logits + weight * self.log_ref)

    @property
    def advantage(self) -> np.ndarray:
        """``[N, A, A]`` P - 1/2."""
        return self.preference - 0.5


@functools.lru_cache(maxsize=2)
def draws_of(effort: Effort) -> tuple[Draw, ...]:
    """Draw games, a third each of pairs uniform on (0, 1), decided, and Bradley-Terry."""
    rng = effort.rng("losses")
    count = effort.pick(60, 400)
    return tuple(_draw(rng, count, size) for size in effort.pick((5,), (2, 5, 20)))


def _draw(rng: np.random.Generator, count: int, size: int) -> Draw:
    uniform = rng.uniform(size=(count, size, size))
    score = 2 * rng.normal(size=(count, size))
    transitive = 1 / (1 + np.exp(score[:, None, :] - score[:, :, None]))
    kind = np.arange(count)[:, None, None] % 3
    upper = np.triu(np.choose(kind, [uniform, np.round(uniform), transitive]) - 0.5, 1)
    log_ref = log_softmax(rng.choice([0.0, 1.0, 4.0], (count, 1)) * rng.normal(size=(count, size)))
    beta = np.exp(rng.uniform(np.log(1e-3), np.log(10), count))
    logits = 1.5 * rng.normal(size=(count, size))
    mixture = rng.uniform(0.05, 0.95, count)
    return Draw(0.5 + upper - upper.swapaxes(1, 2), log_ref, beta, logits, mixture)


def gradient(objective: Callable[..., Array], *arguments: np.ndarray) -> np.ndarray:
    """Differentiate ``objective(logits, ...)`` of one instance in its logits, for all N."""
    return np.asarray(_compiled(objective)(*map(jnp.asarray, arguments)))


@functools.cache
def _compiled(objective: Callable[..., Array]) -> Callable[..., Array]:
    return jax.jit(jax.vmap(jax.grad(objective)))


def apply(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """``[N, A, A]`` times ``[N, A]``."""
    return np.einsum("nab,nb->na", matrix, vector)


def score_mean(draw: Draw, weight: np.ndarray, value: np.ndarray) -> np.ndarray:
    """``Σ_y weight(y) s(y) value(y)``, ``[N, A]``."""
    product = weight * value
    return product - np.exp(draw.log_policy) * product.sum(-1, keepdims=True)


def ratio_of(draw: Draw) -> np.ndarray:
    """``log(π/π_ref)``, ``[N, A]``."""
    return draw.log_policy - draw.log_ref


def error(measured: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Largest difference of two ``[N, A]`` over 1 + the largest entry."""
    return np.abs(measured - expected).max(-1) / (1 + np.abs(expected).max(-1))


Compare = Callable[[Draw], tuple[np.ndarray, np.ndarray]]


def judge(compare: Compare, control: str, effort: Effort) -> Outcome:
    """Errors ``[N]`` of a statement and of its wrong version on every draw."""
    worst, broken, count, witness = -1.0, 0.0, 0, {}
    for draw in draws_of(effort):
        errors, wrong = compare(draw)
        count += len(errors)
        broken = max(broken, float(wrong.max()))
        if not errors.max() <= worst:
            worst, index = float(errors.max()), int(np.argmax(errors))
            witness = {"size": draw.logits.shape[1], "beta": float(draw.beta[index])}
            if draw.logits.shape[1] <= 8:
                witness |= {name: getattr(draw, name)[index].tolist() for name in ("preference", "log_ref")}
                witness |= {"logits": draw.logits[index].tolist(), "mixture": float(draw.mixture[index])}
    return Outcome(count, worst, control, broken, LIMIT, witness)


# Online IPO and IPO-MD: pairs (y, y') drawn from a sampling law that is not differentiated


def ipo(logits: Array, sampling: Array, preference: Array, log_ref: Array, beta: Array) -> Array:
    """``E_{y, y' ~ sampling}`` of the library's soft-label IPO loss."""
    ratio = jax.nn.log_softmax(logits) - log_ref
    law = jnp.exp(sampling)
    loss = losses.squared(ratio[:, None], ratio[None, :], preference, beta=beta)  # type: ignore[arg-type]
    return (law[:, None] * law[None, :] * loss).sum()


def _ipo_gradient(draw: Draw, sampling: np.ndarray) -> np.ndarray:
    return gradient(ipo, draw.logits, sampling, draw.preference, draw.log_ref, draw.beta)


def _on_policy(logits: Array, preference: Array, log_ref: Array, beta: Array) -> Array:
    return ipo(logits, jax.nn.log_softmax(logits), preference, log_ref, beta)


def _ipo_closed(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    ratio, law = ratio_of(draw), np.exp(draw.log_policy)
    margin, target = ratio[:, :, None] - ratio[:, None, :], 0.5 / draw.beta[:, None, None]
    slope = 2 * draw.preference * (margin - target) + 2 * (1 - draw.preference) * (margin + target)
    pull = law[:, :, None] * law[:, None, :] * slope
    closed = pull.sum(2) - pull.sum(1)
    leaky = gradient(_on_policy, draw.logits, draw.preference, draw.log_ref, draw.beta)
    return error(_ipo_gradient(draw, draw.log_policy), closed), error(leaky, closed)


def self_play(logits: Array, opponent: Array, preference: Array, log_ref: Array, beta: Array) -> Array:
    """``P_β(π ≻ SG[opponent])`` up to a constant: ``π P opponent - β KL(π‖π_ref)``."""
    log_policy = jax.nn.log_softmax(logits)
    policy = jnp.exp(log_policy)
    return policy @ (preference @ jnp.exp(opponent)) - beta * (policy @ (log_policy - log_ref))


def self_play_gradient(draw: Draw, opponent: np.ndarray) -> np.ndarray:
    """Gradient of ``self_play`` in the logits, ``[N, A]``."""
    return gradient(self_play, draw.logits, opponent, draw.preference, draw.log_ref, draw.beta)


def _ipo_is_self_play(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    measured = _ipo_gradient(draw, draw.log_policy)
    direction = self_play_gradient(draw, draw.log_policy) / draw.beta[:, None]
    return error(measured, -4 * direction), error(measured, -2 * direction)


def _ipo_is_preconditioned(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    measured = _ipo_gradient(draw, draw.log_policy)
    policy = np.exp(draw.log_policy)
    mirror = ratio_of(draw) - apply(draw.advantage, policy) / draw.beta[:, None]
    return (
        error(measured, 4 * score_mean(draw, policy, mirror)),
        error(measured, 4 * (mirror - mirror.mean(-1, keepdims=True))),
    )


def _planted(draw: Draw, keep: np.ndarray) -> tuple[Draw, np.ndarray]:
    """The game in which the drawn policy is the Nash policy at temperature ``beta / keep``."""
    payoff = apply(draw.advantage, np.exp(draw.log_policy)) / draw.beta[:, None]
    log_ref = log_softmax(draw.logits - keep[:, None] * payoff)
    return draw._replace(log_ref=log_ref), log_ref + payoff


def _stationary(draw: Draw, sampling: np.ndarray) -> np.ndarray:
    """Size of the IPO gradient relative to its terms, which are as large as 1 + 1/(2β) and the log-ratios."""
    largest = 1 + 0.5 / draw.beta + np.abs(ratio_of(draw)).max(-1)
    return np.abs(_ipo_gradient(draw, sampling)).max(-1) / largest


def _ipo_at_nash(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    game, _ = _planted(draw, np.ones_like(draw.beta))
    elsewhere = game._replace(logits=game.log_ref)
    return _stationary(game, game.log_policy), _stationary(elsewhere, game.log_ref)


def _ipo_md_at_fixed_point(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    game, response = _planted(draw, 1 - draw.mixture)
    at_nash = game._replace(mixture=np.zeros_like(draw.mixture))
    answered = game._replace(logits=response)
    return _stationary(answered, answered.mixed), _stationary(at_nash, at_nash.mixed)


def weight_of(draw: Draw, opponent: np.ndarray) -> np.ndarray:
    """``P(y ≻ opponent) - 1/2 - β log(π/π_ref)(y)``, what the policy gradient weighs."""
    return apply(draw.advantage, np.exp(opponent)) - draw.beta[:, None] * ratio_of(draw)


def _ipo_md_forms(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the form with the baseline, and of the better of two factors without it."""
    law = np.exp(draw.mixed)
    measured = _ipo_gradient(draw, draw.mixed)
    weight, beta = weight_of(draw, draw.mixed), draw.beta[:, None]
    baseline = beta * (law * ratio_of(draw)).sum(-1, keepdims=True)
    centred, plain = (score_mean(draw, law, value) / beta for value in (weight + baseline, weight))
    without = np.minimum(error(measured, -2 * plain), error(measured, -4 * plain))
    return error(measured, -4 * centred), without


def _ipo_md_plain(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    centred, without = _ipo_md_forms(draw)
    return without, centred


def _nash_md_gradient(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """IPO-MD against -(4/β) times the policy gradient of Nash-MD, at mixture 0 and above."""
    same, mixed = (
        error(_ipo_gradient(each, each.mixed), -4 * self_play_gradient(each, each.mixed) / each.beta[:, None])
        for each in (draw._replace(mixture=0 * draw.mixture), draw)
    )
    return same, mixed


def _ipo_expanded(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    log_policy, log_ref, beta = draw.log_policy, draw.log_ref, draw.beta
    margin = (ratio_of(draw)[:, 0] - ratio_of(draw)[:, 1])[:, None]
    beta = beta[:, None]
    loss = np.asarray(losses.squared(jnp.asarray(margin), 0.0 * margin, 1.0, beta=beta))  # type: ignore[arg-type]
    constant = (log_ref[:, :1] - log_ref[:, 1:2]) + 0.25 / beta
    expanded = -(log_policy[:, :1] - log_policy[:, 1:2]) + beta * margin**2 + constant
    scale = 1 + np.abs(expanded) + 0.25 / beta
    return (
        (np.abs(beta * loss - expanded) / scale)[:, 0],
        (np.abs(loss - expanded) / scale)[:, 0],
    )


def check_of(
    name: str,
    statement: str,
    compare: Compare,
    control: str,
    *,
    assumptions: str = "policies of full support, β from 1e-3 to 10",
    **more: Any,
) -> Check:
    """One row about the gradient of a loss; the rest as in ``proofs_checks.rows.check_of``."""
    judged = functools.partial(judge, compare, control)
    return rows.check_of(name, statement, assumptions, judged, kind="identity", **more)


_ipo_check = functools.partial(check_of, source="loss of arXiv:2403.08635; derived")

CHECKS: tuple[Check, ...] = (
    _ipo_check(
        "loss.online_ipo_gradient",
        "∇ online IPO = Σ ρ(y)ρ(y') [2p(h - 1/(2β)) + 2(1 - p)(h + 1/(2β))] (e_y - e_y'), h = lr(y) - lr(y')",
        _ipo_closed,
        "the sampling law differentiated too",
    ),
    _ipo_check(
        "loss.online_ipo_is_self_play",
        "∇ online IPO = -(4/β) ∇ P_β(π ≻ SG[π])",
        _ipo_is_self_play,
        "the factor 2/β",
    ),
    _ipo_check(
        "loss.online_ipo_is_preconditioned_mirror_descent",
        "∇ online IPO = 4 (diag π - ππ^T)(log π - log π_ref - (P - 1/2)π/β)",
        _ipo_is_preconditioned,
        "the identity in place of diag π - ππ^T",
    ),
    _ipo_check(
        "loss.online_ipo_stationary_at_nash",
        "the regularised Nash policy is stationary for online IPO",
        _ipo_at_nash,
        "the reference",
        assumptions="Nash policies chosen, the reference derived",
    ),
    _ipo_check(
        "loss.ipo_md_gradient",
        "∇ IPO-MD = -(4/β) E_m s(y) [P(y ≻ m) - 1/2 - β lr(y) + β E_m lr], m the mixture, lr = log(π/π_ref)",
        _ipo_md_forms,
        "without the baseline E_m lr",
    ),
    _ipo_check(
        "loss.ipo_md_gradient_without_baseline",
        "∇ IPO-MD = -c E_m s(y) [P(y ≻ m) - 1/2 - β lr(y)] for c = 2/β or 4/β",
        _ipo_md_plain,
        "with the baseline + β E_m lr and c = 4/β",
        refuted=True,
    ),
    _ipo_check(
        "loss.ipo_md_is_nash_md_without_mixture",
        "at mixture 0 ∇ IPO-MD is -(4/β) times the policy gradient of Nash-MD",
        _nash_md_gradient,
        "at mixtures above 0",
    ),
    _ipo_check(
        "loss.ipo_md_stationary",
        "BR_β(m) is stationary for IPO-MD, m being its mixture with π_ref and Nash at β/(1 - mixture)",
        _ipo_md_at_fixed_point,
        "m itself, the mixture dropped",
        assumptions="m chosen, the reference derived",
    ),
    _ipo_check(
        "loss.ipo_expanded",
        "β (h - 1/(2β))² = -log(π(y)/π(y')) + β h² + log(π_ref(y)/π_ref(y')) + 1/(4β)",
        _ipo_expanded,
        "the squared loss not scaled by β",
    ),
)
