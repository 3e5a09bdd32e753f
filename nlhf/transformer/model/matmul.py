"""Products with weights: factors in the computation's dtype and sums in float32 at least, both ways.

Left to itself, the derivative of such a product multiplies the float32 gradient of its result with a bfloat16
factor, which widens the factor first: in bfloat16 a backward pass then takes the time of one in float32.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from nlhf.transformer.model.config import accumulation_dtype

Array = jax.Array
KEPT = "product"


def product(equation: str, x: Array, weight: Array) -> Array:
    """``einsum(equation, x, weight)`` in the dtype of ``x``; ``KEPT`` is its name among checkpoints.

    Args:
      equation: of two factors, in which every index is in two of the three terms.
      x: activations; their dtype is the factors'.
      weight: of any dtype, which its gradient has as well.
    """
    return checkpoint_name(_product(equation, False, x, weight), KEPT)


def wide_product(equation: str, x: Array, weight: Array) -> Array:
    """``einsum(equation, x, weight)`` as it is summed: float32, or float64 if that is the dtype of ``x``.

    Args:
      equation: as in ``product``.
      weight: of any dtype.
    """
    return _product(equation, True, x, weight)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _product(equation: str, widened: bool, x: Array, weight: Array) -> Array:
    found = _einsum(equation, x, weight.astype(x.dtype))
    return found if widened else found.astype(x.dtype)


def _einsum(equation: str, first: Array, second: Array) -> Array:
    return jnp.einsum(equation, first, second, preferred_element_type=accumulation_dtype(first.dtype))


def _forward(equation: str, widened: bool, x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(equation, widened, x, weight), (x, weight)


def _backward(equation: str, widened: bool, kept: tuple[Array, Array], change: Array) -> tuple[Array, Array]:
    del widened
    x, weight = kept
    factors, result = equation.split("->")
    left, right = factors.split(",")
    change = change.astype(x.dtype)
    to_x = _einsum(f"{result},{right}->{left}", change, weight.astype(x.dtype))
    to_weight = _einsum(f"{left},{result}->{right}", x, change)
    return to_x.astype(x.dtype), to_weight.astype(weight.dtype)


_product.defvjp(_forward, _backward)
