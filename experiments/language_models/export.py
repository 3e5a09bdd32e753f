"""``nlhf export``: the policy of a run as a Hugging Face folder, adapters merged in."""

from __future__ import annotations

import json
import pathlib
import tempfile

from experiments.commands import Export
from experiments.language_models.source import BASE, is_run, load_policy, read_run, tell
from nlhf.errors import InputError

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    GENERATION,
    "chat_template.jinja",
)


def main(command: Export) -> None:
    """Write the folder; it appears when it is whole.

    Raises:
      InputError: if the run has no policy, or the folder cannot be written or holds something.
    """
    from nlhf.transformer.weights.export import save_model

    policy, _ = load_policy(command.run, step=command.step, say=tell)
    beside = _first_model(command.run)
    copies = [beside / name for name in TOKENIZER_FILES if beside.is_dir() and (beside / name).is_file()]
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_model(
            command.folder,
            policy.params,
            policy.config,
            begin=policy.tokenizer.begin,
            end=policy.tokenizer.end,
            copies=[_ending_at(path, policy.tokenizer.end, pathlib.Path(scratch)) for path in copies],
        )
    names = ", ".join(path.name for path in sorted(folder.iterdir()))
    print(f"{folder}: {names}")
    if not copies:
        tell(f"no tokenizer was exported: that of this model ({policy.tokenizer.name}) is not a file")


def _first_model(run: pathlib.Path) -> pathlib.Path:
    """The model that a run, or the first of the runs that it continues, started from."""
    source: pathlib.Path = run
    while is_run(source):
        settings = read_run(source)["settings"]
        source = source / BASE if settings["model"] is None else pathlib.Path(settings["model"])
    return source


def _ending_at(path: pathlib.Path, end: int | None, scratch: pathlib.Path) -> pathlib.Path:
    """The file, or where it says that answers end at other tokens a copy that says what is true."""
    if path.name != GENERATION or end is None:
        return path
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        ends = settings.get("eos_token_id")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); fix or remove it") from None
    if end in (ends if isinstance(ends, list) else [ends]):
        return path
    copy = scratch / path.name
    copy.write_text(json.dumps({**settings, "eos_token_id": end}, indent=2) + "\n", encoding="utf-8")
    return copy
