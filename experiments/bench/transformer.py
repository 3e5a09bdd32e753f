"""``nlhf bench transformer``: sampling and training steps of language models, beside transformers and TRL.

Every case of every side is a process of its own, pinned to its cores. The processes of a case take turns,
one repetition each and the others idle; a row holds the fastest repetition of each side. The peers run in
another Python, which ``NLHF_PEERS`` names; without it our side runs alone.

Torch's threads wait for each other actively: where other programs use the cores, the peers slow down much
more than XLA does at two threads. ``busy`` is the share of the cores that others took: to be near 0.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from experiments.bench import transformer_peers
from experiments.bench.machine import busy_seconds
from experiments.bench.transformer_report import Config, Limits, Result, Row, Side, Start, report
from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig

__all__ = ["Config", "Result", "report", "run", "shrink"]

VARIABLE = "NLHF_PEERS"
SHAPES = {  # name: vocabulary, width, layers, heads, hidden
    "1M": (1000, 128, 2, 4, 344),
    "15M": (32000, 288, 6, 6, 768),
    "48M": (32000, 512, 10, 8, 1376),
}
MIXTURE = 0.125


def shape(name: str) -> ModelConfig:
    """Return the shape of a model: a Llama without grouped heads.

    Args:
      name: of ``SHAPES``.
    """
    vocabulary, width, layers, heads, hidden = SHAPES[name]
    return ModelConfig(
        vocabulary=vocabulary,
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        hidden=hidden,
        context=512,
    )


def shrink(config: Config) -> Config:
    """Return the quick version of the settings."""
    return dataclasses.replace(
        config,
        models=("1M",),
        threads=config.threads[-1:],
        cases=tuple(case for case in config.cases if case in ("sampler", "nash_md", "dpo")),
        our_dtypes=config.our_dtypes[:1],
        peer_dtypes=config.peer_dtypes[:1],
        prompt=min(config.prompt, 16),
        response=min(config.response, 16),
        repeats=min(config.repeats, 3),
        floor_seconds=min(config.floor_seconds, 0.3),
    )


class Worker:
    """A process that makes repetitions when asked, as ``transformer_peers`` describes."""

    def __init__(self, command: list[str], spec: dict[str, Any], log: pathlib.Path) -> None:
        root = str(pathlib.Path(__file__).parents[2])
        env = {**os.environ, "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
        env |= {"HF_HUB_OFFLINE": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
        if command[0] != sys.executable:
            del env["PYTHONPATH"]
        self.name, self.log = f"{spec['case']} of {command[-1]}", log
        self.started = time.perf_counter()
        with log.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                [*command, json.dumps(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
            )

    def heard(self) -> dict[str, Any]:
        """Wait for the next line.

        Raises:
          InputError: if the process has ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            raise InputError(f"{self.name} ended early and said: {last[:300]}; give it what it lacks")
        return json.loads(line)

    def ask(self, word: str) -> dict[str, Any]:
        """Send a word and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.heard()

    def end(self) -> None:
        """End the process if it has not ended."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def run(config: Config) -> Result:
    """Measure all sides in turns.

    Raises:
      InputError: if ``NLHF_PEERS`` is set to what does not run, or a process ends early.
    """
    config = shrink(config) if config.quick else config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    config = dataclasses.replace(config, threads=tuple(sorted({min(each, cores) for each in config.threads})))
    peer = os.environ.get(VARIABLE)
    if peer is not None and not pathlib.Path(peer).is_file():
        raise InputError(f"{VARIABLE} is {peer}, but no file is there; name a Python that has torch and trl")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        spawn = _spawner(config, folder, peer)
        versions = {} if peer is None else _single(spawn("peers", "versions", config.models[0], 1, "float32"))
        for index, name in enumerate(config.models):
            _save(index, name, folder)
        machine, rows = [], []
        for threads in config.threads:
            limits = _single(spawn("ours", "floor", config.models[0], threads, "float32"))
            machine.append(Limits(threads, **limits))
            for name in config.models:
                for case in config.cases:
                    rows.append(_row(config, spawn, name, case, threads, limits, peer is not None))
        starts = [_start(config, spawn, name, folder) for name in config.models]
        flax = _single(spawn("ours", "flax", config.models[0], config.threads[-1], "float32"))
    return Result(config, cores, versions, machine, rows, starts, flax)


