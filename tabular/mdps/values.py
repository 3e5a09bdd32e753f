"""Exact values of an MDP: soft and plain optima, values of a policy, how often it visits what.

All of them end in a linear solve ``(I - discount P_π) v = r_π``, so that a discount of 0.999, or of 1 with a
terminal state, costs no more than one of 0.9. Where an optimum does not exist (with a discount of 1 and a
cycle that pays), the values are NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf import logspace
from tabular.mdps.mdp import MDP

Array = jax.Array
MAX_SWEEPS = 200  # policy iterations; about ten are used
TIE, BETTER = (
    0.6,
    0.75,
)  # powers of the rounding unit: a tie (4e-10 of the largest value), and more than noise


class Values(NamedTuple):
    """What a policy, or the best one, is worth.

    Attributes:
      q: ``[S, A]``, ``r + discount P v``; 0 in terminal states.
      v: ``[S]``, 0 in terminal states.
      log_policy: ``[S, A]`` the policy; the reference in terminal states.
      advantage: ``[S, A]``, ``q - v``; 0 in terminal states.
      optimal: ``[S, A]`` booleans, the actions of value v, ties kept; every action in terminal states. For a
        soft optimum or a given policy: the actions that the policy may take.
    """

    q: Array
    v: Array
    log_policy: Array
    advantage: Array
    optimal: Array


@jax.jit
def soft_values(mdp: MDP) -> Values:
    """Solve ``V = β logsumexp_a(log_ref + Q/β)``, ``Q = r + discount P V``, by soft policy iteration.

    Each sweep evaluates ``π = log_ref + (Q - V)/β`` by a linear solve: Newton's method, so the error squares.
    Then ``log π* = log_ref + A*/β`` with ``A* = Q - V``.

    Args:
      mdp: with beta > 0; jit- and ``vmap``-able.

    Reference: arXiv:2310.13639 (the maximum-entropy optimum that regret preferences refer to).
    """
    scale = 1 + jnp.abs(mdp.reward).max() + mdp.beta
    enough = 32 * jnp.finfo(mdp.reward.dtype).eps

    def sweep(carry: Any) -> Any:
        v = _evaluate(mdp, carry[0])
        q = backup(mdp, v)
        better = jnp.where(
            mdp.terminal, 0.0, mdp.beta * jax.nn.logsumexp(mdp.log_ref + q / mdp.beta, axis=-1)
        )
        # a value that runs away would look converged against its own size
        residual = jnp.abs(better - v).max() / (scale + jnp.minimum(jnp.abs(v).max(), 1e6 * scale))
        return logspace.normalise(mdp.log_ref + q / mdp.beta), q, better, residual, carry[4] + 1

    def unfinished(carry: Any) -> Array:
        return (carry[3] > enough) & (carry[4] < MAX_SWEEPS)

    zero = jnp.zeros_like(mdp.reward)
    start = (mdp.reference, zero, zero[:, 0], jnp.asarray(jnp.inf, zero.dtype), jnp.asarray(0))
    log_policy, q, v, residual, _ = jax.lax.while_loop(unfinished, sweep, start)
    # no optimum: nothing solves the equation, or only a policy that hardly ever ends comes close
    steps = jnp.abs(jnp.linalg.solve(_system(mdp, log_policy), jnp.ones_like(v))).max()
    solved = (residual < jnp.minimum(1e6 * enough, 1e-2)) & (steps < 1e-2 / jnp.finfo(v.dtype).eps ** 0.75)
    missing = jnp.where(solved, 0.0, jnp.nan)
    q, v = q + missing, v + missing
    return Values(q, v, log_policy + missing, _advantage(mdp, q, v), ~jnp.isneginf(mdp.log_ref))


@jax.jit
def hard_values(mdp: MDP) -> Values:
    """Solve ``V = max_a Q``, ``Q = r + discount P V``, whatever beta is, by policy iteration; ties are kept.

    ``log_policy`` is uniform over the optimal actions. It starts from the reference, and an action is changed
    only for one that is better by more than rounding, so that with a discount of 1 a policy that ends is not
    left for a cycle that merely costs nothing.

    Args:
      mdp: jit- and ``vmap``-able.
    """
    allowed = ~jnp.isneginf(mdp.log_ref)
    plain = mdp._replace(beta=jnp.zeros_like(mdp.beta))
    eps = float(jnp.finfo(mdp.reward.dtype).eps)

    def sweep(carry: Any) -> Any:
        log_policy, _, _, count = carry
        v = _evaluate(plain, log_policy)
        q = jnp.where(allowed, backup(mdp, v), -jnp.inf)
        change = (q.max(-1) > v + eps**BETTER * (1 + jnp.abs(v).max())) & ~mdp.terminal
        greedy = jnp.where(jax.nn.one_hot(q.argmax(-1), q.shape[-1], dtype=bool), 0.0, -jnp.inf)
        return jnp.where(change[:, None], greedy, log_policy), v, change.any(), count + 1

    start = (mdp.reference, jnp.zeros_like(mdp.reward[:, 0]), jnp.asarray(True), jnp.asarray(0))
    finished = jax.lax.while_loop(lambda carry: carry[2] & (carry[3] < MAX_SWEEPS), sweep, start)
    v = jnp.where(finished[2], jnp.nan, finished[1])
    q = backup(mdp, v)
    best = jnp.where(allowed, q, -jnp.inf)
    v = jnp.where(mdp.terminal, 0.0, best.max(-1))
    optimal = allowed & ((best >= v[:, None] - eps**TIE * (1 + jnp.abs(v).max())) | mdp.terminal[:, None])
    uniform = logspace.normalise(jnp.where(optimal | jnp.isnan(q), 0.0, -jnp.inf))
    log_policy = jnp.where(mdp.terminal[:, None], mdp.reference, uniform)
    return Values(q, v, log_policy, _advantage(mdp, q, v), optimal)


@jax.jit
def policy_values(mdp: MDP, log_policy: Array) -> Values:
    """Evaluate a policy: ``v = (I - discount P_π)^-1 [r_π - β Σ_a π (log π - log_ref)]``; plain for β = 0.

    Args:
      log_policy: ``[S, A]`` log-probabilities; with mass outside the reference (and β > 0) the value is NaN.
    """
    v = _evaluate(mdp, log_policy)
    q = backup(mdp, v)
    return Values(q, v, log_policy, _advantage(mdp, q, v), ~jnp.isneginf(log_policy))


def backup(mdp: MDP, v: Array) -> Array:
    """Return ``r + discount P v``, ``[S, A]``; 0 in terminal states."""
    return jnp.where(mdp.terminal[:, None], 0.0, mdp.reward + mdp.discount * mdp.transition @ v)


def log_ratio(mdp: MDP, log_policy: Array) -> Array:
    """``log π - log_ref``, ``[S, A]``; 0 in terminal states, where nothing is chosen."""
    outside = jnp.isneginf(mdp.log_ref) | mdp.terminal[:, None]
    return jnp.where(outside, 0.0, log_policy) - jnp.where(outside, 0.0, mdp.log_ref)


@jax.jit
def occupancy(mdp: MDP, log_policy: Array) -> Array:
    """Expected discounted number of visits ``E Σ_t discount^t 1{s_t = s, a_t = a}``, ``[S, A]``.

    Terminal states count 0. ``occupancy · (r - β log_ratio)`` is the value under ``initial``.

    Args:
      log_policy: ``[S, A]`` log-probabilities.
    """
    first = jnp.where(mdp.terminal, 0.0, mdp.initial)
    visits = jnp.linalg.solve(_system(mdp, log_policy).T, first[:, None])[:, 0]
    return jnp.where(mdp.terminal, 0.0, visits)[:, None] * jnp.exp(log_policy)


def _system(mdp: MDP, log_policy: Array) -> Array:
    """``I - discount P_π`` with the rows of terminal states replaced by those of I."""
    chain = (jnp.exp(log_policy)[:, None, :] @ mdp.transition)[:, 0, :]
    chain = jnp.where(mdp.terminal[:, None] | mdp.terminal[None, :], 0.0, chain)
    return jnp.eye(chain.shape[0], dtype=chain.dtype) - mdp.discount * chain


def _evaluate(mdp: MDP, log_policy: Array) -> Array:
    ratio = log_ratio(mdp, log_policy)
    probability = jnp.exp(log_policy)
    cost = mdp.beta * jnp.where(probability > 0, ratio, 0.0)
    each = jnp.where(probability > 0, probability * (mdp.reward - cost), 0.0).sum(-1)
    outside = (jnp.isneginf(mdp.log_ref) & (probability > 0)).any() & (mdp.beta > 0)
    each = jnp.where(mdp.terminal, 0.0, jnp.where(outside, jnp.nan, each))
    return jnp.linalg.solve(_system(mdp, log_policy), each[:, None])[:, 0]


def _advantage(mdp: MDP, q: Array, v: Array) -> Array:
    return jnp.where(mdp.terminal[:, None], 0.0, q - v[:, None])
