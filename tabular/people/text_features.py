"""Cheap features of answers: lengths, punctuation, and hashed word n-grams reduced by an SVD; no downloads.

The same text gives the same features everywhere: words are hashed by CRC-32, and the SVD starts from a fixed
vector. What depends on a sample (the weights of words, the SVD, the scale) is learned from the texts that
the caller names, so that held-out texts stay unseen.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from nlhf.errors import InputError

BUCKETS = 2**13
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
SURFACE = (
    "characters",
    "words",
    "word length",
    "punctuation",
    "digits",
    "capitals",
    "questions",
    "exclamations",
    "lines",
    "variety",
    "repeated sentences",
    "overlap with the prompt",
    "agreement with other answers",
)


class TextTable(NamedTuple):
    """Texts as numbers, before anything is learned.

    Attributes:
      surface: ``[A, S]`` one column a name in ``SURFACE``; logarithms of 1 + counts, and shares.
      words: ``[A, BUCKETS]`` sparse, 1 + log of how often a word or a pair of neighbours occurs.
    """

    surface: np.ndarray
    words: sparse.csr_matrix


def text_table(texts: Sequence[str], prompts: Sequence[str], prompt: np.ndarray) -> TextTable:
    """Count what stands in texts.

    Args:
      texts: A answers.
      prompts: X prompts.
      prompt: ``[A]`` the prompt of each answer, 0, 1, ..., X - 1.

    Raises:
      InputError: if there are no texts, or not one prompt each.

    >>> text_table(["Yes, yes!", "No."], ["Yes?"], np.array([0, 0])).surface.shape
    (2, 13)
    """
    fits = bool(texts) and prompt.shape == (len(texts),)
    if not fits or not 0 <= prompt.min() <= prompt.max() < len(prompts):
        raise InputError(
            f"{len(texts)} texts, {len(prompts)} prompts, {prompt.size} numbers of prompts; give one text or "
            "more, and each the number of its prompt"
        )
    spoken = [WORD.findall(text.lower()) for text in texts]
    asked = [set(WORD.findall(text.lower())) for text in prompts]
    beside = [np.flatnonzero(prompt == index) for index in range(len(prompts))]
    surface, rows, columns, values = [], [], [], []
    for row, words in enumerate(spoken):
        others = [set(spoken[other]) for other in beside[prompt[row]] if other != row]
        surface.append([*_surface(texts[row], words, asked[prompt[row]]), _agreement(set(words), others)])
        spans = (*words, *map(" ".join, itertools.pairwise(words)))
        grams = Counter(zlib.crc32(span.encode()) % BUCKETS for span in spans)
        rows += [row] * len(grams)
        columns += list(grams)
        values += [1 + np.log(count) for count in grams.values()]
    shape = (len(texts), BUCKETS)
    return TextTable(np.array(surface), sparse.csr_matrix((values, (rows, columns)), shape=shape))


def _agreement(words: set[str], others: list[set[str]]) -> float:
    """Mean share of common words with the prompt's other answers: what several say is more often true."""
    shares = [len(words & other) / max(len(words | other), 1) for other in others]
    return sum(shares) / max(len(shares), 1)


def _surface(text: str, words: list[str], prompt: set[str]) -> list[float]:
    length, number = max(len(text), 1), max(len(words), 1)

    def share(test: str) -> float:
        return sum(getattr(letter, test)() for letter in text) / length

    sentences = [part.strip() for part in re.split(r"[.!?]", text) if part.strip()]
    marks = sum(not (letter.isalnum() or letter.isspace()) for letter in text) / length
    return [
        np.log1p(len(text)),
        np.log1p(len(words)),
        sum(map(len, words)) / number,
        marks,
        share("isdigit"),
        share("isupper"),
        np.log1p(text.count("?")),
        np.log1p(text.count("!")),
        np.log1p(text.count("\n")),
        len(set(words)) / number,
        np.log1p(len(sentences) - len(set(sentences))),
        len(set(words) & prompt) / max(len(prompt), 1),
    ]


def text_features(table: TextTable, known: np.ndarray, num_topics: int) -> np.ndarray:
    """Turn a table of texts into features of mean 0 and variance 1, learned from known texts alone.

    Args:
      known: ``[A]`` booleans, the texts to learn from.
      num_topics: leading right singular vectors of the weighted word counts to project on, 1 or more.

    Returns:
      ``[A, S + num_topics]``.

    Raises:
      InputError: if there are not more known texts than topics.
    """
    if not 1 <= num_topics < known.sum():
        raise InputError(
            f"{num_topics} topics from {int(known.sum())} known texts; give more texts, or 1 topic or more"
        )
    seen = np.asarray((table.words[known] > 0).sum(0)).ravel()
    words = table.words @ sparse.diags_array(np.log((1 + known.sum()) / (1 + seen)))
    norm = np.sqrt(words.multiply(words).sum(1))
    words = sparse.csr_matrix(sparse.diags_array(1 / np.maximum(np.ravel(norm), 1e-12)) @ words)
    part = words[known]
    _, _, directions = svds(part, k=num_topics, v0=np.ones(min(part.shape)))
    features = np.hstack([table.surface, words @ directions[::-1].T])
    centre, scale = features[known].mean(0), features[known].std(0)
    return (features - centre) / np.where(scale > 1e-9, scale, 1.0)
