"""Our side of ``nlhf bench transformer``: a process a case, which makes one repetition whenever it is asked.

Run as ``python -m experiments.bench.transformer_ours '{...}'``; what is timed is what ``nlhf train`` runs: a
jitted step of an algorithm file, with the oracle of this step's prompts as its argument.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.bench.transformer_peers import Pipe, peak_memory, pin, prompts

BETA, ETA = 0.1, 1.0


def main() -> None:
    """Do what the argument says."""
    begun = time.perf_counter()
    pipe, spec = Pipe(), json.loads(sys.argv[1])
    pin(spec["threads"])  # before JAX counts the cores
    import jax

    if spec.get("cache"):
        jax.config.update("jax_compilation_cache_dir", spec["cache"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if spec["case"] == "floor":
        from experiments.bench import transformer_floor

        pipe.say({"ready": transformer_floor.measure(spec["seconds"])})
        return
    if spec["case"] == "flax":
        from experiments.bench import transformer_plain

        pipe.say({"ready": transformer_plain.compare(spec)})
        return
    compiled = [0]

    def count(event: str, duration_secs: float, **_: Any) -> None:
        compiled[0] += event.endswith("backend_compile_duration")

    jax.monitoring.register_event_duration_secs_listener(count)
    repeat, facts = make_case(spec)
    repeat(0)
    once = compiled[0]
    pipe.say({"ready": {**facts, "first": time.perf_counter() - begun, "compiled": once}})
    index = 0
    while pipe.asked():
        index += 1
        start = time.perf_counter()
        repeat(index)
        pipe.say({"seconds": time.perf_counter() - start})
    pipe.say({"peak": peak_memory(), "compiled_again": compiled[0] - once})


def make_case(spec: dict[str, Any]) -> tuple[Callable[[int], None], dict[str, Any]]:
    """Return what makes repetition i, and facts about it."""
    import jax
    import jax.numpy as jnp

    from nlhf.transformer.model.sampler import sample
    from nlhf.transformer.weights.load import load_model

    params, config = load_model(spec["folder"], spec["dtype"])
    params = jax.tree.map(jnp.asarray, params)
    prompt = jnp.asarray(prompts(spec), jnp.int32)
    if spec["case"] != "sampler":
        return _training(spec, params, config, prompt), {}

    def draw(index: int) -> None:
        key = jax.random.key(index)
        jax.block_until_ready(sample(key, ((params, 1.0),), config, prompt, length=spec["response"]))

    greedy = sample(
        jax.random.key(0), ((params, 1.0),), config, prompt, length=spec["response"], temperature=0.0
    )
    return draw, {"greedy": greedy.tokens[:, 0].tolist()}


def _training(spec: dict[str, Any], params: Any, config: Any, prompt: Any) -> Callable[[int], None]:
    import jax
    import jax.numpy as jnp
    import optax
    from jax.tree_util import Partial

    from nlhf import dpo, nash_md, xpo
    from nlhf.base import Comparisons
    from nlhf.datasets import fixed_batch
    from nlhf.replay import buffer
    from nlhf.transformer import space as spaces
    from nlhf.transformer.judges.protocol import Judge
    from nlhf.transformer.oracle import Prompts, sampled_oracle
    from nlhf.transformer.policy import LanguageModel
    from nlhf.transformer.responses import Responses

    rows, size = prompt.shape[0], spec["response"]
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-5))
    model = LanguageModel(params, config)
    space = spaces.transformer_space(model, optimiser, fit_rows=rows, end=2)
    one = Responses(prompt[0], jnp.zeros(size, jnp.int32), jnp.zeros(()))
    algorithm = {
        "nash_md": lambda: nash_md(ETA, spec["mixture"] / ETA),
        "xpo": lambda: xpo(1e-5, BETA, buffer(rows, response=one)),
        "online_dpo": lambda: dpo(BETA, 0.0, buffer(rows, response=one)),
        "dpo": lambda: dpo(BETA, 0.0, buffer(rows, response=one)),
    }[spec["case"]]()
    judge = Judge(Partial(_describe), Partial(_compare))
    step = jax.jit(algorithm.step, donate_argnums=1)
    # copies: a fresh memory may hold one array twice, which cannot be given away twice
    held = [jax.tree.map(jnp.copy, algorithm.init(spaces.start(model, optimiser)))]
    ones, index_of = jnp.ones(rows, jnp.float32), jnp.arange(rows)
    # a completion of R - 1 ids and the end, as the other side has it
    first, second = (
        Responses(
            prompt, jnp.asarray([[*row[1:], 2] for row in prompts(spec, salt, size)], jnp.int32), 0 * ones
        )
        for salt in (1, 2)
    )

    def advance(index: int) -> None:
        if spec["case"] == "dpo":
            oracle = fixed_batch(Comparisons(index_of, first, second, ones, ones))
        else:
            oracle = sampled_oracle(
                model, judge, Prompts(prompt, index_of), num_responses=2, length=size, end=2
            )
        state, _ = step(jax.random.key(index), held[0], oracle, space)
        held[0] = jax.block_until_ready(state)

    return advance


def _describe(responses: Any) -> Any:
    import jax.numpy as jnp

    return (responses.tokens[:, -4:].sum(-1) % 101).astype(jnp.float32) / 101


def _compare(first: Any, second: Any) -> Any:
    import jax

    return jax.nn.sigmoid(first - second)


if __name__ == "__main__":
    main()
