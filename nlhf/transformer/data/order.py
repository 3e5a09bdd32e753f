"""The order in which a run visits its data: shuffled every epoch, a function of seed and position alone.

No iterator and no state: where a run stands is one number, the examples drawn so far, so a run that resumes
there draws what it would have drawn.
"""

from __future__ import annotations

import functools

import numpy as np

from nlhf.base import check_whole
from nlhf.errors import InputError


def indices(
    seed: int, position: int, size: int, batch: int, *, process: int = 0, num_processes: int = 1
) -> np.ndarray:
    """Return the examples of the batch that starts at a position.

    Example ``n`` of a run is ``permutation(seed, n // size)[n % size]``: every epoch visits every example
    once, and a batch may span two epochs.

    Args:
      seed: of the order, in [0, 2^63).
      position: examples drawn before this batch, >= 0; the next batch starts at ``position + batch``.
      size: examples in the data set, >= 1.
      batch: examples in the batch, over all processes, >= 1.
      process: which process asks, in [0, num_processes).
      num_processes: a divisor of ``batch``; process i gets the i-th of equal consecutive slices.

    Returns:
      ``[batch / num_processes]`` int64 in [0, size).

    Raises:
      InputError: if a number is outside of its range.

    >>> indices(0, 6, 4, 4).shape
    (4,)
    """
    size, batch = check_whole("size", size), check_whole("batch", batch)
    position = check_whole("position", position, low=0)
    num_processes, process = (
        check_whole("num_processes", num_processes),
        check_whole("process", process, low=0),
    )
    if process >= num_processes:
        raise InputError(f"process is {process} of {num_processes}; give one of 0 to {num_processes - 1}")
    if batch % num_processes:
        raise InputError(
            f"batch is {batch}, but {num_processes} processes take equal parts of it; give a multiple of "
            f"{num_processes}"
        )
    share = batch // num_processes
    examples = position + process * share + np.arange(share, dtype=np.int64)
    epochs = examples // size
    result = np.empty(share, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        result[here] = permutation(seed, int(epoch), size)[examples[here] % size]
    return result


@functools.lru_cache(maxsize=2)  # a batch asks for at most two epochs, unless the data set is tiny
def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return the order of one epoch, ``[size]`` int64, read-only.

    The counter-based generator Philox with the key ``(seed, epoch)`` gives every example 64 random bits;
    the examples are sorted by them. Both are fixed by their definitions, so the order does not depend on the
    version of NumPy's shuffling.

    Args:
      seed: in [0, 2^63).
      epoch: >= 0.
      size: >= 1.

    Raises:
      InputError: if a number is outside of its range.
    """
    seed, epoch = check_whole("seed", seed, low=0), check_whole("epoch", epoch, low=0)
    if seed >= 2**63:
        raise InputError(f"seed is {seed}, but it must be less than 2^63; give a smaller one")
    key = np.array([seed, epoch], np.uint64)
    bits = np.random.Philox(key=key).random_raw(check_whole("size", size))
    order = np.argsort(bits, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order
