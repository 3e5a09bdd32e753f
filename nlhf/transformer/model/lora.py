"""Low-rank adapters: what is trained is ``a`` and ``b`` of ``w + (scale/rank) a b``, matrix by matrix.

The reference is the base without adapters, so it is never a copy that could be trained along by mistake.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nlhf.base import check_number, check_whole
from nlhf.errors import InputError

Array = jax.Array
MATRICES = {"qkv": 1, "out": 3, "gate_up": 1, "down": 1}  # axes that a matrix reads from, after the layers'


class Lora(NamedTuple):
    """Size of the adapters.

    Attributes:
      rank: r >= 1.
      scale: > 0; the product of the two factors counts ``scale / rank``.
      matrices: which of ``qkv``, ``out``, ``gate_up`` and ``down`` have adapters.
    """

    rank: int
    scale: float
    matrices: tuple[str, ...]


def lora(rank: int, scale: float | None = None, matrices: tuple[str, ...] = tuple(MATRICES)) -> Lora:
    """Settings of low-rank adapters.

    Args:
      rank: r >= 1.
      scale: > 0; ``None`` is twice the rank.
      matrices: of ``qkv``, ``out``, ``gate_up``, ``down``; one at least.

    Raises:
      InputError: if a number is out of range or a matrix unknown.

    Reference: arXiv:2106.09685.
    """
    check_whole("rank", rank)
    scale = 2.0 * rank if scale is None else float(check_number("scale", scale, open_low=True))
    unknown = sorted(set(matrices) - set(MATRICES))
    if unknown or not matrices:
        raise InputError(
            f"matrices are {matrices}, but adapters are for {', '.join(MATRICES)}; give some of them"
        )
    return Lora(int(rank), scale, tuple(matrices))


def init_adapters(key: Array, params: Any, settings: Lora) -> dict[str, tuple[Array, Array]]:
    """Adapters that change nothing yet: ``a`` normal of variance 1/inputs, ``b`` zero.

    Returns:
      For each matrix ``a [L, inputs, r]`` and ``b [L, r, outputs]``.
    """
    adapters = {}
    for name, draw_key in zip(settings.matrices, jax.random.split(key, len(settings.matrices)), strict=True):
        layers, inputs, outputs = _flat(params["layers"][name], MATRICES[name])
        dtype = params["layers"][name].dtype
        a = jax.random.normal(draw_key, (layers, inputs, settings.rank), dtype) / math.sqrt(inputs)
        adapters[name] = (a, jnp.zeros((layers, settings.rank, outputs), dtype))
    return adapters


def merge(params: Any, adapters: dict[str, tuple[Array, Array]], settings: Lora) -> Any:
    """Parameters of the model with the adapters added in.

    Args:
      adapters: as ``init_adapters`` makes them.
    """
    factor = settings.scale / settings.rank
    layers = dict(params["layers"])
    for name, (a, b) in adapters.items():
        change = jnp.einsum("lir,lro->lio", a, b).reshape(layers[name].shape)
        layers[name] = layers[name] + jnp.asarray(factor, change.dtype) * change
    return {**params, "layers": layers}


def _flat(matrix: Array, axes: int) -> tuple[int, int, int]:
    return matrix.shape[0], math.prod(matrix.shape[1 : 1 + axes]), math.prod(matrix.shape[1 + axes :])
