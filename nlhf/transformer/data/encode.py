"""Rows of text to arrays of tokens in fixed shapes: prompts padded on the left, answers on the right.

The source of rows is anything with ``__len__`` and ``__getitem__``: a list, a data source of
tensorflow-datasets. Arrays are NumPy's, on the host; a batch of them goes to the devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nlhf.base import Comparisons, check_whole
from nlhf.errors import InputError
from nlhf.transformer.data.files import Report
from nlhf.transformer.data.order import permutation
from nlhf.transformer.data.rows import RowError, check_preference, check_prompt
from nlhf.transformer.responses import PAD, Responses
from nlhf.transformer.tokens.chat import Template, plain
from nlhf.transformer.tokens.tokenizer import Tokenizer


class Encoded(NamedTuple):
    """Rows as arrays.

    Attributes:
      data: ``[N, P]`` prompts, or ``Comparisons``.
      rows: ``[N]`` int64, which row of the source each is.
      report: rows that were dropped, by reason.
      truncated: rows of which something was cut off.
    """

    data: Any
    rows: np.ndarray
    report: Report
    truncated: int


def encode_prompts(
    source: Any,
    tokenizer: Tokenizer,
    *,
    length: int,
    template: Template = plain,
    truncate: bool = False,
    empty_prompt: bool = False,
    skip_bad: bool = False,
) -> Encoded:
    """Encode the prompts of a source.

    Args:
      source: rows as ``check_prompt`` takes them, with ``__len__`` and ``__getitem__``.
      length: P, the most tokens of a prompt; longer ones are dropped and counted.
      template: how a conversation becomes tokens.
      truncate: whether longer prompts are cut instead, on their left, the begin token kept.
      empty_prompt: whether a prompt may be empty; then the tokenizer needs a begin token.
      skip_bad: whether rows that break a rule are dropped and counted instead of refused.

    Returns:
      ``[N, P]`` int32 and what was dropped.

    Raises:
      InputError: naming the row and the rule, if one is bad; if none is left.
    """
    length = check_whole("length", length)
    collect = _Collect(source, skip_bad)
    prompts = []
    for index in range(len(source)):
        with collect.row(index):
            row = check_prompt(source[index], empty_prompt=empty_prompt)
            ids, cut = _fit_prompt(template(tokenizer, row["prompt"]), tokenizer, length, truncate)
            prompts.append(ids)
            collect.keep(index, cut)
    return collect.finish(pad_left(prompts, length))


def encode_comparisons(
    source: Any,
    tokenizer: Tokenizer,
    *,
    prompt_length: int,
    response_length: int,
    seed: int = 0,
    template: Template = plain,
    truncate: bool = False,
    truncate_answers: bool = False,
    empty_prompt: bool = False,
    skip_bad: bool = False,
) -> Encoded:
    """Encode preference rows as labelled pairs of responses, for learning offline.

    Chosen comes first in one half of the pairs, at random, and second in the other: labels that were all 1
    would let a fit run away.

    Args:
      source: rows as ``check_preference`` takes them, with ``__len__`` and ``__getitem__``.
      prompt_length: P, the most tokens of a prompt.
      response_length: R, the most tokens of an answer, its end token included. Rows with a longer prompt or
        answer are dropped and counted.
      seed: of the sides.
      template: how a conversation becomes tokens.
      truncate: whether longer prompts are cut instead, on their left, the begin token kept.
      truncate_answers: whether longer answers are cut instead, on their right; they have no end token then.
      empty_prompt: whether a prompt may be empty; then the tokenizer needs a begin token.
      skip_bad: whether rows that break a rule are dropped and counted instead of refused.

    Returns:
      ``Comparisons`` of ``Responses`` in ``[N, P]`` and ``[N, R]`` int32, ``context`` the row of the source,
      ``prefer_first`` p or 1 - p, all weights 1; and what was dropped.

    Raises:
      InputError: naming the row and the rule, if one is bad; if none is left.
    """
    prompt_length = check_whole("prompt_length", prompt_length)
    response_length = check_whole("response_length", response_length)
    collect = _Collect(source, skip_bad)
    prompts, answers, chances = [], [], []
    for index in range(len(source)):
        with collect.row(index):
            row = check_preference(source[index], empty_prompt=empty_prompt)
            prompt, cut = _fit_prompt(template(tokenizer, row["prompt"]), tokenizer, prompt_length, truncate)
            both = []
            for side in ("chosen", "rejected"):
                ids = template(tokenizer, row["prompt"], row[side])
                cut = cut or len(ids) > response_length
                if len(ids) > response_length and not truncate_answers:
                    raise RowError(
                        "an answer is too long",
                        f"{side} has {len(ids)} tokens of at most {response_length}",
                        "raise the length, or let answers be cut",
                    )
                both.append(ids[:response_length])
            prompts.append(prompt)
            answers.append(both)
            chances.append(row["p"])
            collect.keep(index, cut)
    num = len(prompts)
    swapped = permutation(seed, 0, num) < num // 2 if num else np.zeros(0, bool)
    chance = np.asarray(chances, np.float32)
    chosen, rejected = (pad_right([both[one] for both in answers], response_length) for one in (0, 1))
    columns: list[Any] = [  # arrays of NumPy, where a step on the devices would have those of JAX
        np.asarray(collect.rows, np.int32),
        np.where(swapped[:, None], rejected, chosen),
        np.where(swapped[:, None], chosen, rejected),
        np.where(swapped, 1 - chance, chance),
        np.ones(num, np.float32),
    ]
    shared: list[Any] = [pad_left(prompts, prompt_length), np.zeros(num, np.float32)]
    columns[1:3] = [Responses(shared[0], tokens, shared[1]) for tokens in columns[1:3]]
    return collect.finish(Comparisons(*columns))


def _fit_prompt(ids: list[int], tokenizer: Tokenizer, length: int, truncate: bool) -> tuple[list[int], bool]:
    """Return a prompt of 1 to ``length`` tokens, and whether something was cut off."""
    if not ids:
        raise RowError("prompt has no tokens", "the tokenizer has no begin token", "give a prompt")
    if len(ids) <= length:
        return ids, False
    if not truncate:
        raise RowError(
            "prompt is too long",
            f"{len(ids)} tokens of at most {length}",
            "raise the length, or let prompts be cut",
        )
    begin = ids[:1] if tokenizer.begin is not None and ids[0] == tokenizer.begin and length > 1 else []
    return begin + ids[len(ids) - length + len(begin) :], True


class _Collect:
    """Counts rows while they are encoded; as a context manager it files away the error of one row."""

    TOO_LONG = ("prompt is too long", "an answer is too long")

    def __init__(self, source: Any, skip_bad: bool) -> None:
        self.report, self.skip_bad, self.rows, self.truncated = Report(), skip_bad, list[int](), 0
        self.index, self.size = 0, len(source)

    def row(self, index: int) -> _Collect:
        self.index = index
        self.report.read += 1
        return self

    def keep(self, index: int, cut: bool) -> None:
        self.rows.append(index)
        self.report.kept += 1
        self.truncated += cut

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if not isinstance(error, InputError):
            return False
        reason = error.reason if isinstance(error, RowError) else "the tokenizer refuses the text"
        message = f"row {self.index}: {error}"
        if reason not in self.TOO_LONG and not self.skip_bad:
            raise InputError(message) from None
        self.report.refused[reason] += 1
        self.report.examples += [message] if len(self.report.examples) < 5 else []
        return True

    def finish(self, data: Any) -> Encoded:
        if not self.rows:
            why = f"the first: {self.report.examples[0]}" if self.report.examples else "there are none"
            raise InputError(f"0 of {self.size} rows can be used, but at least 1 is needed; {why}")
        return Encoded(data, np.asarray(self.rows, np.int64), self.report, self.truncated)


def pad_left(sequences: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Return ``[N, length]`` int32, every sequence at the right end of its row, -1 before it.

    Args:
      sequences: N lists of at most ``length`` ids.
      length: columns.

    >>> pad_left([[5], [6, 7]], 3).tolist()
    [[-1, -1, 5], [-1, 6, 7]]
    """
    result = np.full((len(sequences), length), PAD, np.int32)
    for row, ids in enumerate(sequences):
        result[row, length - len(ids) :] = ids
    return result


def pad_right(sequences: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """Return ``[N, length]`` int32, every sequence at the left end of its row, -1 behind it.

    Args:
      sequences: N lists of at most ``length`` ids.
      length: columns.
    """
    result = np.full((len(sequences), length), PAD, np.int32)
    for row, ids in enumerate(sequences):
        result[row, : len(ids)] = ids
    return result
