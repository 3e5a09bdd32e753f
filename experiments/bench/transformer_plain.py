"""What flax costs: a training step of the model beside the same step over a plain dictionary."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.bench.transformer_peers import prompts
from nlhf.transformer.model import decoder
from nlhf.transformer.model.attention import apply_rotary, attend_prompt, prompt_context
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.load import load_model

Array = jax.Array


def hidden(params: Any, config: ModelConfig, tokens: Array) -> Array:
    """``decoder.hidden`` of a model without biases and norms of heads, without flax.

    Args:
      tokens: ``[B, T]`` ids.
    """
    context = prompt_context(config, tokens)

    def block(x: Array, layer: Any) -> tuple[Array, None]:
        normed = decoder.norm(x, layer["attention_norm"], config)
        heads = jnp.einsum("bsd,dhgw->bshgw", normed, layer["qkv"])
        query, key, value = heads[..., : config.group, :], heads[..., config.group, :], heads[..., -1, :]
        query, key = (
            apply_rotary(query, context.angles),
            apply_rotary(key[..., None, :], context.angles)[..., 0, :],
        )
        mixed, _ = attend_prompt(context, None, query, key, value)
        x = x + jnp.einsum("bshgw,hgwd->bsd", mixed, layer["out"])
        normed = decoder.norm(x, layer["mlp_norm"], config)
        both = jnp.einsum("bsd,dnf->bsnf", normed, layer["gate_up"])
        x = x + jnp.einsum("bsf,fd->bsd", jax.nn.silu(both[..., 0, :]) * both[..., 1, :], layer["down"])
        return x, None

    x, _ = jax.lax.scan(block, decoder.embed(params["embedding"], config, tokens), params["layers"])
    return decoder.norm(x, params["final_norm"], config)


def make_step(forward: Callable[..., Array], config: ModelConfig) -> Callable[..., Any]:
    """Return a jitted step of Adam on the likelihood of the next token.

    Args:
      forward: ``hidden`` of either kind.
    """
    optimiser = optax.adam(1e-4)

    def loss(params: Any, tokens: Array) -> Array:
        states = forward(params, config, tokens)[:, :-1]
        scores = jax.nn.log_softmax(decoder.logits(params, config, states), axis=-1)
        return -jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1).mean()

    @jax.jit
    def step(state: tuple[Any, Any], tokens: Array) -> tuple[tuple[Any, Any], Array]:
        params, moments = state
        value, grads = jax.value_and_grad(loss)(params, tokens)
        with jax.numpy_dtype_promotion("standard"):
            moves, moments = optimiser.update(grads, moments, params)
        return (optax.apply_updates(params, moves), moments), value

    return step


def compare(spec: dict[str, Any]) -> dict[str, float]:
    """Time both steps in turns; core seconds of either, and how far their losses are apart after the last.

    Core seconds, not those of the clock: the programs are nearly the same, and their difference is smaller
    than what other programs on the machine do to a clock.
    """
    params, config = load_model(spec["folder"])
    params = jax.tree.map(jnp.asarray, params)
    tokens = jnp.asarray(prompts(spec, size=spec["prompt"] + spec["response"]), jnp.int32)
    steps = {"flax": make_step(decoder.hidden, config), "plain": make_step(hidden, config)}
    start = (params, optax.adam(1e-4).init(params))
    states: dict[str, Any] = dict.fromkeys(steps, start)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    values = {}
    for turn_index in range(spec["repeats"] + 1):
        for name, step in steps.items():
            begun = time.process_time()
            states[name], values[name] = jax.block_until_ready(step(states[name], tokens))
            if turn_index:  # the first one compiles
                seconds[name].append(time.process_time() - begun)
    apart = abs(float(values["flax"]) - float(values["plain"]))
    return {name: float(np.min(times)) for name, times in seconds.items()} | {"apart": apart}
