"""The data of a training run as arrays: prompts or labelled pairs, a part of them held out."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments.commands import Train
from experiments.language_models.source import Base, Say
from nlhf.errors import InputError

NUM_STORIES = 512
STORY_SEED = 1_000_003  # other stories than those of the pretraining


class Data(NamedTuple):
    """Rows as arrays on the host.

    Attributes:
      train: prompts ``[N, P]``, or ``Comparisons`` ``[N]``.
      held_out: likewise.
    """

    train: Any
    held_out: Any


def load_data(command: Train, base: Base, say: Say) -> Data:
    """Read and encode the rows that a command names.

    Args:
      command: of the run.
      base: the model.
      say: is told what was left out.

    Raises:
      InputError: if rows break a rule, or there are too few.
    """
    import jax

    from nlhf.transformer.data.encode import encode_comparisons, encode_prompts
    from nlhf.transformer.data.order import permutation
    from nlhf.transformer.tokens.chat import find_template

    pairs = needs_pairs(command)
    room = base.config.context
    if command.prompt_length + command.response_length > room:
        raise InputError(
            f"--prompt-length {command.prompt_length} and --response-length {command.response_length} make "
            f"{command.prompt_length + command.response_length} tokens, but the model's context is {room}; "
            "shorten either"
        )
    source = _rows(command, pairs, base.tokenizer.name, say)
    template = find_template(command.template, base.tokenizer)
    if pairs:
        encoded = encode_comparisons(
            source,
            base.tokenizer,
            prompt_length=command.prompt_length,
            response_length=command.response_length,
            seed=command.seed,
            template=template,
            truncate=command.truncate,
            truncate_answers=command.truncate,
            skip_bad=command.skip_bad > 0,
        )
    else:
        encoded = encode_prompts(
            source,
            base.tokenizer,
            length=command.prompt_length,
            template=template,
            truncate=command.truncate,
            skip_bad=True,  # the file's own rules were applied to it; what is left out here is too long
        )
    num = len(encoded.rows)
    say(f"data: {encoded.report}" + (f"; {encoded.truncated} cut" if encoded.truncated else ""))
    if num < command.held_out + 1:
        raise InputError(
            f"there are {num} rows, but --held-out takes {command.held_out} and one must be left; take less"
        )
    order = permutation(command.seed, 0, num)
    parts = [order[command.held_out :], order[: command.held_out]]
    found = Data(
        *[jax.tree.map(lambda leaf, part=part: np.asarray(leaf)[part], encoded.data) for part in parts]
    )
    if common := num_common(found.held_out, found.train):
        say(
            f"warning: {common} of the {command.held_out} held-out prompts are trained on too; results on "
            "them may flatter"
        )
    return found


def prompts_of(data: Any) -> np.ndarray:
    """Return the prompts ``[N, P]`` of prompts or labelled pairs."""
    return np.asarray(data if isinstance(data, np.ndarray) else data.first.prompt)


def num_common(held_out: Any, train: Any) -> int:
    """Return how many rows of the first have a prompt that is in the second too, however padded."""
    ours, theirs = ([tuple(row[row >= 0].tolist()) for row in prompts_of(data)] for data in (held_out, train))
    known = set(theirs)
    return sum(row in known for row in ours)


def needs_pairs(command: Train) -> bool:
    """Say whether a run learns from labelled pairs instead of asking a judge about prompts."""
    return command.mode != "preference" or command.judge == "data"


def _rows(command: Train, pairs: bool, tokenizer: str, say: Say) -> Any:
    from nlhf.transformer.data.files import load
    from nlhf.transformer.data.rows import check_preference, check_prompt
    from nlhf.transformer.data.stories import story
    from nlhf.transformer.tokens.tokenizer import byte_tokenizer

    if command.data is None:
        if pairs:
            raise InputError(f"--mode {command.mode} learns from labelled pairs; give them with --data")
        if tokenizer != byte_tokenizer().name:
            raise InputError("a pretrained model is asked about prompts of its own; give them with --data")
        return [{"prompt": story(STORY_SEED + command.seed, index)[0]} for index in range(NUM_STORIES)]
    path = pathlib.Path(command.data)
    if path.is_dir():
        from nlhf.transformer.data.preference_pairs.preference_pairs_dataset_builder import open_built

        return open_built(path)
    check = check_preference if pairs else check_prompt
    rows, report = load(path, check, skip_bad=command.skip_bad)
    if report.kept < report.read or report.duplicate_ids or report.both_orders:
        say(f"{path}: {report}")
    return rows
