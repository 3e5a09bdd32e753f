"""A short run on meshes of forced processor devices, or on those of several processes.

python tests/sharded_trainer.py OUT.npz --mesh none --mesh data=2,fsdp=2,tensor=2 [--algorithm egpo]
[--steps 20] [--devices 8] [--process 0 --processes 2 --port 1234] [--save FOLDER] [--resume FOLDER] [--lora]
[--x64] [--quick]

OUT has, for each mesh, what every step drew, its log-probability, what the judge said, and all parameters.
A process of its own: several devices deadlock where a loop does not wait, and the abort takes pytest along.
"""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def arguments(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--mesh", action="append", default=[])
    parser.add_argument("--algorithm", default="egpo", choices=("egpo", "xpo"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--heartbeat", type=int, default=100)
    parser.add_argument("--save", type=pathlib.Path)
    parser.add_argument("--resume", type=pathlib.Path)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--x64", action="store_true")
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(words)


def main(words):
    options = arguments(words)
    import jax

    jax.config.update("jax_num_cpu_devices", options.devices)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", options.x64)
    jax.config.update("jax_disable_most_optimizations", options.quick)
    import numpy as np

    from nlhf.transformer.runs import distributed

    address = f"127.0.0.1:{options.port}"
    if options.processes > 1:
        distributed.start(address, options.processes, options.process, heartbeat=options.heartbeat)
    results = {}
    for text in options.mesh:
        with distributed.together():
            found = train(text, options)
        results |= {f"{text}/{name}": value for name, value in found.items()}
    np.savez(options.out, **results)
    print("ends", flush=True)


def train(text, options):
    import functools

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from jax.experimental import multihost_utils

    from nlhf import egpo, xpo
    from nlhf.base import Oracle
    from nlhf.replay import buffer
    from nlhf.transformer.data import order
    from nlhf.transformer.judges.lookup import table
    from nlhf.transformer.model import decoder, sharding
    from nlhf.transformer.model.config import ModelConfig
    from nlhf.transformer.model.lora import lora
    from nlhf.transformer.oracle import Prompts, sampled_oracle
    from nlhf.transformer.policy import LanguageModel
    from nlhf.transformer.responses import Responses
    from nlhf.transformer.runs import checkpoint
    from nlhf.transformer.space import start, transformer_space

    rows, width, length, vocabulary = 16, 3, 3, 8
    config = ModelConfig(
        vocabulary=vocabulary,
        width=16,
        layers=1 if options.quick else 2,
        heads=4,
        kv_heads=2,
        head_width=4,
        hidden=16,
        context=width + length,
        dtype="float64" if options.x64 else "float32",
    )
    if text == "none":
        mesh = None
    else:
        mesh = sharding.parse_mesh(text)
        sharding.check_mesh(mesh, config, rows)
    place = (
        functools.partial(jax.tree.map, jnp.copy)
        if mesh is None
        else functools.partial(sharding.place, mesh=mesh)
    )
    # steps as small as this keep the policy away from certainty, where Adam blows rounding errors up
    optimiser = optax.adam(3e-3)
    rng = np.random.default_rng(0)
    draws = rng.random((vocabulary**length,) * 2)
    judge = table(((draws + 1 - draws.T) / 2).astype(np.float32), vocabulary)
    data = rng.integers(0, vocabulary, (40, width)).astype(np.int32)
    base = jax.jit(decoder.init, static_argnums=1)(jax.random.key(0), config)
    # far from uniform, so that gradients are no rounding errors
    base["embedding"] = base["embedding"] * 10
    model = LanguageModel(place(base), config, lora(2) if options.lora else None)
    space = transformer_space(model, optimiser, num_updates=1 if options.quick else 2)
    if options.algorithm == "egpo":
        algorithm = egpo(step_size=1.0, beta=0.1)
    else:
        response = Responses(jnp.zeros(width, jnp.int32), jnp.zeros(length, jnp.int32), jnp.float32(0))
        algorithm = xpo(0.005, 0.1, buffer(4 * rows, response))

    def prompts(step):
        part, parts = (0, 1) if mesh is None else sharding.share(mesh)
        index = order.indices(0, step * rows, len(data), rows, process=part, num_processes=parts)
        batch = Prompts(data[index], index.astype(np.int32))
        return jax.tree.map(jnp.asarray, batch) if mesh is None else sharding.place_batch(batch, mesh)

    @functools.partial(jax.jit, donate_argnums=1)
    def step(key, state, prompts, judge, space):
        model, seen = space.project.args[1], []

        def watch(function, *arguments):
            answer = function(*arguments)
            seen.append(answer)
            return answer

        oracle = sampled_oracle(model, judge, prompts, num_responses=4, length=length)
        oracle = Oracle(functools.partial(watch, oracle.payoff), functools.partial(watch, oracle.duel))
        state, _ = algorithm.step(key, state, oracle, space)
        return sharding.keep(state), seen

    def whole(array):
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def record(seen, parameters):
        """What the oracle answered, and all parameters, as numpy."""
        answers = {}
        for number, answer in enumerate(seen):
            feedback = hasattr(answer, "responses")
            drawn = (answer.responses,) if feedback else (answer.first, answer.second)
            answers[f"tokens{number}"] = np.stack([whole(each.tokens) for each in drawn])
            answers[f"log_prob{number}"] = np.stack([whole(each.log_prob) for each in drawn])
            answers[f"preference{number}"] = whole(answer.preference if feedback else answer.prefer_first)
        answers["parameters"] = np.concatenate([whole(leaf).ravel() for leaf in jax.tree.leaves(parameters)])
        return answers

    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        policy = start(model, optimiser, jax.random.key(1))
        state = place(algorithm.init(policy))
        begin, folder = 0, options.resume or options.save
        with contextlib.ExitStack() as stack:
            if folder is not None:
                store = stack.enter_context(checkpoint.open_store(folder))
            if options.resume:
                found = checkpoint.resume(store, state)
                begin, state = found.step, found.state
            wanted = jax.tree.map(lambda leaf: leaf.sharding, state)
            print(f"begins at {begin}", flush=True)
            loaded = np.concatenate([whole(leaf).ravel() for leaf in jax.tree.leaves(state)])
            history = []
            for index in range(begin, begin + options.steps):
                batch = prompts(index)
                state, seen = step(jax.random.key(index), state, batch, judge, space)
                jax.block_until_ready(state)
                history.append(record(seen, state.policy.parameters))
                print(f"step {index + 1}", flush=True)
            assert all(np.isfinite(values).all() for values in history[-1].values())
            if mesh is not None:
                check_places(wanted, state, text)
            assert step._cache_size() == 1, f"{step._cache_size()} programs"
            if options.save:
                checkpoint.save(store, begin + options.steps, state)
    runs = {name: np.stack([each[name] for each in history]) for name in history[0]}
    return {**runs, "loaded": loaded}


def parts(text):
    return (part.split("=") for part in text.split(","))


def check_places(wanted, state, text):
    """Every leaf lies where it lay before the steps, and what should be split is."""
    import jax

    for (path, sharding), leaf in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(state), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim), (text, path, leaf.sharding)
    sizes = {"fsdp": 1, "tensor": 1} | {name: int(size) for name, size in parts(text)}
    for leaf in jax.tree.leaves(state.policy):
        if leaf.ndim > 3:  # matrices and their moments; an adapter's factors are split once only, or not
            shard = leaf.addressable_shards[0].data
            assert shard.size * sizes["fsdp"] * sizes["tensor"] == leaf.size, (text, leaf.shape, shard.shape)
    if hasattr(state, "memory"):
        tokens = state.memory.comparisons.first.tokens
        assert len(tokens) > len(tokens.addressable_shards[0].data), text


if __name__ == "__main__":
    main(sys.argv[1:])
