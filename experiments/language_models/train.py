"""``nlhf train``: check the settings, lock the folder, load, then resume from the newest checkpoint."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

from experiments.commands import Train
from experiments.language_models.source import ANSWERS, BASE, RUN, load_base, read_run, tree_digest
from experiments.output import records
from experiments.output.lock import LOCK, acquire, release
from experiments.output.result_folder import make_folder, remove_empty, write_files
from nlhf.errors import InputError

FREE = (
    "steps",
    "save_every",
    "keep",
    "tensorboard",
    "out",
    "mesh",
    "evaluate_every",
    "processes",
    "process",
    "coordinator",
)
COUNTS = (
    *("steps", "batch", "prompt_length", "response_length", "updates", "held_out", "evaluate_every"),
    *("save_every", "keep", "rows", "lora", "replay"),
)
JUDGE_TAKES_NONE = (  # options of the algorithms and their spaces
    *("updates", "rows", "step_size", "beta", "mixture", "optimism", "replay", "period", "num_inner"),
    *("temperature", "bias", "preferred", "regularisation", "lora"),
)
OURS = {RUN, LOCK, BASE, ANSWERS}


def main(command: Train) -> int:
    """Train, or go on training.

    Args:
      command: of the run.

    Returns:
      0, or 128 plus the number of the signal that stopped the run.

    Raises:
      InputError: if the settings or the data break a rule.
      BusyError: if another process works in the folder.
    """
    check(command)
    folder = (command.out or pathlib.Path("results/train")).absolute()
    made = make_folder(folder)
    if command.process:  # the folder is process 0's
        return _joined(command, folder)
    try:
        descriptor = acquire(folder)
        try:
            return _joined(command, folder)
        finally:
            release(folder, descriptor)
    finally:
        remove_empty(made)


def _joined(command: Train, folder: pathlib.Path) -> int:
    if command.processes == 1:
        return _train(command, folder)
    from nlhf.transformer.runs import distributed

    distributed.start(command.coordinator, command.processes, command.process)
    with distributed.together():
        return _train(command, folder)


def check(command: Train) -> None:
    """Refuse numbers out of range, before anything is loaded.

    Args:
      command: of the run.

    Raises:
      InputError: naming the option.
    """
    for name in COUNTS:
        _range(command, name, 1, whole=True)
    _range(command, "responses", 2, whole=True)
    _range(command, "processes", 1, whole=True)
    _range(command, "process", 0, command.processes - 1, whole=True)
    if command.processes > 1 and command.model is None:
        raise InputError("a preset is pretrained by one process; train it once, and give its base as --model")
    _range(command, "warmup", 0, whole=True)
    _range(command, "seed", 0, whole=True)
    for name in ("learning_rate", "clip"):
        _range(command, name, 0, open_low=True)
    _range(command, "skip_bad", 0, 1)
    if command.rows is not None and command.batch % command.rows:
        raise InputError(
            f"--rows is {command.rows}, but it must divide --batch, {command.batch}; give a divisor"
        )
    if command.mode != "preference":
        for name in ("algorithm", "judge"):
            if getattr(command, name) is not None:
                raise InputError(f"--{name} is given, but --mode {command.mode} takes none; leave it out")
    if command.mode in ("reward", "pairwise"):
        for name in JUDGE_TAKES_NONE:
            if getattr(command, name) != getattr(Train, name):
                option = name.replace("_", "-")
                raise InputError(
                    f"--{option} is {getattr(command, name)}, but a judge is trained whole, by one step of "
                    f"Adam a batch; leave --{option} out"
                )
    if command.soft_labels and (command.mode != "preference" or command.judge == "data"):
        raise InputError("--soft-labels is given, but the labels are those of the data; leave it out")


def _range(
    command: Train,
    name: str,
    low: float,
    high: float = float("inf"),
    *,
    whole: bool = False,
    open_low: bool = False,
) -> None:
    value = getattr(command, name)
    fine = value is None or (low <= value <= high and not (open_low and value == low))
    if not fine:
        kind = "a whole number" if whole else "a number"
        bound = f"> {low:g}" if open_low else f">= {low:g}"
        bound += "" if high == float("inf") else f" and <= {high:g}"
        raise InputError(f"--{name.replace('_', '-')} is {value}, but it must be {kind} {bound}")


def _train(command: Train, folder: pathlib.Path) -> int:
    # heavy imports after the lock: a second run on the folder is told at once
    import jax

    from experiments.language_models import settings as lm_settings
    from experiments.language_models import train_steps
    from experiments.language_models.train_data import load_data, needs_pairs
    from experiments.language_models.train_judge import DEFAULT, build_judge, find_judge
    from nlhf.transformer.judges.protocol import plain_errors
    from nlhf.transformer.model import sharding
    from nlhf.transformer.runs.loop import Messages, run_steps
    from nlhf.transformer.runs.restore import Best
    from nlhf.transformer.tokens.chat import ending

    name, chosen = None, {}
    if command.mode == "preference":
        command = dataclasses.replace(command, judge=command.judge or DEFAULT)
        name = command.algorithm or "egpo"
    elif command.mode == "sft":
        command = dataclasses.replace(command, judge="data")
        name = "behaviour_cloning"
    if name is not None:
        chosen = lm_settings.hyper_parameters(command, name)
        if not needs_pairs(command):
            assert command.judge is not None
            find_judge(command.judge)
    if command.preset is None and command.model is None:
        command = dataclasses.replace(command, preset="tiny")
    settings = records.encode(dataclasses.replace(command, out=folder))
    for each in ("model", "data"):
        place = getattr(command, each)
        settings[each] = None if place is None else str(place.absolute())
    settings |= {"algorithm": name, **chosen}
    if command.decay:
        settings["decay_steps"] = command.steps
    if command.process == 0:
        _check_folder(folder, settings)
    before = read_run(folder)["content"] if (folder / RUN).exists() else {}
    base = load_base(
        command.preset,
        command.model,
        folder,
        command.dtype,
        command.remat,
        command.seed,
        _say,
        step=before.get("model_step"),
    )
    base = base._replace(tokenizer=ending(command.template, base.tokenizer))
    mesh = sharding.parse_mesh(command.mesh or f"data={jax.device_count()}")
    sharding.check_mesh(mesh, base.config, command.batch)
    data = load_data(command, base, _say)
    parts = sharding.num_row_parts(mesh)
    for option in ("held_out", "rows"):  # rows that are not split would be computed by every part
        if (getattr(command, option) or 0) % parts:
            raise InputError(
                f"--{option.replace('_', '-')} is {getattr(command, option)}, but the mesh splits rows into "
                f"{parts} parts; give a multiple of {parts}"
            )
    placing = train_steps.Placing(
        lambda tree: sharding.place(tree, mesh),
        lambda rows: sharding.place_batch(rows, mesh),
        sharding.share(mesh),
    )
    now = {"model": base.digest, "model_step": base.step, "data": tree_digest(data), "judge": None}
    with jax.set_mesh(mesh), plain_errors():
        if name is None:
            run = train_steps.judge_run(command, base, data, placing)
        else:
            judge, traceable = None, True
            if not needs_pairs(command):
                assert command.judge is not None
                judge, traceable = build_judge(
                    command.judge, base, folder / ANSWERS if command.process == 0 else None
                )
                if traceable:
                    now["judge"] = tree_digest(judge)
            run = train_steps.preference_run(command, name, chosen, base, data, judge, traceable, placing)
        if command.process == 0:
            _check_content(folder, before, now)
            _write_settings(folder, settings, now)
        report = _Report(command, name)
        try:
            ended = run_steps(
                folder,
                run.state,
                run.step,
                num_steps=command.steps,
                config=settings,
                free=FREE,
                save_every=command.save_every,
                keep=command.keep,
                best=Best(*run.best),
                position=lambda made: made * command.batch,
                tensorboard=command.tensorboard,
                start=run.start,
                layout=" ".join(f"{axis}={size}" for axis, size in mesh.shape.items()),
                messages=Messages(report.line, report.step),
            )
        finally:
            report.close()
    if ended.code:
        _say(f"stopped at step {ended.step} of {command.steps} and saved; the same command resumes")
    elif ended.step > command.steps or not report.last:
        _say(f"{folder}: has made {ended.step} steps already; give --steps above {ended.step} to train on")
    else:
        _say(f"{folder}: step {ended.step} of {command.steps}; {report.last}")
    return ended.code


def _check_folder(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that is not this run's."""
    from nlhf.transformer.runs.digest import differences

    if (folder / RUN).exists():
        told = differences(read_run(folder)["settings"], settings, FREE)
        if told:
            raise InputError(
                f"{folder}: is a run with other settings ({'; '.join(told)[:400]}); give those, or another "
                "--out"
            )
        return
    # what a killed process was about to write is ours too
    ours = (f".{RUN}.tmp", f".{BASE}.")
    foreign = sorted(
        entry.name for entry in folder.iterdir() if entry.name not in OURS and not entry.name.startswith(ours)
    )
    if foreign:
        raise InputError(
            f"{folder}: holds {foreign[0]} but no {RUN}, so no run of nlhf train; choose another --out"
        )


