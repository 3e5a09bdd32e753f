"""``nlhf train``: check the settings, lock the folder, load, then resume from the newest checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.commands import Train
from experiments.language_models import run_folder
from experiments.language_models.report import Report
from experiments.language_models.source import ANSWERS, RUN, Base, load_base, read_run, tell, tree_digest
from experiments.output import records
from experiments.output.lock import acquire, release
from experiments.output.result_folder import make_folder, remove_empty
from nlhf.errors import InputError

if TYPE_CHECKING:
    from experiments.language_models.train_data import Data
    from nlhf.method import Method
    from nlhf.transformer.judges.protocol import Judge
    from nlhf.transformer.runs.loop import Ended
    from nlhf.transformer.runs.preference import Placement, TrainState

COUNTS = (
    *("steps", "batch", "prompt_length", "response_length", "updates", "held_out", "evaluate_every"),
    *("save_every", "keep", "rows", "lora", "replay"),
)
JUDGE_TAKES_NONE = (  # options of the algorithms and their spaces
    *("updates", "rows", "step_size", "beta", "mixture", "optimism", "replay", "period", "num_inner"),
    *("temperature", "bias", "preferred", "regularisation", "lora"),
)
BEFORE = 2**31 - 1  # the index of no step, for the draws of the evaluation before the first


def main(command: Train) -> int:
    """Train, or resume.

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


class Asked(NamedTuple):
    """What a command asks for, its defaults filled in."""

    command: Train  # of the run
    method: Method | None  # the algorithm; ``None`` trains a judge
    numbers: dict[str, Any]  # what the algorithm is made from
    settings: dict[str, Any]  # the record of the run


def _asked(command: Train, folder: pathlib.Path) -> Asked:
    """Look for all that is named, before anything slow."""
    from experiments.language_models import settings as lm_settings
    from experiments.language_models.train_data import recorded
    from experiments.language_models.train_judge import DEFAULT, find_judge

    method, name, numbers = None, None, {}
    if command.mode == "preference":
        name = command.algorithm or "egpo"
        command = dataclasses.replace(command, judge=command.judge or DEFAULT)
    elif command.mode == "sft":
        name = "behaviour_cloning"
        command = dataclasses.replace(command, judge="data")
    if name is not None:
        plan = lm_settings.Plan(command.steps, command.batch, command.judge == "data")
        method = lm_settings.find_method(name, plan)
        given = {each: getattr(command, each) for each in lm_settings.NUMBERS}
        numbers = lm_settings.hyper_parameters(method, plan, given)
        name = name if ":" in name else method.name
    if command.data is not None and not command.data.exists():
        raise InputError(f"{command.data}: no such file; give --data the path of your prompts or rows")
    if command.preset is None and command.model is None:
        command = dataclasses.replace(command, preset="tiny")
    settings = records.encode(dataclasses.replace(command, out=folder))
    for each in ("model", "data"):
        place = getattr(command, each)
        settings[each] = None if place is None else str(place.absolute())
    settings |= {"algorithm": name, **numbers}
    if command.decay:
        settings["decay_steps"] = command.steps
    if not recorded(settings).pairs:
        find_judge(settings["judge"])
    return Asked(command, method, numbers, settings)


def _train(command: Train, folder: pathlib.Path) -> int:
    # heavy imports after the lock: a second run on the folder ends at once
    import jax

    from experiments.language_models.train_data import load_data, recorded
    from nlhf.transformer.judges.protocol import plain_errors
    from nlhf.transformer.model import sharding
    from nlhf.transformer.runs.loop import Messages
    from nlhf.transformer.runs.preference import on_mesh
    from nlhf.transformer.tokens.chat import ending

    asked = _asked(command, folder)
    command, settings = asked.command, asked.settings
    if command.process == 0:
        run_folder.check_folder(folder, settings)
    before = read_run(folder)["content"] if (folder / RUN).exists() else {}
    base = load_base(
        command.preset,
        command.model,
        tell,
        folder=folder,
        seed=command.seed,
        step=before.get("model_step"),
    )
    base = base._replace(
        config=dataclasses.replace(base.config, dtype=command.dtype, remat=command.remat),
        tokenizer=ending(command.template, base.tokenizer),
    )
    mesh = sharding.parse_mesh(command.mesh or f"data={jax.device_count()}")
    sharding.check_mesh(mesh, base.config, command.batch)
    data = load_data(recorded(settings), base, tell)
    parts = sharding.num_row_parts(mesh)
    for option in ("held_out", "rows"):  # rows that are not split would be computed by every part
        if (getattr(command, option) or 0) % parts:
            raise InputError(
                f"--{option.replace('_', '-')} is {getattr(command, option)}, but the mesh splits rows into "
                f"{parts} parts; give a multiple of {parts}"
            )
    answers = folder / ANSWERS if command.process == 0 else None
    with jax.set_mesh(mesh), plain_errors():
        if asked.method is None:
            run, judge = _judge_run(command, base, data, on_mesh(mesh)), None
        else:
            run, judge = _policy_run(asked, base, data, on_mesh(mesh), answers)
        if command.process == 0:
            digests = {"data": tree_digest(data), "judge": None if judge is None else tree_digest(judge)}
            content = {"model": base.digest, "model_step": base.step, **digests}
            run_folder.check_content(folder, before, content)
            run_folder.write_settings(folder, settings, content)
        size = command.batch * command.response_length
        report = Report(
            command.steps,
            lambda values: size * num_responses(asked.method, command.responses, values),
            tell,
        )
        try:
            ended = run(
                folder=folder,
                num_steps=command.steps,
                config=settings,
                free=run_folder.FREE,
                save_every=command.save_every,
                keep=command.keep,
                position=lambda made: made * command.batch,
                tensorboard=command.tensorboard,
                layout=" ".join(f"{axis}={size}" for axis, size in mesh.shape.items()),
                messages=Messages(report.line, report.step),
            )
        finally:
            report.close()
    if ended.code:
        tell(f"stopped at step {ended.step} of {command.steps} and saved; the same command resumes")
    elif ended.step > command.steps or not report.last:
        tell(f"{folder}: has made {ended.step} steps already; give --steps above {ended.step} to train on")
    else:
        tell(f"{folder}: step {ended.step} of {command.steps}; {report.last}")
    return ended.code


