"""Votes of people between two answers to a prompt, read from four public data sets into one form.

Each reader takes the file as its authors publish it, or as a plain conversion of it: ``read_hanna`` an
``.npz`` with the ratings ``[prompt, system, rater, criterion]``, ``read_llmfao`` a CSV of votes,
``read_qa_feedback`` JSONL with four answers a question, ``read_hh`` JSONL of chosen and rejected dialogues.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nlhf.errors import InputError
from tabular.readers.arrays import load_npz, npz_keys
from tabular.readers.lines import existing_file, read_lines
from tabular.readers.table import shown, shown_path

Path = str | os.PathLike[str]

LLMFAO_COLUMNS = ("prompt", "left", "right", "worker", "winner")
LLMFAO_LABELS = {"left": 1.0, "tie": 0.5, "right": 0.0}
QA_LABELS = {1: 1.0, 0: 0.5, 2: 0.0}
RATINGS = (1, 5)


class Votes(NamedTuple):
    """Votes between two answers to the same prompt; a row is one vote.

    Attributes:
      prompt: ``[N]`` prompts, 0, 1, ...
      first: ``[N]`` answers, 0, 1, ...: systems that answer every prompt, or texts that belong to one.
      second: ``[N]`` likewise, another answer than ``first``.
      label: ``[N]`` 1.0 where the first was preferred, 0.0 the second, 0.5 neither.
      voter: ``[N]`` votes of one voter come from one opinion of each answer.
      unit: ``[N]`` votes of one unit (a person, or a prompt where nobody is named) are held out together.
      stratum: ``[N]`` the units of a stratum are dealt to the folds in equal numbers.
      cluster: ``[N]`` votes of one cluster are resampled together.
      answers: names of the answers, or their texts where ``questions`` is given.
      questions: one text a prompt, where answers are texts.
    """

    name: str
    prompt: np.ndarray
    first: np.ndarray
    second: np.ndarray
    label: np.ndarray
    voter: np.ndarray
    unit: np.ndarray
    stratum: np.ndarray
    cluster: np.ndarray
    answers: tuple[str, ...]
    questions: tuple[str, ...] | None = None

    @property
    def num_prompts(self) -> int:
        """X."""
        return int(self.prompt.max()) + 1

    @property
    def tie_share(self) -> float:
        """Share of the votes that prefer neither."""
        return float(np.mean(self.label == 0.5))


def read_hanna(path: Path, without: Sequence[str] = ()) -> Votes:
    """Read ratings of stories: every rater and criterion votes between every two systems of a prompt.

    The vote is the sign of the difference of the two ratings, a tie where they are equal. A rater is a place
    in the array, not a name: who filled it may differ from story to story.

    Args:
      path: ``.npz`` with ``systems`` and ``human``, integers in 1..5, ``[prompt, system, rater, criterion]``.
      without: systems to leave out.

    Returns:
      Votes in the order prompt, pair, rater, criterion. The voter is (prompt, rater, criterion), the
      unit (prompt, rater), stratum and cluster are the prompt.

    Raises:
      InputError: if the file is missing or broken, or an array is missing, of another shape or out of range.
    """
    file = existing_file(path)
    place = shown_path(file)
    missing = {"human", "systems"} - npz_keys(file)
    if missing:
        raise InputError(f"{place}: has no array {shown(min(missing))}; HANNA needs human and systems")
    ratings, systems = load_npz(file, "human"), load_npz(file, "systems")
    if ratings.ndim != 4 or ratings.dtype.kind not in "iu" or 0 in ratings.shape or ratings.shape[1] < 2:
        raise InputError(
            f"{place}: human has the shape {ratings.shape} and the type {ratings.dtype}; "
            "give integers [prompt, system, rater, criterion] of two systems or more"
        )
    if systems.shape != ratings.shape[1:2]:
        raise InputError(
            f"{place}: systems has the shape {systems.shape}, but human rates {ratings.shape[1]} systems; "
            "give one name a system"
        )
    outside = (ratings < RATINGS[0]) | (ratings > RATINGS[1])
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise InputError(
            f"{place}: human{list(where)} is {ratings[where]}, but a rating is in 1..5; "
            "leave out prompts with missing ratings"
        )
    names = tuple(str(name) for name in systems)
    unknown = [name for name in without if name not in names]
    if unknown:
        raise InputError(f"{place}: has no system {shown(unknown[0])}; it has {shown(list(names))}")
    kept = [index for index, name in enumerate(names) if name not in without]
    if len(kept) < 2:
        raise InputError(f"{place}: {len(kept)} systems are left, but a vote is between two; leave out fewer")
    ratings, names = ratings[:, kept], tuple(names[index] for index in kept)
    _, num_systems, num_raters, num_criteria = ratings.shape
    first, second = np.triu_indices(num_systems, 1)
    difference = ratings[:, first].astype(int) - ratings[:, second]  # [prompt, pair, rater, criterion]
    prompt, pair, rater, criterion = (axis.ravel() for axis in np.indices(difference.shape))
    label = (np.sign(difference).ravel() + 1) / 2
    unit = prompt * num_raters + rater
    voter = unit * num_criteria + criterion
    return Votes("HANNA", prompt, first[pair], second[pair], label, voter, unit, prompt, prompt, names)


def read_llmfao(path: Path) -> Votes:
    """Read votes of crowd workers between the answers of two language models.

    Args:
      path: CSV, may be gzipped, with the columns prompt, left, right, worker and winner (left, right or tie).

    Returns:
      Votes in the order of the file. Voter, unit and cluster are the worker.

    Raises:
      InputError: if the file is missing or broken, a column is missing, or a row has too few cells, the same
        model twice, or another winner.
    """
    file = existing_file(path)
    place = shown_path(file)
    with contextlib.closing(read_lines(file)) as lines:
        rows = list(_csv_rows(place, lines))
    prompt, left, right, worker, winner = zip(*rows, strict=True)
    models = tuple(sorted({*left, *right}))
    index = {model: i for i, model in enumerate(models)}
    people = _numbered(worker)
    return Votes(
        "llmfao",
        _numbered(prompt),
        np.array([index[model] for model in left]),
        np.array([index[model] for model in right]),
        np.array([LLMFAO_LABELS[word] for word in winner]),
        people,
        people,
        np.zeros(len(rows), int),
        people,
        models,
    )


def _csv_rows(place: str, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[str, ...]]:
    columns: list[int] | None = None
    for number, text in lines:
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise InputError(f"{place}:{number}: is no row of a CSV file ({error}); fetch it again") from None
        if columns is None:
            missing = [name for name in LLMFAO_COLUMNS if name not in cells]
            if missing:
                raise InputError(f"{place}: has no column {shown(missing[0])}; the header is {shown(text)}")
            columns, width = [cells.index(name) for name in LLMFAO_COLUMNS], len(cells)
            seen = False
            continue
        if len(cells) != width:
            raise InputError(
                f"{place}:{number}: has {len(cells)} cells, but the header {width}; correct the row"
            )
        row = tuple(cells[column] for column in columns)
        if row[4] not in LLMFAO_LABELS:
            raise InputError(f"{place}:{number}: the winner is {shown(row[4])}; write left, right or tie")
        if row[1] == row[2]:
            raise InputError(f"{place}:{number}: {shown(row[1])} stands on both sides; remove the row")
        seen = True
        yield row
    if not seen:
        raise InputError(f"{place}: holds a header, but no votes; was it written completely?")


def read_qa_feedback(path: Path) -> Votes:
    """Read comparisons of all six pairs among four answers to a question.

    Args:
      path: JSONL, may be gzipped; fields ``question``, ``responses`` (texts), ``pairs`` (index pairs) and
        ``winner`` (a number a pair: 1 the first, 2 the second, 0 no preference).

    Returns:
      Votes in the order of the file. Voter, unit and cluster are the question: the people are not named.

    Raises:
      InputError: if the file is missing or broken, or a line lacks a field or breaks a rule above.
    """

    def rows(record: dict[str, Any]) -> tuple[str, list[str], list[tuple[int, int, float]]]:
        responses, pairs, winner = record["responses"], record["pairs"], record["winner"]
        if not all(isinstance(text, str) for text in (record["question"], *responses)):
            raise ValueError("question and responses are texts")
        votes = []
        for (first, second), label in zip(pairs, winner, strict=True):
            if not (type(first) is type(second) is int and first != second):
                raise ValueError(f"the pair {[first, second]} is not two different numbers")
            if not 0 <= min(first, second) <= max(first, second) < len(responses):
                raise ValueError(f"the pair {[first, second]} names no response")
            if type(label) is not int or label not in QA_LABELS:
                raise ValueError(f"the winner {label!r} is not 0, 1 or 2")
            votes.append((first, second, QA_LABELS[label]))
        return record["question"], responses, votes

    return _read_texts("qa_feedback", path, rows)


def read_hh(path: Path) -> Votes:
    """Read pairs of dialogues that differ in the assistant's last reply, of which one was chosen.

    Args:
      path: JSONL, may be gzipped, with the fields ``chosen`` and ``rejected``: dialogues whose turns begin
        with "Human:" and "Assistant:" after a blank line.

    Returns:
      One vote a line, the chosen reply first (a model must not use the order). Voter, unit and cluster are
      the pair: the people are not named.

    Raises:
      InputError: if the file is missing or broken, or a line lacks a field or a reply.
    """
    turn = "\n\nAssistant:"

    def rows(record: dict[str, Any]) -> tuple[str, list[str], list[tuple[int, int, float]]]:
        dialogues = [record["chosen"], record["rejected"]]
        if not all(isinstance(text, str) and turn in text for text in dialogues):
            raise ValueError("chosen and rejected are dialogues with an assistant's turn")
        (question, chosen), (_, rejected) = (text.rsplit(turn, 1) for text in dialogues)
        return question, [chosen.strip(), rejected.strip()], [(0, 1, 1.0)]

    return _read_texts("HH harmless", path, rows)


Rows = Callable[[dict[str, Any]], tuple[str, list[str], list[tuple[int, int, float]]]]


def _read_texts(name: str, path: Path, rows: Rows) -> Votes:
    """Read JSONL whose lines are prompts with their own answers and votes."""
    file = existing_file(path)
    place = shown_path(file)
    questions: list[str] = []
    answers: list[str] = []
    votes: list[tuple[int, int, int, float]] = []
    with contextlib.closing(read_lines(file)) as lines:
        for number, text in lines:
            try:
                question, responses, found = rows(json.loads(text))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                word = (
                    f"no field {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
                )
                raise InputError(
                    f"{place}:{number}: is no record of {name} ({word}); correct the line"
                ) from None
            start = len(answers)
            votes += [
                (len(questions), start + first, start + second, label) for first, second, label in found
            ]
            questions.append(question)
            answers += responses
    if not votes:
        raise InputError(f"{place}: holds no votes; was it written completely?")
    prompt, first, second, label = (np.array(column) for column in zip(*votes, strict=True))
    none = np.zeros(len(votes), int)
    return Votes(
        name, prompt, first, second, label, prompt, prompt, none, prompt, tuple(answers), tuple(questions)
    )


def _numbered(words: Sequence[str]) -> np.ndarray:
    """Number words in the order in which they first occur."""
    number = dict(zip(dict.fromkeys(words), itertools.count(), strict=False))
    return np.array([number[word] for word in words])
