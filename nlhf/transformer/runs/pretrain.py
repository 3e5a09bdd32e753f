"""Next-token training on texts: what makes a base of a random model, by the same likelihood as all else."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlhf.base import check_whole
from nlhf.errors import InputError
from nlhf.policies import Trained
from nlhf.transformer.data.encode import pad_right
from nlhf.transformer.data.order import indices
from nlhf.transformer.descent import move
from nlhf.transformer.model import likelihood
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.responses import Responses, length
from nlhf.transformer.runs.log import METRICS, read_lines
from nlhf.transformer.runs.loop import Messages, run_steps
from nlhf.transformer.tokens.tokenizer import Tokenizer

Array = jax.Array


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, size: int) -> Responses:
    """Texts as responses ``[N]`` to the begin token, their end token included, cut after ``size`` tokens.

    Args:
      texts: at least one.
      tokenizer: with a begin and an end token.
      size: R.

    Raises:
      InputError: if there is no text, or the tokenizer has no begin or end.
    """
    if not texts or tokenizer.begin is None or tokenizer.end is None:
        raise InputError(
            f"there are {len(texts)} texts, and {tokenizer.name} begins with {tokenizer.begin} and ends with "
            f"{tokenizer.end}; give a text, and a tokenizer with both tokens"
        )
    ids = [[*tokenizer.encode(text), tokenizer.end][:size] for text in texts]
    prompt = jnp.full((len(ids), 1), tokenizer.begin, jnp.int32)
    return Responses(prompt, jnp.asarray(pad_right(ids, size)), jnp.zeros(len(ids)))


@functools.partial(jax.jit, static_argnames=("config", "optimiser"), donate_argnums=0)
def step(
    model: Trained, batch: Responses, config: ModelConfig, optimiser: optax.GradientTransformation
) -> tuple[Trained, Array]:
    """One step on ``-Σ log π(tokens) / Σ tokens`` over a batch; returns the model and that mean, in nats.

    Args:
      model: parameters and their optimiser's state; its memory is given away.
      batch: ``[B]``.
    """

    def loss(params: Any) -> Array:
        rows = jax.tree.map(lambda leaf: leaf[:, None], batch)
        total = likelihood.log_prob(params, config, rows).sum()
        return -total / length(batch).sum().astype(total.dtype)

    value, grads = jax.value_and_grad(loss)(model.parameters)
    return move(model, grads, optimiser), value


def pretrain(
    params: Any,
    config: ModelConfig,
    texts: Responses,
    *,
    num_steps: int,
    batch: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
    folder: pathlib.Path | None = None,
    messages: Messages | None = None,
) -> tuple[Any, np.ndarray]:
    """Train a model on texts, with Adam and a cosine schedule.

    Args:
      params: of the model; not changed.
      texts: ``[N]`` as ``encode_texts`` makes them.
      num_steps: >= 1.
      batch: texts a step.
      learning_rate: > 0, at its peak.
      folder: where checkpoints are kept, so that the same call resumes; ``None`` keeps nothing.
      messages: what hears how far it is.

    Returns:
      The parameters and the loss of each step, in nats a token.

    Raises:
      SystemExit: if a signal stopped a run that has a folder; it is saved.
    """
    num_steps = check_whole("num_steps", num_steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, num_steps // 10 + 1, num_steps + 1)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    params = jax.tree.map(jnp.array, params)

    def advance(index: int, model: Trained) -> tuple[Trained, dict[str, Array]]:
        rows = indices(seed, index * batch, len(texts.tokens), batch)
        model, value = step(model, jax.tree.map(lambda leaf: leaf[rows], texts), config, optimiser)
        return model, {"loss": value}

    ended = run_steps(
        folder,
        Trained(params, optimiser.init(params)),
        advance,
        num_steps=num_steps,
        config={
            "model": repr(config),
            "num_steps": num_steps,  # the schedule ends there
            "batch": batch,
            "learning_rate": learning_rate,
            "seed": seed,
        },
        keep=2,
        messages=messages,
    )
    if ended.code:
        raise SystemExit(ended.code)
    lines = ended.log if folder is None else read_lines(folder / METRICS)
    return ended.state.parameters, np.asarray([line["loss"] for line in lines])
