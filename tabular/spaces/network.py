"""A small parametric space: a softmax network over the same actions, for the error of approximate steps.

The network follows the "neural" setting of the EGPO simulations: a trainable input vector for each context,
two hidden ReLU layers, a linear read-out. A projection is k optimiser steps on the squared difference of
contrasts, the same rule by which a transformer is moved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from nlhf import logspace, losses
from nlhf.base import (
    Calibration,
    Comparisons,
    Feedback,
    Policy,
    PolicySpace,
    Static,
    Target,
    check_number,
    check_whole,
)
from nlhf.errors import InputError
from nlhf.optimiser import apply
from nlhf.policies import Mixture
from tabular.games import Game
from tabular.spaces.simplex import log_ratio_loss, present

Array = jax.Array


class Network(NamedTuple):
    """Parameters of the softmax network.

    Attributes:
      inputs: ``[X, D]`` trainable input vector of each context.
      weights: ``([D, D], [D, D], [D, A])``.
      biases: ``([D], [D], [A])``.
    """

    inputs: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


def init_network(key: Array, num_contexts: int, num_actions: int, width: int = 10) -> Network:
    """Random network with Glorot-uniform weights, zero biases and standard normal inputs.

    Args:
      width: D, width of the input vector and of both hidden layers.
    """
    input_key, *weight_keys = jax.random.split(key, 4)
    glorot = jax.nn.initializers.glorot_uniform()
    sizes = ((width, width), (width, width), (width, num_actions))
    return Network(
        inputs=jax.random.normal(input_key, (num_contexts, width)),
        weights=tuple(
            glorot(k, size, jnp.result_type(float)) for k, size in zip(weight_keys, sizes, strict=True)
        ),
        biases=(jnp.zeros(width), jnp.zeros(width), jnp.zeros(num_actions)),
    )


def table(policy: Policy) -> Array:
    """Log-probabilities ``[X, A]`` of a network, of a lazy mixture, or of a table itself."""
    if isinstance(policy, Mixture):
        return logspace.geometric_mixture(table(policy.policy), table(policy.other), policy.weight)
    if not isinstance(policy, Network):
        return policy
    hidden = policy.inputs
    for weight, bias in zip(policy.weights[:-1], policy.biases[:-1], strict=True):
        hidden = jax.nn.relu(hidden @ weight + bias[None])
    return logspace.normalise(hidden @ policy.weights[-1] + policy.biases[-1][None])


@functools.cache
def network_space(
    num_updates: int = 20, learning_rate: float = 0.01, optimiser: Callable[[float], Any] = optax.adam
) -> Callable[[Any], PolicySpace]:
    """Space of softmax networks; give its start to ``run(start=...)`` or use a network as the reference.

    Args:
      num_updates: k >= 1, optimiser steps of one projection or fit.
      learning_rate: > 0.
      optimiser: ``optimiser(learning_rate)`` is an optax transformation; every projection starts it again.

    Returns:
      A factory ``make_space(game) -> PolicySpace``; the same arguments give the same object. Its ``project``
      and ``fit`` raise an ``InputError`` when they are asked to move a table.

    Raises:
      InputError: if a number is out of range.
    """
    check_number("learning_rate", learning_rate, open_low=True)
    settings = Static((check_whole("num_updates", num_updates), float(learning_rate), optimiser))

    def make_space(game: Game) -> PolicySpace:
        return PolicySpace(
            reference=game.log_ref,
            log_prob=Partial(_log_prob, game.log_ref),
            mix=Partial(Mixture),
            project=Partial(_project, settings, game.log_ref),
            fit=Partial(_fit, settings, game),
        )

    return make_space


def _allowed(log_ref: Array, policy: Policy) -> Array:
    """``table(policy)`` on the support of the reference, which a network on its own does not know."""
    return logspace.normalise(jnp.where(jnp.isneginf(log_ref), -jnp.inf, table(policy)))


def _log_prob(log_ref: Array, policy: Policy, responses: Array | None = None) -> Array:
    log_policy = _allowed(log_ref, policy)
    return log_policy if responses is None else jnp.take_along_axis(log_policy, responses, axis=-1)


def _network(policy: Policy) -> Network:
    while isinstance(policy, Mixture):
        policy = policy.policy
    if not isinstance(policy, Network):
        raise InputError(
            f"the policy is a {type(policy).__name__}, but this space moves a Network; "
            "give run(start=init_network(...))"
        )
    return policy


def _project(settings: Static, log_ref: Array, policy: Policy, target: Target, feedback: Feedback) -> Network:
    weight = present(log_ref, jnp.ones_like(log_ref))
    weight = weight / weight.sum(-1, keepdims=True)
    # as in the simplex: excluded actions are moved as zeros, here with weight zero
    wanted = target(
        present(log_ref, _allowed(log_ref, policy)), present(log_ref, log_ref), feedback.preference
    )
    wanted = present(log_ref, wanted)

    def objective(network: Network) -> Array:
        return losses.contrast(present(log_ref, _allowed(log_ref, network)), wanted, weight).sum()

    return descend(settings, objective, _network(policy))


def _fit(
    settings: Static,
    game: Game,
    key: Array,
    policy: Policy,
    loss: Callable,
    comparisons: Comparisons,
    calibration: Calibration | None = None,
) -> Network:
    del key
    if calibration is not None:
        calibration = Calibration(_allowed(game.log_ref, calibration.policy), calibration.weight)

    def objective(network: Network) -> Array:
        return log_ratio_loss(_allowed(game.log_ref, network), game, loss, comparisons, calibration)

    return descend(settings, objective, _network(policy))


def descend(settings: Static, objective: Callable[[Any], Array], start: Any) -> Any:
    """Make k optimiser steps.

    Args:
      settings: ``(num_updates, learning_rate, optimiser)``, as in ``network_space``.
      start: first point, a pytree.
      objective: pytree -> scalar.

    Returns:
      The last point.
    """
    num_updates, learning_rate, optimiser = settings
    transformation = optimiser(learning_rate)

    def update(_: Array, carry: tuple) -> tuple:
        point, state = carry
        gradient = jax.grad(objective)(point)
        return apply(transformation, gradient, state, point)

    return jax.lax.fori_loop(0, num_updates, update, (start, transformation.init(start)))[0]
