"""How hard an MDP is to cover: the largest occupancies within reach, whose sum is the coverability."""

from __future__ import annotations

import jax
import numpy as np

from nlhf.errors import InputError
from tabular.mdps.mdp import MDP
from tabular.mdps.values import occupancy

Array = jax.Array


def reachability(mdp: MDP) -> np.ndarray:
    """``max_π occupancy^π(s, a)`` over all policies, ``[S, A]``; 0 in terminal states.

    No run meets a state twice, so the largest occupancy of a state is the largest probability of ever
    reaching it (discounted): one backward sweep of ``w(s) = discount max_a P w``, ``w(target) = 1``, for all
    targets at once. A reference of 0 or of full support excludes nothing.

    Args:
      mdp: a concrete one without cycles (a finite horizon); certain moves or not.

    Raises:
      InputError: if some state can be met twice.

    Reference: arXiv:2405.21046 (coverability; of whole responses it is this sum over the last tokens).
    """
    transition: np.ndarray = np.asarray(mdp.transition, float)
    terminal = np.asarray(mdp.terminal)
    allowed = ~np.isneginf(np.asarray(mdp.log_ref))
    num_states = len(terminal)
    reach = np.eye(num_states)
    leads = np.any((transition > 0) & allowed[..., None], axis=1)
    for state in _backwards(leads, terminal):
        if not terminal[state]:
            onward = transition[state][allowed[state]] @ reach
            reach[state] = np.maximum(reach[state], float(mdp.discount) * onward.max(0))
    visits = np.where(terminal, 0.0, np.asarray(mdp.initial) @ reach)
    return np.where(allowed, visits[:, None], 0.0)


def class_reachability(mdp: MDP, log_policies: Array) -> Array:
    """``max_m occupancy^m(s, a)`` over the policies of a finite class, ``[S, A]``; 0 in terminal states.

    Args:
      mdp: any.
      log_policies: ``[M, S, A]``.
    """
    return jax.vmap(occupancy, in_axes=(None, 0))(mdp, log_policies).max(0)


def _backwards(leads: np.ndarray, terminal: np.ndarray) -> list[int]:
    """States ordered so that each comes after those it leads to."""
    leads = leads & ~terminal[:, None]
    waiting = leads.sum(1)
    order = [int(state) for state in np.flatnonzero(waiting == 0)]
    for state in order:
        before = np.flatnonzero(leads[:, state])
        waiting[before] -= 1
        order.extend(int(other) for other in before if waiting[other] == 0)
    if len(order) < len(terminal):
        cycle = int(np.argmax(waiting > 0))
        raise InputError(
            f"state {cycle} can be met twice, but coverability is that of a finite horizon; unroll the MDP "
            "into layers (tabular.mdps.families.layered)"
        )
    return order