def _check_content(folder: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume with other weights or rows behind the same paths."""
    names = {"model": "the weights of the base model", "data": "the rows", "judge": "the judge"}
    changed = [names[each] for each in names if before and before[each] != now[each]]
    if changed:
        raise InputError(
            f"{folder}: since this run began, {' and '.join(changed)} changed; put back what was there, or "
            "give another --out"
        )


def _write_settings(folder: pathlib.Path, settings: dict[str, Any], content: dict[str, Any]) -> None:
    """Say what run this is, once all that it needs could be read: a mistake in a command leaves no trace.

    A run that is resumed keeps its record but for the settings that may change; steps that were made stay.
    """
    from nlhf.transformer.runs.loop import CHECKPOINTS
    from nlhf.transformer.runs.restore import find_steps

    record: dict[str, Any] = {"kind": "train", "settings": settings, "content": content}
    if (folder / RUN).exists():
        before = read_run(folder)
        made = max(find_steps(folder / CHECKPOINTS), default=0)
        free = {name: settings[name] for name in FREE} | {"steps": max(made, settings["steps"])}
        record = {**before, "settings": {**before["settings"], **free}}
        if record == before:
            return
    write_files(folder, {RUN: (json.dumps(record, indent=2) + "\n").encode()})


class _Report:
    """A bar on a terminal, a line now and then in a log."""

    def __init__(self, command: Train, name: str | None) -> None:
        self.command, self.name, self.last = command, name, ""
        self.bar: Any = None
        self.began = time.monotonic()

    def line(self, text: str) -> None:
        """Say something worth a line."""
        if self.bar is not None:
            self.bar.clear()
        _say(text)

    def step(self, made: int, values: Any, seconds: float) -> None:
        """Show how far the run is."""
        c = self.command
        tokens = c.batch * c.response_length * num_responses(c, self.name, values) if made else 0
        shown = {key: f"{value:.3g}" for key, value in values.items() if key not in ("queries", "length")}
        if shown:
            self.last = ", ".join(f"{key} {value}" for key, value in shown.items())
        rate = f"{tokens / max(seconds, 1e-9):.3g} tokens/s" if made else "before training"
        if sys.stderr is None or not sys.stderr.isatty():
            if shown or made == c.steps:
                _say(f"step {made} of {c.steps}: {self.last} ({rate})")
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=c.steps, initial=made - 1, file=sys.stderr, dynamic_ncols=True, leave=False)
        self.bar.update(made - self.bar.n)
        self.bar.set_postfix_str(f"{self.last} | {rate}")

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.close()


def num_responses(command: Train, name: str | None, values: Any) -> int:
    """Return how many responses to a prompt a step draws, or reads where it learns from pairs.

    Args:
      command: of the run.
      name: of the algorithm; ``None`` trains a judge.
      values: that the step reported.
    """
    from nlhf import ALGORITHMS

    return command.responses * int(values["queries"]) if name in ALGORITHMS else 2


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"nlhf: {text}", file=sys.stderr, flush=True)
