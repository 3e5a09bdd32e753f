"""The folder of a run of ``nlhf train``: what it says of itself, and whether a command may work in it."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from experiments.language_models.source import ANSWERS, BASE, RUN, read_run
from experiments.output.lock import LOCK
from experiments.output.result_folder import write_files
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
OURS = {RUN, LOCK, BASE, ANSWERS}


def check_folder(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that is not this run's."""
    from nlhf.transformer.runs.digest import differences

    if (folder / RUN).exists():
        changed = differences(read_run(folder)["settings"], settings, FREE)
        if changed:
            raise InputError(
                f"{folder}: is a run with other settings ({'; '.join(changed)[:400]}); give those, or "
                "another --out"
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


def check_content(folder: pathlib.Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume with other weights or rows behind the same paths."""
    names = {"model": "the weights of the base model", "data": "the rows", "judge": "the judge"}
    changed = [names[each] for each in names if before and before[each] != now[each]]
    if changed:
        raise InputError(
            f"{folder}: since this run began, {' and '.join(changed)} changed; put back what was there, or "
            "give another --out"
        )


def write_settings(folder: pathlib.Path, settings: dict[str, Any], content: dict[str, Any]) -> None:
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
