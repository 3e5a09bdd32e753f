"""Policies in balls: normalisation, KL divergence, and an enclosure of a regularised equilibrium."""

from __future__ import annotations

import jax
import numpy as np
from flint import arb, arb_mat, ctx

from proofs_checks.certificates.balls import Balls, UndecidedError, balls
from tabular.nash import solve_regularised

_solve = jax.jit(solve_regularised)


def probabilities(log_policy: Balls) -> Balls:
    """Return ``exp(log π)``, entry by entry."""
    return np.array([entry.exp() for entry in log_policy], object)


def log_sum(logits: Balls) -> arb:
    """Return ``log Σ exp(logits)``; balls have no largest exponent, so no shift is needed."""
    return sum(probabilities(logits), arb(0)).log()


def normalise(logits: Balls) -> Balls:
    """Return ``logits - log Σ exp(logits)``."""
    return logits - log_sum(logits)


def kl(log_policy: Balls, log_other: Balls) -> arb:
    """Return ``Σ p (log p - log q)`` of policies with full support; what cancels is paid for in bits."""
    terms = (p.exp() * (p - q) for p, q in zip(log_policy, log_other, strict=True))
    return sum(terms, arb(0))


def enclose_nash(advantage: Balls, log_ref: Balls, beta: arb) -> Balls:
    """Enclose the log-probabilities of the regularised Nash policy of a small game.

    Newton's method on ``F(u) = u - log π_ref - A softmax(u)/β`` finds a policy π near it, which need not be
    exact: its exploitability δ bounds ``β KL(π‖π*) <= δ``, hence ``|π - π*|_1 <= √(2δ/β)`` by Pinsker, hence
    ``(A π*)_a`` is within half of that of ``(A π)_a``, and ``log π* = log π_ref + A π*/β`` up to a constant.

    Args:
      advantage: ``[A, A]`` skew, entries in [-1/2, 1/2].
      log_ref: ``[A]`` log-probabilities, all finite.
      beta: KL coefficient, > 0.

    Raises:
      UndecidedError: if the policy found is so far off that the enclosure is not finite.
    """
    table = np.array([[float(entry.mid()) for entry in row] for row in advantage])
    solved = _solve(table + 0.5, np.array([float(entry) for entry in log_ref]), float(beta))
    logits = balls(np.asarray(solved.log_policy))
    for _ in range(ctx.prec.bit_length()):  # every round doubles the correct digits
        logits = np.array([entry.mid() for entry in _newton(logits, advantage, log_ref, beta)], object)
    log_policy = normalise(logits)
    policy = probabilities(log_policy)
    pull = advantage @ policy / beta
    gap = log_sum(log_ref + pull) + kl(log_policy, log_ref)
    radius = (2 * gap.abs_upper()).sqrt() / (2 * beta)
    if not radius.is_finite():
        raise UndecidedError("no equilibrium is enclosed; raise the precision")
    return normalise(log_ref + pull + np.array([arb(0, radius.upper())] * len(policy), object))


def _newton(logits: Balls, advantage: Balls, log_ref: Balls, beta: arb) -> Balls:
    policy = probabilities(normalise(logits))
    error = logits - log_ref - advantage @ policy / beta
    tangent = np.diag(policy) - np.outer(policy, policy)
    jacobian = balls(np.eye(len(policy))) - advantage @ tangent / beta
    move = arb_mat(jacobian.tolist()).solve(arb_mat([[entry] for entry in error]))
    return logits - np.array([move[row, 0] for row in range(len(policy))], object)