def build_optimiser(command: Train, projections: int = 1) -> Any:
    """Make the optimiser of a run.

    Args:
      projections: of a step, each resuming from the optimiser state of the one before.
    """
    from experiments.language_models.settings import optimiser

    made = command.steps * command.updates * projections
    return optimiser(
        command.learning_rate, command.clip, warmup=command.warmup, total=made if command.decay else None
    )


def _policy_run(
    asked: Asked, base: Base, data: Data, placement: Placement, answers: pathlib.Path | None
) -> tuple[Callable[..., Ended], Judge | None]:
    """Return what trains a policy, and the judge where that is JAX code, whose weights belong to the run."""
    import jax

    from experiments.language_models.train_judge import build_judge
    from nlhf.method import make
    from nlhf.replay import buffer
    from nlhf.transformer.model.lora import lora
    from nlhf.transformer.policy import LanguageModel
    from nlhf.transformer.responses import empty
    from nlhf.transformer.runs import preference
    from nlhf.transformer.runs.restore import Best
    from nlhf.transformer.space import start, transformer_space

    c, numbers, end = asked.command, dict(asked.numbers), base.tokenizer.end
    optimiser = build_optimiser(c, numbers.get("num_inner", 1))
    model = LanguageModel(placement.state(base.params), base.config, None if c.lora is None else lora(c.lora))
    space = transformer_space(model, optimiser, num_updates=c.updates, rows=c.rows, fit_rows=c.batch, end=end)
    if "replay" in numbers:
        numbers["replay"] = buffer(numbers["replay"], response=empty(c.prompt_length, c.response_length))
    assert asked.method is not None
    start_key, run_key = jax.random.split(jax.random.key(c.seed))
    judge, traceable = None, True
    if isinstance(data.train, np.ndarray):
        assert c.judge is not None
        judge, traceable = build_judge(c.judge, base, answers)
        oracles = preference.prompt_oracles(
            model,
            judge,
            data.train,
            num_responses=c.responses,
            length=c.response_length,
            end=end,
            soft_labels=c.soft_labels,
            batch=c.batch,
            seed=c.seed,
            placement=placement,
        )
        best = Best("win_rate")
    else:
        oracles = preference.pair_oracles(data.train, batch=c.batch, seed=c.seed, placement=placement)
        best = Best("nll", largest=False) if c.mode == "sft" else Best("accuracy")

    def evaluate(made: int, policy: Any) -> Any:
        held_out = placement.local(data.held_out)
        if judge is None:
            return preference.score_pairs(space, policy, held_out)
        key = jax.random.fold_in(jax.random.key(c.seed + 1), made - 1 if made else BEFORE)
        return preference.compare_with_reference(
            key, model, space, judge, policy, held_out, size=c.response_length, end=end
        )

    run = functools.partial(
        preference.train,
        make(asked.method, numbers),
        space,
        start(model, optimiser, key=start_key),
        oracles,
        key=run_key,
        evaluate=evaluate,
        evaluate_every=c.evaluate_every,
        compiled=traceable,
        placement=placement,
        best=best,
    )
    return run, judge if traceable else None


def _judge_run(command: Train, base: Base, data: Data, placement: Placement) -> Callable[..., Ended]:
    """Return what trains a reward model or a pairwise model on labelled pairs."""
    import jax

    from nlhf.datasets import fixed_batch
    from nlhf.transformer.judges import pairwise_model, reward_model, training
    from nlhf.transformer.runs.loop import run_steps
    from nlhf.transformer.runs.preference import TrainState
    from nlhf.transformer.runs.restore import Best

    c = command
    maker = reward_model if c.mode == "reward" else pairwise_model
    optimiser = build_optimiser(c)
    loss = maker.loss(base.config)
    start_key, run_key = jax.random.split(jax.random.key(c.seed))
    first = training.start(maker.init(start_key, base.config, base.params), optimiser)

    def measure(state: TrainState) -> dict[str, Any]:
        judge = maker.judge(state.algorithm.parameters, base.config)
        return {"accuracy": training.agreement(judge, data.held_out)}

    def advance(index: int, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        rows, _ = placement.batch(data.train, c.seed, index, c.batch)
        key = jax.random.fold_in(state.key, index)
        trained, value = training.step(
            key, state.algorithm, fixed_batch(placement.rows(rows)), loss, optimiser
        )
        new = TrainState(trained, state.key)
        evaluated = (index + 1) % c.evaluate_every == 0 or index + 1 == c.steps
        return new, {"loss": value, **(measure(new) if evaluated else {})}

    return functools.partial(
        run_steps,
        state=placement.state(TrainState(first, run_key)),
        step=advance,
        start=measure,
        best=Best("accuracy"),
    )


def num_responses(method: Method | None, responses: int, values: Mapping[str, Any]) -> int:
    """Return how many responses to a prompt a step draws, or reads where it learns from pairs.

    Args:
      method: the algorithm; ``None`` trains a judge.
      responses: K of a payoff.
    """
    return 2 if method is None or method.learns else responses * int(values["queries"])
