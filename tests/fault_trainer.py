"""A small run to be killed: the loop of all runs, on Adam and a regression with noise from typed keys.

python tests/fault_trainer.py FOLDER [--steps 40] [--save-every 1] [--keep 3] [--size 700] [--poison STEP]
[--sleep SECONDS], or python tests/fault_trainer.py --serve to run one such line of standard input after the
other, each in a process of its own that need not import anything: a campaign of kills is ten times as fast.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from experiments.output.lock import BusyError, acquire


def arguments(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--save-every", type=int, default=1)
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--size", type=int, default=700)
    parser.add_argument("--poison", type=int, default=-1)
    parser.add_argument("--sleep", type=float, default=0.0)
    return parser.parse_args(words)


def load():
    """Import everything heavy."""
    import jax
    import optax
    from orbax.checkpoint import v1

    from nlhf.transformer.runs import loop

    return jax, optax, v1, loop


def train(options):
    import time
    from typing import Any, NamedTuple

    import jax
    import jax.numpy as jnp
    import optax

    from nlhf.transformer.runs import digest
    from nlhf.transformer.runs.loop import Messages, run_steps

    size = options.size
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))

    class State(NamedTuple):
        params: dict[str, Any]
        optimiser: Any
        key: jax.Array
        seen: jax.Array

    def init(key):
        params_key, key = jax.random.split(key)
        params = {
            "weight": jax.random.normal(params_key, (size, size), jnp.float32) * size**-0.5,
            "bias": jnp.zeros(size, jnp.bfloat16),
        }
        return State(params, optimiser.init(params), key, jnp.zeros((), jnp.int32))

    def loss(params, inputs, targets):
        outputs = jnp.tanh(inputs @ params["weight"]) + params["bias"].astype(jnp.float32)
        return jnp.mean((outputs - targets) ** 2)

    def update(state):
        next_key, data_key, noise_key = jax.random.split(state.key, 3)
        inputs = jax.random.normal(data_key, (4, size), jnp.float32)
        targets = jnp.roll(inputs, 1, axis=1) + 0.1 * jax.random.normal(noise_key, (4, size), jnp.float32)
        value, gradient = jax.value_and_grad(loss)(state.params, inputs, targets)
        updates, memory = optimiser.update(gradient, state.optimiser, state.params)
        return State(optax.apply_updates(state.params, updates), memory, next_key, state.seen + 4), value

    update = jax.jit(update, donate_argnums=0)
    config = {"size": size, "optimiser": {"rate": 1e-2}, "steps": options.steps, "seed": 0}

    begun = []

    def step(index, state):
        if not begun:  # through with resuming: whoever means to kill this may begin
            begun.append(index)
            print(f"begins at {index}", flush=True)
        state, value = update(state)
        if index + 1 == options.poison:
            weight = state.params["weight"].at[3, 5].set(jnp.nan)
            state = state._replace(params={**state.params, "weight": weight})
        return state, {"loss": value}

    ended = run_steps(
        options.folder,
        jax.jit(init)(jax.random.key(0)),
        step,
        num_steps=options.steps,
        config=config,
        free=["steps"],
        save_every=options.save_every,
        keep=options.keep,
        messages=Messages(
            lambda line: print(line, flush=True), lambda index, values, seconds: time.sleep(options.sleep)
        ),
    )
    total = digest.total(digest.state_digests(digest.named_leaves(ended.state)))
    print(f"ends at {ended.step}: {total}", flush=True)
    return ended.code


def run(words):
    options = arguments(words)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        acquire(options.folder)  # before anything heavy is imported, so that a second run is refused at once
    except BusyError as error:
        print(error, file=sys.stderr)
        return 3
    from nlhf.errors import InputError

    try:
        return train(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except ArithmeticError as error:
        print(error, file=sys.stderr)
        return 1


def serve():
    """Fork a process for each line of arguments; print its number, and later its exit status."""
    load()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            code = 70
            try:
                code = run(line.split())
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(f"process {child}", flush=True)
        print(f"status {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)


if __name__ == "__main__":
    sys.exit(serve() if sys.argv[1:] == ["--serve"] else run(sys.argv[1:]))
