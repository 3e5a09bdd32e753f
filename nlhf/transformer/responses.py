"""Responses of a language model to prompts, as token ids in fixed shapes; -1 is no token."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.errors import InputError

Array = jax.Array
PAD = -1


class Responses(NamedTuple):
    """Responses with the prompts that they answer.

    The leading axes are ``[N]`` for a flat batch, or ``[B, K]`` for K responses to each of B prompts. Since
    -1 is never the id of a token, no masks travel along.

    Attributes:
      prompt: ``[..., P]`` int32, left-padded with -1; the last entry is always a token.
      tokens: ``[..., R]`` int32, right-padded with -1; the end of the sequence, where it was reached, is
        among them.
      log_prob: ``[...]`` log-probability under the policy that drew the response, 0 where none did.
    """

    prompt: Array
    tokens: Array
    log_prob: Array


def empty(prompt_length: int, size: int) -> Responses:
    """Return one response of P and R tokens, for the shapes of what a learner remembers."""
    return Responses(
        jnp.zeros(prompt_length, jnp.int32), jnp.zeros(size, jnp.int32), jnp.zeros((), jnp.float32)
    )


def flat(responses: Responses) -> Responses:
    """Merge all leading axes into one.

    Args:
      responses: with leading axes ``[...]``.
    """
    return Responses(
        responses.prompt.reshape(-1, responses.prompt.shape[-1]),
        responses.tokens.reshape(-1, responses.tokens.shape[-1]),
        responses.log_prob.reshape(-1),
    )


def pair(first: Responses, second: Responses) -> Responses:
    """Put two responses to the same prompts side by side, ``[N]`` and ``[N]`` to ``[N, 2]``.

    Args:
      first: ``[N]``.
      second: ``[N]``; its prompts are taken to be those of ``first``.
    """
    return jax.tree.map(lambda *sides: jnp.stack(sides, axis=1), first, second)


def length(responses: Responses) -> Array:
    """Number of tokens of each response, ``[...]``, its end included."""
    return (responses.tokens >= 0).sum(-1)


def readable(*arrays: Any) -> bool:
    """Return whether this process can read the arrays: none is traced or lies partly in another process."""
    return not any(
        isinstance(array, jax.core.Tracer) or not getattr(array, "is_fully_addressable", True)
        for array in arrays
    )


def check_prompts(prompts: Array, length: int, vocabulary: int, context: int) -> None:
    """Raise unless a model can continue these prompts.

    Args:
      prompts: ``[B, P]`` ids; unreadable ones pass unchecked, except for their shape.
      length: R, the most tokens of a response.
      vocabulary: V of the model.
      context: the most positions it was made for.

    Raises:
      InputError: as ``check_responses``, or if the prompts are no ``[B, P]``.
    """
    if np.ndim(prompts) != 2:
        raise InputError(
            f"prompt has the shape {np.shape(prompts)}, but it must be [B, P]; give a batch of ids"
        )
    none = np.full((np.shape(prompts)[0], length), PAD)
    check_responses(Responses(prompts, none, np.zeros(())), vocabulary, context)  # type: ignore[arg-type]


def check_responses(responses: Responses, vocabulary: int, context: int) -> Responses:
    """Return responses if a model can read them, else raise.

    Args:
      responses: ``[...]``; unreadable ones (traced, or of several processes) pass unchecked, except for
        their shapes.
      vocabulary: V of the model.
      context: the most positions it was made for.

    Raises:
      InputError: if ids are outside -1 to V - 1, a prompt has no last token, a response has padding inside,
        or prompt and response do not fit the context.
    """
    width, num = responses.prompt.shape[-1], responses.tokens.shape[-1]
    if width + num > context:
        raise InputError(
            f"prompts of {width} tokens and responses of {num} make {width + num}, but the model's context "
            f"is {context}; shorten either"
        )
    if not readable(*responses):
        return responses
    prompt, tokens = np.asarray(responses.prompt), np.asarray(responses.tokens)
    for name, ids in (("prompt", prompt), ("response", tokens)):
        wrong = (ids < PAD) | (ids >= vocabulary)
        if wrong.any():
            raise InputError(
                f"a {name} holds token id {ids[wrong][0]}, but the model has ids 0 to {vocabulary - 1}; "
                "use the tokenizer of the model"
            )
    if width == 0 or (prompt[..., -1] < 0).any() or (np.diff((prompt >= 0).astype(int), axis=-1) < 0).any():
        raise InputError("a prompt is empty or not left-padded; give one token (the beginning) at least")
    if (np.diff((tokens >= 0).astype(int), axis=-1) > 0).any():
        raise InputError("a response has padding before a token; pad responses on the right")
    return responses
