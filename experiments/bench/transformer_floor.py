"""What a machine can do at best, and the least time that a case of ``nlhf bench transformer`` takes on it.

The floor of a step counts products of matrices at the measured rate and each weight read once a pass at the
measured bandwidth, the larger of both for every token that is decoded; no attention, no activations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.transformer.model.config import ModelConfig, num_parameters


def measure(seconds: float) -> dict[str, float]:
    """Measure flop/s of square float32 products and bytes a second read from memory, of XLA or BLAS.

    Args:
      seconds: for each of the four measurements, about.
    """
    size, long = 1024, 1 << 13
    square = np.random.default_rng(0).standard_normal((size, size), np.float32)
    tall = np.random.default_rng(1).standard_normal((long, long >> 1), np.float32)
    vector = tall[0].copy()
    product = jax.jit(jnp.matmul)
    on_device = jax.device_put((square, tall, vector))
    pairs: dict[str, tuple[float, list[Callable[[], Any]]]] = {
        "flops": (
            2.0 * size**3,
            [lambda: square @ square, lambda: product(on_device[0], on_device[0]).block_until_ready()],
        ),
        "bandwidth": (
            4.0 * tall.size,
            [lambda: tall @ vector, lambda: product(on_device[1], on_device[2]).block_until_ready()],
        ),
    }
    return {
        name: work / min(_fastest(each, seconds) for each in ways) for name, (work, ways) in pairs.items()
    }


def _fastest(call: Callable[[], Any], seconds: float) -> float:
    call()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return float(best)


def floor(
    case: str, config: ModelConfig, batch: int, prompt: int, response: int, flops: float, bandwidth: float
) -> float:
    """Seconds that one repetition of a case takes at least.

    Args:
      batch: B prompts.
      flops: a second, of products of matrices.
      bandwidth: bytes a second that are read.
    """
    head = config.vocabulary * config.width
    weights = num_parameters(config)
    body = weights - head * (1 if config.tied else 2)
    shared, own = batch * prompt, 2 * batch * response

    def draw(rows: int, models: int = 1) -> float:
        prefill = 2 * body * shared / flops
        token = max(4 * (body + head) / bandwidth, 2 * rows * (body + head) / flops)
        return models * (prefill + response * token)

    forward = (2 * body * (shared + own) + 2 * head * own) / flops
    # Adam reads weight, gradient and two moments, and writes all but the gradient; the clip reads it too
    update = 4 * forward + 8 * 4 * weights / bandwidth
    return {
        "sampler": lambda: draw(batch),
        "nash_md": lambda: draw(2 * batch, models=2) + update,
        "xpo": lambda: draw(batch) + draw(batch) + update,
        "online_dpo": lambda: draw(2 * batch) + update,
        "dpo": lambda: update,
    }[case]()
