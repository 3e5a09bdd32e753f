"""``nlhf evaluate``: the policies of runs against each other and their reference, on held-out prompts."""

from __future__ import annotations

import dataclasses
import io as bytes_io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.commands import Evaluate
from experiments.language_models import win_rates
from experiments.language_models.source import Base, load_policy, read_run, tell
from experiments.language_models.win_rates import WinRates
from experiments.output import result_folder, text
from nlhf.base import check_whole
from nlhf.errors import InputError

REFERENCE_NAME = "reference"
HEAT_MAP = "win_rates.png"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured."""

    judge: str  # who was asked
    prompts: int  # how many, held out by the first run
    responses: int  # of each policy to each of them
    win_rates: WinRates  # of the policies, the reference first
    kl: dict[str, float]  # KL(policy ‖ reference) in nats a response, by the sampled log-ratio, by policy
    tokens: dict[str, float]  # mean length of a response, by policy
    trained_on: dict[str, int]  # how many of the prompts each run trained on, where that is not none


def main(command: Evaluate) -> None:
    """Load the policies, let them answer, and print who wins.

    Raises:
      InputError: if a number is out of range, a run cannot be read, or the runs have several references.
      BusyError: if another process writes the output folder.
    """
    names = check(command)
    if command.out is None:
        result = measure(command, names)
    else:
        with result_folder.claim(command.out) as run:
            config = dataclasses.replace(command, out=None, json=False, runs=())
            settings = dataclasses.asdict(config) | {"runs": [str(path.absolute()) for path in command.runs]}
            run.begin("evaluate", settings, (HEAT_MAP, "table.txt"))
            result = measure(command, names)
            _stage(run, result)
        tell(f"wrote {', '.join(sorted(run.written))} to {command.out}")
    if command.json:
        shown = dataclasses.asdict(result)
        print(json.dumps(shown.pop("win_rates") | shown, allow_nan=False))
    else:
        print(table(result), end="")


def check(command: Evaluate) -> list[str]:
    """Check what can be checked before a model is loaded.

    Returns:
      A name for each run.

    Raises:
      InputError: if a number is out of range, there is no run, or one is named twice.
    """
    for option, low in (("prompts", 1), ("responses", 1), ("resamples", 1), ("seed", 0)):
        check_whole(f"--{option}", getattr(command, option), low=low)
    if not command.runs:
        raise InputError("there is no run to evaluate; name the folder of a run of nlhf train")
    places = [path.resolve() for path in command.runs]
    for index, place in enumerate(places):
        read_run(command.runs[index])
        if place in places[:index]:
            raise InputError(f"{command.runs[index]}: is named twice; name each run once")
    return name_runs(places)


def name_runs(places: Sequence[pathlib.Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart, two folders at most, else numbers.

    Args:
      places: of the runs, all different.

    >>> name_runs([pathlib.Path("/a/egpo"), pathlib.Path("/a/dpo")])
    ['egpo', 'dpo']
    >>> name_runs([pathlib.Path("/a/0"), pathlib.Path("/b/0")])
    ['a/0', 'b/0']
    """
    for parts in (1, 2):
        names = [text.shorten("/".join(place.parts[-parts:])) for place in places]
        if len({*names, REFERENCE_NAME}) > len(places):
            return names
    return [f"run {index + 1}" for index in range(len(places))]


