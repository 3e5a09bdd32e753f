"""A population of judges that vote, each by one criterion of the text: majorities can be intransitive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Static, check_number
from nlhf.errors import InputError, unknown
from nlhf.transformer.judges.criteria import CRITERIA, Criterion
from nlhf.transformer.judges.protocol import Judge, from_margin, host
from nlhf.transformer.judges.text import Decode, texts
from nlhf.transformer.responses import Responses

Array = jax.Array


def population(
    criteria: Sequence[str],
    decode: Decode,
    *,
    weights: Sequence[float] | None = None,
    tie_width: float = 0.0,
    sharpness: float | Sequence[float] | None = None,
    known: Mapping[str, Criterion] = CRITERIA,
) -> Judge:
    """Judge by the weighted votes of J criteria: ``P(y ≻ y') = Σ_j w_j v_j``.

    With d_j the difference of the scores of the two texts, the vote v_j is 1, 1/2 or 0 (d_j above, within or
    below ``tie_width``), or ``σ(sharpness_j d_j)`` where a sharpness is given. The prompt is not read.

    Args:
      criteria: J names of ``known``, each once.
      decode: ``decode(ids) -> str``, of the tokenizer of the responses.
      weights: ``[J]`` >= 0, not all 0, divided by their sum; ``None`` gives all the same.
      tie_width: >= 0, in units of the scores; for hard votes.
      sharpness: > 0, in nats a unit of the score, one number or J; ``None`` votes hard.
      known: criteria by name, each ``text -> finite number``.

    Raises:
      InputError: if a name is unknown or a number out of range; from ``describe``, if a criterion raises or
        its score is not finite.
    """
    names = tuple(criteria)
    if not names or len(set(names)) != len(names):
        raise InputError(f"the criteria are {list(names)}, but a population has at least one, each once")
    for name in names:
        if name not in known:
            raise InputError(unknown(name, tuple(known), "criterion"))
    share = check_weights(names, np.ones(len(names)) if weights is None else weights)
    settings = Static((names, tuple(known[name] for name in names), decode))
    describe = Partial(_describe, settings)
    if sharpness is None:
        check_number("tie_width", tie_width)
        return Judge(describe, Partial(_vote_hard, share, jnp.asarray(tie_width, share.dtype)))
    check_number("sharpness", sharpness, open_low=True)
    if np.shape(sharpness) not in ((), share.shape):
        raise InputError(f"sharpness has {np.size(sharpness)} numbers, but there are {len(names)} criteria")
    scale = jnp.broadcast_to(jnp.asarray(sharpness, share.dtype), share.shape)
    return Judge(describe, Partial(_vote_soft, share, scale))


def check_weights(names: Sequence[str], weights: Sequence[float] | np.ndarray) -> Array:
    """Return the weights of J judges divided by their sum, ``[J]`` float32.

    Args:
      weights: ``[J]`` >= 0, not all 0.

    Raises:
      InputError: if there are not J, one is negative or not finite, or all are 0.
    """
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights is {weights!r}, but they must be numbers >= 0, one a judge") from None
    if values.shape != (len(names),):
        raise InputError(f"there are {values.size} weights for {len(names)} judges; give one each")
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"the weight of {names[row]} is {values[row]:g}, but it must be a finite number >= 0; "
            "leave out a judge that should not count"
        )
    if not values.any():
        raise InputError("all weights of the judges are 0, but one at least must count; give weights > 0")
    return jnp.asarray(values / values.sum(), jnp.float32)


def _describe(settings: Static, responses: Responses) -> Array:
    num = responses.tokens.shape[0]
    result = jax.ShapeDtypeStruct((num, len(settings[0])), jnp.float32)
    return host(Partial(_scores, settings), result, responses.tokens, name="the population of judges")


def _scores(settings: Static, tokens: np.ndarray) -> np.ndarray:
    names, functions, decode = settings
    found = texts(decode, tokens)
    scores = np.zeros((len(found), len(names)))
    for column, (name, function) in enumerate(zip(names, functions, strict=True)):
        for row, text in enumerate(found):
            try:
                scores[row, column] = function(text)
            except InputError:
                raise
            except Exception as error:
                raise InputError(
                    f"criterion {name} raises {type(error).__name__} ({error}) for response {row}, "
                    f"{text[:40]!r}; it must score any text"
                ) from error
            if not np.isfinite(scores[row, column]):
                raise InputError(
                    f"criterion {name} gives {scores[row, column]:g} for response {row}, {text[:40]!r}, but "
                    "a score is a finite number; it must score any text"
                )
    return scores


def _vote_hard(weights: Array, tie_width: Array, first: Array, second: Array) -> Array:
    difference = jnp.asarray(first) - jnp.asarray(second)
    vote = jnp.where(jnp.abs(difference) > tie_width, jnp.sign(difference), 0)
    return _margin(weights, vote)


def _vote_soft(weights: Array, sharpness: Array, first: Array, second: Array) -> Array:
    difference = jnp.asarray(first) - jnp.asarray(second)
    return _margin(weights, jnp.tanh(0.5 * sharpness[None] * difference))


def _margin(weights: Array, vote: Array) -> Array:
    return from_margin(jnp.sum(weights[None] * vote, axis=-1))
