"""The ``MDP`` pytree: transitions, rewards, a reference policy and a coefficient β, checked where it is made.

It maximises ``E Σ_t discount^t [r(s_t, a_t) - β (log π - log_ref)(a_t|s_t)]`` until a terminal state. With
``log_ref = 0`` (the counting measure) that is maximum-entropy control, with a policy in its place control
regularised by KL(π‖π_ref), and with β = 0 the plain return.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import check_number
from nlhf.errors import InputError
from tabular.payoff import brief

Array = jax.Array
Leaf = Any  # an array; or an axis where an MDP describes which of its leaves a vmap batches


class MDP(NamedTuple):
    """A finite Markov decision process with S states and A actions; a pytree.

    Attributes:
      transition: ``[S, A, S]`` probabilities of the next state; a terminal state stays where it is.
      reward: ``[S, A]``; 0 in terminal states.
      log_ref: ``[S, A]`` what policies are compared with: zeros (the counting measure: maximum entropy), or
        log-probabilities of a reference; ``-inf`` removes an action.
      initial: ``[S]`` probabilities of the first state.
      terminal: ``[S]`` booleans; the values of terminal states are 0, whatever is done there.
      discount: ``[]`` in (0, 1].
      beta: ``[]`` coefficient of the regularisation, >= 0.
    """

    transition: Leaf
    reward: Leaf
    log_ref: Leaf
    initial: Leaf
    terminal: Leaf
    discount: Leaf
    beta: Leaf

    def __repr__(self) -> str:
        return brief(self)

    @property
    def num_states(self) -> int:
        """S."""
        return self.reward.shape[-2]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.reward.shape[-1]

    @property
    def reference(self) -> Array:
        """``[S, A]`` log-probabilities of the reference policy: uniform where ``log_ref`` is 0."""
        return logspace.normalise(self.log_ref)


def make_mdp(
    transition: Any,
    reward: Any,
    *,
    log_ref: Any = None,
    initial: Any = None,
    terminal: Any = None,
    discount: Any = 0.9,
    beta: Any = 0.1,
) -> MDP:
    """Build an MDP from tables.

    Args:
      transition: ``[S, A, S]``, rows that sum to one; the rows of terminal states are replaced by staying.
      reward: ``[S, A]``, finite, 0 in terminal states.
      log_ref: ``[S, A]`` log-probabilities of a reference policy; ``None`` is 0, maximum entropy.
      initial: ``[S]`` probabilities; ``None`` is uniform over the states that are not terminal.
      terminal: ``[S]`` booleans; ``None`` is no terminal state.
      discount: in (0, 1]; 1 needs a terminal state within reach of every state.
      beta: coefficient of the regularisation, >= 0.

    Raises:
      InputError: on shapes that do not fit, rows that do not sum to one, entries that are negative or not
        finite, a reward in a terminal state, a reference that is neither 0 nor a policy, a discount outside
        (0, 1] or a discount of 1 without an end, a negative beta.

    >>> mdp = make_mdp([[[0.0, 1.0]], [[0.0, 1.0]]], [[2.0], [0.0]], terminal=[False, True], discount=1.0)
    >>> mdp.num_states, mdp.num_actions
    (2, 1)
    """
    matrix, rewards = np.asarray(transition, float), np.asarray(reward, float)
    if matrix.ndim != 3 or matrix.shape[0] != matrix.shape[2]:
        raise InputError(f"the transition has shape {matrix.shape}, but it must be [S, A, S]; reshape it")
    num_states, num_actions = matrix.shape[:2]
    _check_shape("reward", rewards, (num_states, num_actions))
    if not np.isfinite(rewards).all():
        s, a = (int(i) for i in np.argwhere(~np.isfinite(rewards))[0])
        raise InputError(f"reward[{s}, {a}] is {rewards[s, a]}, but it must be finite; replace it")
    ends = np.zeros(num_states, bool) if terminal is None else np.asarray(terminal)
    _check_shape("terminal", ends, (num_states,))
    if ends.dtype != bool:
        raise InputError(
            f"terminal has dtype {ends.dtype}, but it must be boolean; compare it with something"
        )
    if (rewards[ends] != 0).any():
        s, a = (int(i) for i in np.argwhere((rewards != 0) & ends[:, None])[0])
        raise InputError(
            f"reward[{s}, {a}] is {rewards[s, a]:g}, but state {s} is terminal and pays nothing; "
            "pay on the way into it"
        )
    matrix = np.where(ends[:, None, None], np.eye(num_states)[:, None, :], matrix)
    _check_rows("transition", matrix)
    first = _start(initial, ends)
    log_reference = np.zeros(rewards.shape) if log_ref is None else np.asarray(log_ref, float)
    _check_shape("log_ref", log_reference, rewards.shape)
    if log_reference.any():
        _check_rows("log_ref (after exp)", np.exp(log_reference))
    check_number("discount", discount, high=1.0, open_low=True)
    check_number("beta", beta)
    if np.max(np.asarray(discount)) == 1:
        _check_ends(matrix, ends, np.isfinite(log_reference))
    dtype = jnp.result_type(float)
    return MDP(
        transition=jnp.asarray(matrix, dtype),
        reward=jnp.asarray(rewards, dtype),
        log_ref=jnp.asarray(log_reference, dtype),
        initial=jnp.asarray(first, dtype),
        terminal=jnp.asarray(ends),
        discount=jnp.asarray(discount, dtype),
        beta=jnp.asarray(beta, dtype),
    )


def with_reward(mdp: MDP, reward: Any) -> MDP:
    """Return the same MDP with another reward table ``[S, A]``; 0 is paid in terminal states."""
    table = jnp.asarray(reward, mdp.reward.dtype)
    _check_shape("reward", table, mdp.reward.shape)
    if not isinstance(table, jax.core.Tracer) and not bool(jnp.isfinite(table).all()):
        raise InputError("a reward is not finite; give a finite reward to every state and action")
    return mdp._replace(reward=jnp.where(mdp.terminal[..., None], 0.0, table))


def shaped(mdp: MDP, potential: Array) -> MDP:
    """Add ``φ(s) - discount E φ(s')`` to the reward, φ = 0 in terminal states: V* becomes V* + φ.

    Args:
      potential: ``[S]`` φ.
    """
    phi = jnp.where(mdp.terminal, 0.0, potential)
    return with_reward(mdp, mdp.reward + phi[:, None] - mdp.discount * mdp.transition @ phi)


def _start(initial: Any, ends: np.ndarray) -> np.ndarray:
    if ends.all():
        raise InputError(
            "every state is terminal, but there must be one to start in; clear terminal somewhere"
        )
    first = ~ends / (~ends).sum() if initial is None else np.asarray(initial, float)
    _check_shape("initial", first, ends.shape)
    _check_rows("initial", first)
    return first


def _check_shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}, but the MDP needs {shape}; reshape it")


def _check_rows(name: str, probability: np.ndarray) -> None:
    wrong = ~np.isfinite(probability) | (probability < 0)
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        raise InputError(
            f"{name}{where} is {probability[tuple(where)]:g}, but a probability is finite and not negative; "
            "replace it"
        )
    error = np.abs(probability.sum(-1) - 1)
    if error.max() > 1e-9:
        where = [int(i) for i in np.unravel_index(error.argmax(), error.shape)]
        total = float(probability.sum(-1)[tuple(where)])
        place = f" row {where}" if where else ""
        raise InputError(f"{name}{place} sums to {total:.12g}, but it must sum to 1; divide it by its sum")


def _check_ends(matrix: np.ndarray, ends: np.ndarray, allowed: np.ndarray) -> None:
    """Refuse a discount of 1 where some state can never end: its return is a sum without limit."""
    leads = ((matrix > 0) & allowed[..., None]).any(1)
    reaches = ends.copy()
    while True:
        further = reaches | (leads & reaches).any(1)
        if (further == reaches).all():
            break
        reaches = further
    if not reaches.all():
        raise InputError(
            f"discount is 1, but state {int(np.argmin(reaches))} never reaches a terminal state; mark where "
            "it ends in terminal, or give a discount below 1"
        )
