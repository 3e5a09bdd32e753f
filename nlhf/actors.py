"""A small actor network: a multilayer perceptron as a pytree, its two heads, and dropout.

``apply`` is the network: affine layers with ReLU and dropout between them. ``_dense``, ``dropped_relu`` and
``keep_mask`` are these operations in forms that XLA compiles well on a CPU, and nothing but speed: a gradient
at 1,536 states through two hidden layers of 256 units takes 7.8 ms, and 11.5 ms with ``x @ w + b`` and masks
of ``jax.random.bernoulli`` (one core, the fastest of 600).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.base import check_number, check_whole
from nlhf.errors import InputError

Array = jax.Array
NARROW = 16  # outputs; the gradient of a narrower layer's weights is made as its transpose


class MLP(NamedTuple):
    """Parameters of a multilayer perceptron with L layers.

    Attributes:
      weights: L arrays ``[inputs, outputs]``.
      biases: L arrays ``[outputs]``.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


def init(key: Array, sizes: Sequence[int], dtype: Any = jnp.float32) -> MLP:
    """Return He-uniform weights and zero biases; the last layer ten times smaller, near uniform.

    Args:
      sizes: number of state features, widths of the hidden layers, number of outputs (actions of a
        categorical head, action coordinates of a deterministic one).
      dtype: floating type of the parameters.

    Raises:
      InputError: if there are fewer than two sizes, or one is not a positive whole number.

    >>> [weight.shape for weight in init(jax.random.key(0), (39, 256, 4)).weights]
    [(39, 256), (256, 4)]
    """
    if len(sizes) < 2:
        raise InputError(f"sizes is {tuple(sizes)}, but a network has inputs and outputs; give two or more")
    sizes = [check_whole("size of a layer", size) for size in sizes]
    keys = jax.random.split(key, len(sizes) - 1)
    weights = []
    for layer_key, (fan_in, fan_out) in zip(keys, itertools.pairwise(sizes), strict=True):
        bound = math.sqrt(6 / fan_in)
        weights.append(jax.random.uniform(layer_key, (fan_in, fan_out), dtype, -bound, bound))
    weights[-1] = weights[-1] / 10
    return MLP(tuple(weights), tuple(jnp.zeros(size, dtype) for size in sizes[1:]))


def apply(parameters: MLP, states: Array, *, key: Array | None = None, dropout: float = 0.0) -> Array:
    """Return the outputs ``[N, outputs]``: affine layers, ReLU and dropout between them.

    Args:
      states: ``[N, features]``.
      key: of the dropout; ``None`` drops nothing (evaluation).
      dropout: share of hidden units that are dropped, in [0, 1); the others are scaled by 1/(1 - dropout).

    Raises:
      InputError: if states are not ``[N, features]`` of the network, or dropout is out of range.
    """
    features = parameters.weights[0].shape[0]
    if states.ndim != 2 or states.shape[1] != features:
        raise InputError(
            f"the states have shape {states.shape}, but the network takes [N, {features}]; reshape them"
        )
    check_dropout(dropout)
    num_hidden = len(parameters.weights) - 1
    keys = jax.random.split(key, max(num_hidden, 1)) if key is not None and dropout > 0 else None
    hidden = states.astype(parameters.weights[0].dtype)
    for index, (weight, bias) in enumerate(zip(parameters.weights, parameters.biases, strict=True)):
        hidden = _dense(hidden, weight, bias)
        if index < num_hidden:
            hidden = jax.nn.relu(hidden) if keys is None else dropped_relu(hidden, keys[index], dropout)
    return hidden


def check_dropout(dropout: float) -> float:
    """Return a dropout rate in [0, 1), else raise an ``InputError``."""
    check_number("dropout", dropout, high=1.0)
    if dropout == 1:
        raise InputError("dropout is 1, which drops everything; give a rate below 1")
    return float(dropout)


def categorical(outputs: Array, actions: Array) -> Array:
    """Log-probability of discrete actions: ``log_softmax(outputs)[action]``.

    Args:
      outputs: ``[N, A]``.
      actions: ``[N]`` indices.

    Raises:
      InputError: if the actions are not whole numbers, one a row.
    """
    if actions.ndim != 1 or not jnp.issubdtype(actions.dtype, jnp.integer):
        raise InputError(
            f"the actions have shape {actions.shape} and dtype {actions.dtype}, but a categorical head takes "
            "[N] integers; give indices, or use the deterministic head"
        )
    return jnp.take_along_axis(jax.nn.log_softmax(outputs), actions[:, None], axis=1)[:, 0]


