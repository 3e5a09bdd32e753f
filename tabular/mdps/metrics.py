"""How far a policy is from the optimum of an MDP; signatures as in ``tabular.metrics``."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nlhf import logspace
from tabular.mdps.mdp import MDP
from tabular.mdps.values import hard_values, occupancy, policy_values, soft_values

Array = jax.Array


def soft_value_gap(mdp: MDP, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """``initial · (V* - V^π)`` of the regularised objective, for β > 0.

    It equals ``β Σ occupancy^π (log π - log π*)``, and is coded in the form without cancellation, with the
    divergence of each state weighted by its visits.
    """
    del advantage, log_nash
    visits = occupancy(mdp, log_policy).sum(-1)
    best = soft_values(mdp).log_policy
    return mdp.beta * (visits @ logspace.kl(log_policy, best))


def return_gap(mdp: MDP, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """``initial · (V* - V^π)`` of the plain return, β left aside."""
    del advantage, log_nash
    plain = mdp._replace(beta=jnp.zeros_like(mdp.beta))
    return mdp.initial @ (hard_values(mdp).v - policy_values(plain, log_policy).v)


def log_policy_rmse(mdp: MDP, log_policy: Array, advantage: Array, log_nash: Array) -> Array:
    """Root mean square of ``log π - log π*`` over the (s, a) that are not terminal or excluded; β > 0."""
    del advantage, log_nash
    counted = ~jnp.isneginf(mdp.log_ref) & ~mdp.terminal[:, None]
    best = soft_values(mdp).log_policy
    difference = jnp.where(counted, log_policy, 0.0) - jnp.where(counted, best, 0.0)
    return jnp.sqrt((difference**2).sum() / counted.sum().astype(difference.dtype))
