"""The data of a training run as arrays: prompts or labelled pairs, a part of them held out."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.language_models.source import Base, Say
from nlhf.errors import InputError

NUM_STORIES = 512
STORY_SEED = 1_000_003  # other stories than those of the pretraining


class DataSettings(NamedTuple):
    """How the rows of a run are read; the fields are named as in its record."""

    data: str | None  # path of the rows; ``None`` takes generated stories
    mode: str  # as for ``nlhf train``
    # likewise; in any mode but ``preference``, and with the judge ``data``, rows are labelled pairs
    judge: str | None
    prompt_length: int  # tokens of a prompt at most
    response_length: int  # tokens of a response at most
    held_out: int  # rows kept for evaluation
    seed: int  # of the split
    template: str  # how a conversation becomes tokens
    truncate: bool  # whether what is too long is cut instead of left out
    skip_bad: float  # share of malformed rows that may be left out

    @property
    def pairs(self) -> bool:
        """Whether a run learns from labelled pairs instead of asking a judge about prompts."""
        return self.mode != "preference" or self.judge == "data"


def recorded(settings: Mapping[str, Any]) -> DataSettings:
    """Return how the rows are read from the settings of a run, as its record has them."""
    return DataSettings(*(settings[name] for name in DataSettings._fields))


class Data(NamedTuple):
    """Rows as arrays on the host."""

    train: Any  # prompts ``[N, P]``, or ``Comparisons`` ``[N]``
    held_out: Any  # likewise


def load_data(settings: DataSettings, base: Base, say: Say = lambda text: None) -> Data:
    """Read and encode the rows of a run.

    Args:
      settings: which rows.
      base: the model that reads them.
      say: reports what was left out.

    Raises:
      InputError: if rows break a rule, or there are too few.
    """
    import jax

    from nlhf.transformer.data.encode import encode_comparisons, encode_prompts
    from nlhf.transformer.data.order import permutation
    from nlhf.transformer.tokens.chat import find_template

    room, size = base.config.context, settings.prompt_length + settings.response_length
    if size > room:
        raise InputError(
            f"--prompt-length {settings.prompt_length} and --response-length {settings.response_length} make "
            f"{size} tokens, but the model's context is {room}; shorten either"
        )
    source = _rows(settings, base.tokenizer.name, say)
    template = find_template(settings.template, base.tokenizer)
    if settings.pairs:
        encoded = encode_comparisons(
            source,
            base.tokenizer,
            prompt_length=settings.prompt_length,
            response_length=settings.response_length,
            seed=settings.seed,
            template=template,
            truncate=settings.truncate,
            truncate_answers=settings.truncate,
            skip_bad=settings.skip_bad > 0,
        )
    else:
        encoded = encode_prompts(
            source,
            base.tokenizer,
            length=settings.prompt_length,
            template=template,
            truncate=settings.truncate,
            skip_bad=True,  # the file's own rules were applied to it; what is left out here is too long
        )
    num = len(encoded.rows)
    say(f"data: {encoded.report}" + (f"; {encoded.truncated} cut" if encoded.truncated else ""))
    if num < settings.held_out + 1:
        raise InputError(
            f"there are {num} rows, but --held-out takes {settings.held_out} and one must be left; take less"
        )
    order = permutation(settings.seed, 0, num)
    parts = [order[settings.held_out :], order[: settings.held_out]]
    found = Data(
        *[jax.tree.map(lambda leaf, part=part: np.asarray(leaf)[part], encoded.data) for part in parts]
    )
    if common := num_common(found.held_out, found.train):
        say(
            f"warning: {common} of the {settings.held_out} held-out prompts are trained on too; results on "
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


def _rows(settings: DataSettings, tokenizer: str, say: Say) -> Any:
    from nlhf.transformer.data.files import load
    from nlhf.transformer.data.rows import check_preference, check_prompt
    from nlhf.transformer.data.stories import story
    from nlhf.transformer.tokens.tokenizer import byte_tokenizer

    if settings.data is None:
        if settings.pairs:
            raise InputError(f"--mode {settings.mode} learns from labelled pairs; give them with --data")
        if tokenizer != byte_tokenizer().name:
            raise InputError("a pretrained model is asked about prompts of its own; give them with --data")
        return [{"prompt": story(STORY_SEED + settings.seed, index)[0]} for index in range(NUM_STORIES)]
    path = pathlib.Path(settings.data)
    if path.is_dir():
        from nlhf.transformer.data.preference_pairs.preference_pairs_dataset_builder import open_built

        return open_built(path)
    check = check_preference if settings.pairs else check_prompt
    rows, report = load(path, check, skip_bad=settings.skip_bad)
    if report.kept < report.read or report.duplicate_ids or report.both_orders:
        say(f"{path}: {report}")
    return rows
