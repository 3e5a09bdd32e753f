"""``nlhf export``: the policy of a run as a Hugging Face folder, adapters merged in."""

from __future__ import annotations

import pathlib
import sys

from experiments.commands import Export
from experiments.language_model import BASE, load_policy, read_run

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
)


def main(command: Export) -> None:
    """Write the folder; it appears when it is whole.

    Args:
      command: which run, and where to.

    Raises:
      InputError: if the run has no policy, or the folder cannot be written or holds something.
    """
    from nlhf.transformer.weights_export import save_model

    policy, _ = load_policy(command.run, step=command.step, say=_say)
    source = read_run(command.run)["settings"]["model"]
    beside = command.run / BASE if source is None else pathlib.Path(source)
    copies = [beside / name for name in TOKENIZER_FILES if beside.is_dir() and (beside / name).is_file()]
    folder = save_model(
        command.folder,
        policy.params,
        policy.config,
        begin=policy.tokenizer.begin,
        end=policy.tokenizer.end,
        copies=copies,
    )
    names = ", ".join(path.name for path in sorted(folder.iterdir()))
    print(f"{folder}: {names}")
    if not copies:
        _say(f"the tokenizer, {policy.tokenizer.name}, is no file of Hugging Face's; keep its own beside")


def _say(text: str) -> None:
    print(f"nlhf: {text}", file=sys.stderr)