Spawn = Callable[..., Worker]


def _spawner(config: Config, folder: pathlib.Path, peer: str | None) -> Spawn:
    commands = {
        "ours": [sys.executable, "-P", "-m", "experiments.bench.transformer_ours"],
        "peers": [peer or "", str(pathlib.Path(transformer_peers.__file__))],
    }

    def spawn(side: str, case: str, name: str, threads: int, dtype: str, **more: Any) -> Worker:
        spec = {
            "case": case,
            "folder": str(folder / name),
            "vocabulary": SHAPES[name][0],
            "threads": threads,
            "dtype": dtype,
            "batch": config.batch,
            "prompt": config.prompt,
            "response": config.response,
            "mixture": MIXTURE,
            "seconds": config.floor_seconds,
            "repeats": config.repeats,
            **more,
        }
        return Worker(commands[side], spec, folder / f"{side}-{dtype}.log")

    return spawn


def _save(index: int, name: str, folder: pathlib.Path) -> None:
    import jax

    from nlhf.transformer.model import decoder
    from nlhf.transformer.weights.export import save_model

    with jax.enable_x64(False):
        params = decoder.init(jax.random.key(index), shape(name))
    save_model(folder / name, params, shape(name), begin=1, end=2)


def _single(worker: Worker) -> dict[str, Any]:
    try:
        return worker.heard()["ready"]
    finally:
        worker.end()


def _row(
    config: Config,
    spawn: Spawn,
    name: str,
    case: str,
    threads: int,
    limits: dict[str, float],
    with_peers: bool,
) -> Row:
    from experiments.bench.transformer_floor import floor

    print(f"nlhf: {case}, {name}, threads {threads}", file=sys.stderr)
    workers = {("ours", dtype): spawn("ours", case, name, threads, dtype) for dtype in config.our_dtypes}
    if with_peers:
        workers |= {
            ("peers", dtype): spawn("peers", case, name, threads, dtype) for dtype in config.peer_dtypes
        }
    try:
        ready = {who: worker.heard()["ready"] for who, worker in workers.items()}
        seconds: dict[Any, list[float]] = {who: [] for who in workers}
        used, before, begun = 0.0, busy_seconds(), time.perf_counter()
        for _ in range(config.repeats):
            for who, worker in workers.items():
                seconds[who].append(worker.ask("go")["seconds"])
                used += seconds[who][-1]
        after, elapsed = busy_seconds(), time.perf_counter() - begun
        ends = {who: worker.ask("stop") for who, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.end()
    cores = os.cpu_count() or 1
    busy = None
    if before is not None and after is not None:
        # our workers are other processes too: what they used is taken off
        busy = max(0.0, after - before - used * threads) / (cores * elapsed)
    sides = [
        Side(who[0], who[1], min(times), sorted(times)[len(times) // 2], ends[who].get("peak"))
        for who, times in seconds.items()
    ]
    least = floor(case, shape(name), config.batch, config.prompt, config.response, **limits)
    agree = _agreement(
        [each["greedy"] for who, each in ready.items() if "greedy" in each and who[1] == "float32"]
    )
    recompiled = sum(each.get("compiled_again", 0) for each in ends.values())
    return Row(name, threads, case, sides, least, recompiled, agree, busy)


def _agreement(greedy: list[list[list[int]]]) -> float | None:
    """Share of rows whose first four likeliest tokens are the same on both sides."""
    if len(greedy) < 2:
        return None
    same = [one[:4] == other[:4] for one, other in zip(*greedy[:2], strict=True)]
    return sum(same) / len(same)


def _start(config: Config, spawn: Spawn, name: str, folder: pathlib.Path) -> Start:
    """Seconds from the start of a process to the end of its first step, with an empty and a full cache."""
    print(f"nlhf: start, {name}", file=sys.stderr)
    times = []
    for _ in range(2):
        cache = str(folder / f"cache-{name}")
        worker = spawn("ours", "nash_md", name, config.threads[-1], "float32", cache=cache)
        _single(worker)
        times.append(time.perf_counter() - worker.started)
    return Start(name, *times)
