"""Checks of a run: NaN and infinities, which must never be saved, and warnings of a loss that diverges."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Array
from nlhf.errors import InputError


class NonFiniteError(ArithmeticError):
    """A value that is NaN or infinite; the message names the step, the leaf and how many entries."""


class Watch(NamedTuple):
    """What the divergence warning remembers.

    Attributes:
      best: smallest loss so far; infinity before the first.
      active: the kinds of warning whose condition holds; each is given once, until it has passed.
    """

    best: float = math.inf
    active: tuple[str, ...] = ()


def leaf_path(path: Any) -> str:
    """Return the name of a leaf: keys, fields and positions from the root, separated by ``/``.

    Args:
      path: key path of ``jax.tree_util.tree_flatten_with_path``.

    >>> [leaf_path(path) for path, _ in jax.tree_util.tree_flatten_with_path({"a": (1, 2)})[0]]
    ['a/0', 'a/1']
    """
    return jax.tree_util.keystr(path, simple=True, separator="/") or "value"


def check_finite(tree: Any, step: int, what: str = "state") -> None:
    """Refuse a tree that holds NaN or an infinity.

    Args:
      tree: arrays or Python numbers, nested; global arrays of several processes too (then all must call).
      what: how the message calls the tree.

    Raises:
      NonFiniteError: naming the step, the first bad leaf's path, and how many leaves are bad.
    """
    inexact = [(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0] if _inexact(leaf)]
    if not inexact:
        return
    flags = np.asarray(_finite_leaves([leaf for _, leaf in inexact]))
    if flags.all():
        return
    bad = [leaf_path(path) for (path, _), fine in zip(inexact, flags, strict=True) if not fine]
    more = f" and {len(bad) - 1} more of {len(inexact)} leaves" if len(bad) > 1 else ""
    raise NonFiniteError(
        f"step {step}: {what} leaf {bad[0]!r}{more} is not finite (NaN or infinite); lower the step size, "
        "clip the gradient, or look at the data of this step"
    )


def watch_divergence(
    watch: Watch,
    loss: float,
    divergence: float = 0.0,
    *,
    factor: float = 1e3,
    floor: float = 1e-3,
    limit: float = math.inf,
) -> tuple[Watch, tuple[str, ...]]:
    """Warn, once each, when the loss runs away or the policy has left its reference.

    A warning is due if ``loss > factor * max(best, floor)``, or if ``divergence > limit``.

    Args:
      watch: what is remembered; ``Watch()`` at the start.
      loss: this step's loss or gap.
      divergence: KL to the reference, nats.
      factor: > 1.
      floor: > 0; losses below it count as this, so that one lucky batch is no yardstick.
      limit: largest KL without a warning, nats.

    Returns:
      The new memory, and one line for each new warning.

    Raises:
      InputError: if factor or floor is out of range.
    """
    if not factor > 1 or not floor > 0:
        raise InputError(
            f"factor = {factor}, floor = {floor}: a loss has run away above factor * max(best, floor); take "
            "factor > 1 and floor > 0"
        )
    best = min(watch.best, loss) if math.isfinite(loss) else watch.best
    yardstick = max(watch.best, floor)
    found = {}
    if math.isfinite(watch.best) and not loss <= factor * yardstick:
        found["loss"] = f"the loss is {loss:.3g}, more than {factor:g} times its best {watch.best:.3g}"
    if not divergence <= limit:
        found["divergence"] = f"the KL to the reference is {divergence:.3g} nats, above the limit {limit:g}"
    new = tuple(text for kind, text in found.items() if kind not in watch.active)
    return Watch(best, tuple(found)), new


def _inexact(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    if dtype is None:
        return isinstance(leaf, float | complex)
    return bool(jnp.issubdtype(dtype, jnp.inexact))


@jax.jit
def _finite_leaves(leaves: list[Any]) -> Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])