def deterministic(outputs: Array, actions: Array) -> Array:
    """Score of continuous actions: ``-‖a - μ‖²`` with ``μ = tanh(outputs)``.

    A Gaussian of variance 1/2 around μ has this log-density up to a constant; the released code of CPL writes
    it so, without the 1/2 of a unit variance. Against a unit-variance Gaussian the same α therefore acts like
    2α: their 0.1 is a temperature of 0.2 there.

    Args:
      outputs: ``[N, K]``.
      actions: ``[N, K]``, in [-1, 1] where μ can reach them.

    Raises:
      InputError: if the actions have another shape or are whole numbers.

    Reference: arXiv:2310.13639, released code.
    """
    if actions.shape != outputs.shape or not jnp.issubdtype(actions.dtype, jnp.floating):
        raise InputError(
            f"the actions have shape {actions.shape} and dtype {actions.dtype}, but this deterministic head "
            f"takes floats of shape {outputs.shape}; give vectors, or use the categorical head"
        )
    return -jnp.sum((jnp.tanh(outputs) - actions.astype(outputs.dtype)) ** 2, axis=-1)


@jax.custom_vjp
def _dense(inputs: Array, weight: Array, bias: Array) -> Array:
    """``inputs @ weight + bias``; only the order of products in its derivative is chosen by hand."""
    return inputs @ weight + bias[None]


def _dense_forward(inputs: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return _dense(inputs, weight, bias), (inputs, weight)


def _dense_backward(kept: tuple[Array, Array], grad: Array) -> tuple[Array, Array, Array]:
    inputs, weight = kept
    # XLA's CPU product with few columns is slow, with few rows fast; with a transposed left side it is
    # slower than a copy that is transposed first. The barriers keep XLA from undoing either.
    if weight.shape[1] < NARROW:
        grad_weight = jax.lax.optimization_barrier(grad.T @ inputs).T
    else:
        grad_weight = jax.lax.optimization_barrier(inputs.T) @ grad
    return grad @ weight.T, grad_weight, grad.sum(0)


_dense.defvjp(_dense_forward, _dense_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dropped_relu(hidden: Array, key: Array, rate: float) -> Array:
    """ReLU, then dropout: ``keep relu(h) / (1 - rate)``.

    Where the output is positive the unit was kept and active, which is all that the gradient needs.

    Args:
      hidden: ``[N, D]``.
      rate: in [0, 1).
    """
    kept = keep_mask(key, hidden.shape, rate)
    return jnp.where(kept & (hidden > 0), hidden * (1 / (1 - rate)), 0.0)


def _dropped_relu_forward(hidden: Array, key: Array, rate: float) -> tuple[Array, Array]:
    output = dropped_relu(hidden, key, rate)
    return output, output


def _dropped_relu_backward(rate: float, output: Array, grad: Array) -> tuple[Array, None]:
    return jnp.where(output > 0, grad * (1 / (1 - rate)), 0.0), None


dropped_relu.defvjp(_dropped_relu_forward, _dropped_relu_backward)


def keep_mask(key: Array, shape: tuple[int, ...], rate: float) -> Array:
    """Return booleans ``[N, D]``, True with probability ``1 - rate`` (to 2^-32), from a hash of the index.

    Two multiplications, four shifts and two seed words an entry, all of which XLA fuses into the activation:
    bits from ``jax.random`` are several times the work and go through memory. Good enough to drop units,
    which asks for the right mean and no visible correlation; not a generator for anything else.

    Args:
      key: random key; 64 bits are drawn from it.
      shape: (N, D) with N D <= 2^32.
      rate: in [0, 1).

    Reference: the mixing constants are those of "lowbias32", a public-domain integer hash.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    rows = jax.lax.broadcasted_iota(jnp.uint32, shape, 0)
    index = rows * jnp.uint32(shape[1]) + jax.lax.broadcasted_iota(jnp.uint32, shape, 1)
    mixed = index ^ first
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x7FEB352D)
    mixed = mixed ^ second
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0x846CA68B)
    mixed = mixed ^ (mixed >> 16)
    return mixed >= jnp.uint32(round(rate * 2**32))
