"""What a judge is: features of each response, and a comparison of two responses by their features.

Some judges are JAX code (a table, a reward model), some are not (criteria of text, a service). Both are the
same record of pure functions; the second kind goes through ``host``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.tree_util import Partial

from nlhf.errors import InputError
from nlhf.transformer.responses import Responses

Array = jax.Array


class JudgeError(OSError):
    """A judge that does not answer: it raised, or was too slow, as often as it was asked."""


class Judge(NamedTuple):
    """Where preferences between responses come from. A pytree; its functions are ``Partial`` objects.

    Attributes:
      describe: ``describe(responses [N]) -> features``, a pytree of arrays ``[N, ...]``: what is computed
        once a response, however many others it is compared with.
      compare: ``compare(features [N], features [N]) -> [N]`` floats in [0, 1], the probability that the
        first response is preferred to the second.
      check: ``check(vocabulary, length, end)`` raises an ``InputError`` unless the judge can answer about
        all responses of ``length`` tokens that a model with that vocabulary may write before the token
        ``end``; ``None`` for a judge of any response. An oracle asks before a step is compiled.
    """

    describe: Callable[[Responses], Any]
    compare: Callable[[Any, Any], Array]
    check: Callable[[int, int, int | None], None] | None = None


def host(
    function: Callable[..., Any],
    result: jax.ShapeDtypeStruct,
    *arrays: Any,
    name: str = "the judge",
    everywhere: bool = True,
) -> Any:
    """Call code that is not JAX's: directly on concrete arrays, by ``jax.pure_callback`` under tracing.

    Prefer the first: an error then keeps its type, and several processes are served. There, an array that
    lies on the devices of several processes is gathered into each of them first.

    Args:
      function: numpy arrays in, one array-like out.
      result: shape and dtype of what it returns.
      name: how messages call it.
      everywhere: whether each process computes for itself (a deterministic function), or the first one for
        all (a service that costs, or whose answers vary).

    Returns:
      A numpy array on concrete arguments, a traced one under tracing.

    Raises:
      InputError: if the result has another shape or cannot be cast; under tracing in several processes.
    """
    checked = Partial(_call, function, result, name)
    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        if jax.process_count() > 1:
            raise InputError(
                f"{name} is host code in a compiled step of {jax.process_count()} processes, but a callback "
                "sees the arrays of one process only; call the judge outside jax.jit"
            )
        return jax.pure_callback(checked, result, *arrays, vmap_method="sequential")
    gathered = [_whole(array) for array in arrays]
    if everywhere or jax.process_count() == 1:
        return checked(*gathered)
    return _first_process(checked, result, name, gathered)


def _whole(array: Any) -> np.ndarray:
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))
    return np.asarray(array)


def _call(function: Callable[..., Any], result: jax.ShapeDtypeStruct, name: str, *arrays: Any) -> np.ndarray:
    answer = function(*(np.asarray(array) for array in arrays))
    try:
        array = np.asarray(answer).astype(result.dtype)
    except (TypeError, ValueError):
        raise InputError(f"{name} gives {str(answer)[:60]!r}, but it must give numbers") from None
    if array.shape != tuple(result.shape):
        raise InputError(
            f"{name} gives an array of shape {array.shape}, but {tuple(result.shape)} was asked for; "
            "give one row a response or pair, in order"
        )
    return array


def _first_process(
    function: Callable[..., np.ndarray], result: jax.ShapeDtypeStruct, name: str, arrays: list[np.ndarray]
) -> np.ndarray:
    """Let process 0 compute for all; where it fails every process stops, none waits for an answer."""
    failure: Exception | None = None
    answer = np.zeros(result.shape, result.dtype)
    if jax.process_index() == 0:
        try:
            answer = function(*arrays)
        except Exception as error:  # raised below, once the others know
            failure = error
    failed, answer = multihost_utils.broadcast_one_to_all((np.int32(failure is not None), answer))
    if failure is not None:
        raise failure
    if failed:
        raise JudgeError(f"{name} failed in process 0, which says why")
    return np.asarray(answer)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise an error of host code in a compiled step as what it was, not as the runtime's report of it.

    Raises:
      InputError: if that is what the host code raised.
      JudgeError: likewise.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        for kind in (InputError, JudgeError):
            found = re.search(rf"^(?:[\w.]*\.)?{kind.__name__}: (.*)$", str(error), re.MULTILINE)
            if found:
                raise kind(found[1]) from error
        raise


def check_preference(preference: Any, name: str = "the judge") -> Any:
    """Return ``preference`` if it holds probabilities, else raise; traced values pass, they have no value.

    Args:
      preference: ``[...]``, a probability a pair.
      name: how the message calls the judge.

    Raises:
      InputError: naming the first pair whose value is not finite or outside [0, 1].

    >>> check_preference(np.array([0.5, 1.5]), "service")
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: service gives 1.5 for pair 1, but a preference is a probability in [0, 1]; \
divide votes by their number
    """
    if isinstance(preference, jax.core.Tracer):
        return preference
    if isinstance(preference, jax.Array) and not preference.is_fully_addressable:
        return preference  # each process sees only a part; the training step's own guard sees the rest
    values = np.asarray(preference)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        where = np.argwhere(wrong)[0].tolist()
        pair = where[0] if len(where) == 1 else where
        raise InputError(
            f"{name} gives {values[wrong][0]:g} for pair {pair}, but a preference is a probability in "
            "[0, 1]; divide votes by their number"
        )
    return preference


def from_margin(margin: Array) -> Array:
    """Return ``(1 + margin) / 2`` such that opposite margins give probabilities that add up to exactly 1.

    Args:
      margin: ``[...]``, P(y ≻ y') - P(y' ≻ y), cut to [-1, 1].
    """
    lower = 0.5 - 0.5 * jnp.minimum(jnp.abs(margin), 1)
    return jnp.where(margin > 0, 1 - lower, lower)


def from_logit(logit: Array) -> Array:
    """Return ``σ(logit)`` such that opposite logits give probabilities that add up to exactly 1.

    Args:
      logit: ``[...]`` in nats.
    """
    lower = jax.nn.sigmoid(-jnp.abs(logit))
    return jnp.where(logit > 0, 1 - lower, lower)


def symmetric(judge: Judge) -> Judge:
    """Average over both orders: ``P(y, y') <- (P(y, y') + 1 - P(y', y)) / 2``.

    Then P(y, y') + P(y', y) = 1 and P(y, y) = 1/2 exactly, and a preference for whatever stands first is
    gone. It costs twice the comparisons.
    """
    return Judge(judge.describe, Partial(_symmetric, judge.compare))


def _symmetric(compare: Callable[[Any, Any], Array], first: Any, second: Any) -> Array:
    return from_margin(jnp.asarray(compare(first, second)) - jnp.asarray(compare(second, first)))


def duel_preference(judge: Judge, first: Responses, second: Responses) -> Array:
    """Return ``[N]``, the probability that each first response is preferred to the second beside it.

    Args:
      first: ``[N]`` responses.
      second: ``[N]``, to the same prompts.

    Raises:
      InputError: as ``check_preference``.
    """
    return jnp.asarray(check_preference(judge.compare(judge.describe(first), judge.describe(second))))


def preferences(judge: Judge, responses: Responses) -> Array:
    """Compare all responses to each prompt: ``[B, K, K]`` with entry ``[b, k, l]`` = P(y_k ≻ y_l).

    Each response is described once, each pair k < l asked for once; the other triangle is 1 - P and the
    diagonal 1/2, so P + P^T = 1 exactly, whatever the judge. For a judge that favours a position use
    ``symmetric`` first.

    Args:
      responses: ``[B, K]``.

    Raises:
      InputError: as ``check_preference``.
    """
    num_prompts, num = responses.tokens.shape[:2]
    rows, columns = np.triu_indices(num, 1)
    if not rows.size:
        return jnp.full((num_prompts, num, num), 0.5, jnp.float32)
    flat = jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *leaf.shape[2:])), responses)
    features = judge.describe(flat)

    def select(index: np.ndarray) -> Any:
        entries = (np.arange(num_prompts)[:, None] * num + index).reshape(-1)
        return jax.tree.map(lambda leaf: leaf[entries], features)

    upper = jnp.asarray(check_preference(judge.compare(select(rows), select(columns))))
    upper = upper.reshape(num_prompts, -1)
    table = jnp.full((num_prompts, num, num), 0.5, upper.dtype)
    return table.at[:, rows, columns].set(upper).at[:, columns, rows].set(1 - upper)