def measure(command: Evaluate, names: Sequence[str]) -> Result:
    """Draw responses of every policy to the held-out prompts of the first run, and compare them.

    Raises:
      InputError: if a run cannot be read, the runs have several references, or there is no judge.
    """
    import jax
    import jax.numpy as jnp

    from experiments.language_models.train_judge import build_judge
    from nlhf.transformer.model.sampler import sample
    from nlhf.transformer.policy import REFERENCE, LanguageModel, sequence_log_prob
    from nlhf.transformer.responses import length

    settings = read_run(command.runs[0])["settings"]
    asked = command.judge or settings["judge"]
    if asked in (None, "data"):
        raise InputError(
            f"{command.runs[0]}: learned from labels, so it has no judge; give one with --judge, such as "
            "population:sentiment,dialogue"
        )
    policies, base = _load(command.runs)
    judge, _ = build_judge(asked, base)
    prompts, trained_on = _prompts(command, names, base)
    model = LanguageModel(base.params, base.config)
    log_prob = jax.jit(sequence_log_prob)
    found, divergence, size = [], {}, {}
    for index, (name, params) in enumerate(
        zip((REFERENCE_NAME, *names), (base.params, *policies), strict=True)
    ):
        drawn = sample(
            jax.random.fold_in(jax.random.key(command.seed), index),
            ((params, 1.0),),
            base.config,
            jnp.asarray(prompts),
            num_responses=command.responses,
            length=settings["response_length"],
            end=base.tokenizer.end,
        )
        found.append(drawn)
        size[name] = float(np.asarray(length(drawn)).mean())
        if index:
            ratio = drawn.log_prob - log_prob(model, REFERENCE, drawn).astype(drawn.log_prob.dtype)
            divergence[name] = float(ratio.mean())
    rates = win_rates.prompt_win_rates(judge, found)
    summary = win_rates.summarise(
        (REFERENCE_NAME, *names), rates, num_resamples=command.resamples, seed=command.seed
    )
    return Result(asked, len(prompts), command.responses, summary, divergence, size, trained_on)


def _load(runs: Sequence[pathlib.Path]) -> tuple[list[Any], Base]:
    """Parameters of the policies, and the reference that they have in common."""
    import jax

    policies, base = [], None
    for run in runs:
        policy, reference = load_policy(run, say=tell)
        policies.append(policy.params)
        if base is None:
            base = reference
            continue
        same = reference.config == base.config and jax.tree.all(
            jax.tree.map(
                lambda one, other: np.array_equal(np.asarray(one), np.asarray(other)),
                reference.params,
                base.params,
            )
        )
        if not same:
            raise InputError(
                f"{run}: starts from other weights than {runs[0]}, so they have no reference in common; "
                "evaluate them one by one"
            )
    assert base is not None
    return policies, base


def _prompts(command: Evaluate, names: Sequence[str], base: Base) -> tuple[np.ndarray, dict[str, int]]:
    """Prompts ``[B, P]`` that the first run held out, and how many of them each other run trained on."""
    from experiments.language_models.sample import held_out_prompts
    from experiments.language_models.train_data import load_data, num_common, recorded

    held_out = held_out_prompts(command.runs[0], base)[: command.prompts]
    if len(held_out) < command.prompts:
        tell(f"the first run held out {len(held_out)} prompts, fewer than --prompts {command.prompts}")
    seen = {}
    for name, run in zip(names, command.runs, strict=True):
        data = load_data(recorded(read_run(run)["settings"]), base).train
        if common := num_common(held_out, data):
            seen[name] = common
            tell(f"{run} trained on {common} of the {len(held_out)} prompts: its win rates may flatter it")
    return held_out, seen


def table(result: Result) -> str:
    """Return the tables that are printed."""
    rows = [
        (name, f"{result.kl[name]:.2f}" if name in result.kl else "", f"{result.tokens[name]:.1f}")
        for name in result.win_rates.names
    ]
    lines = [
        f"judge: {result.judge}",
        f"{result.prompts} held-out prompts, {result.responses} responses of each policy; 95 % over prompts",
        "",
        win_rates.report(result.win_rates),
        "",
        text.table(["policy", "KL to reference", "tokens"], rows, "<>>"),
    ]
    lines += [f"{name} trained on {common} of the prompts" for name, common in result.trained_on.items()]
    return "\n".join(lines) + "\n"


def _stage(run: result_folder.Run, result: Result) -> None:
    import matplotlib

    from experiments.output.provenance import provenance
    from experiments.output.style import STYLE

    matplotlib.use("Agg")
    run.add_result(provenance(), result)
    run.add("table.txt", table(result))
    buffer = bytes_io.BytesIO()
    with matplotlib.rc_context(STYLE):
        win_rates.plot(result.win_rates).savefig(buffer, format="png", metadata={"Software": None})
    run.add(HEAT_MAP, buffer.getvalue())
