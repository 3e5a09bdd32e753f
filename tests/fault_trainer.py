"""A small run to be killed: Adam on a regression whose data and noise come from typed keys.

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

from experiments.lock import BusyError, acquire


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

    from nlhf.transformer import checkpoint, metrics, stop

    return jax, optax, v1, checkpoint, metrics, stop


def train(options):
    import time
    from typing import Any, NamedTuple

    import jax
    import jax.numpy as jnp
    import optax

    from nlhf.transformer import checkpoint, digest
    from nlhf.transformer.metrics import Metrics
    from nlhf.transformer.stop import Stop, Watchdog

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
    store = checkpoint.open_store(
        options.folder / "checkpoints", keep=options.keep, config=config, free=["steps"]
    )
    with store, Stop() as stop, Watchdog():
        state = jax.jit(init)(jax.random.key(0))
        found = checkpoint.resume(store, state)
        step = 0
        if found is not None:
            step, state = found.step, found.state
            assert found.extra == {"position": step}
            for line in found.damaged:
                print(f"passed over {line}", flush=True)
        print(f"begins at {step}", flush=True)
        with Metrics(options.folder, None if found is None else step) as log:
            ending = step == options.steps
            while not ending:
                began = time.perf_counter()
                state, value = update(state)
                step += 1
                if step == options.poison:
                    weight = state.params["weight"].at[3, 5].set(jnp.nan)
                    state = state._replace(params={**state.params, "weight": weight})
                log.write(step, {"loss": value}, {"seconds": time.perf_counter() - began})
                ending = step == options.steps or stop.requested  # asked once, so that a stop is always saved
                if ending or step % options.save_every == 0:
                    checkpoint.save(store, step, state, extra={"position": step})
                time.sleep(options.sleep)
        checkpoint.wait(store)
        print(f"ends at {step}: {digest.total(digest.state_digests(digest.named_leaves(state)))}", flush=True)
    return stop.code


def run(words):
    options = arguments(words)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        acquire(options.folder)  # before anything heavy is imported, so that a second run is told at once
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
