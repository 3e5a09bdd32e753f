"""Criteria of a text, each a plain function ``text -> number``; more is better, and no words score 0."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from nlhf import extras

Criterion = Callable[[str], float]
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+")
_QUOTATION_MARK = re.compile('["“”]')


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


@functools.cache
def _analyser() -> Any:
    return extras.load(
        "vaderSentiment.vaderSentiment", "the criterion sentiment"
    ).SentimentIntensityAnalyzer()


def sentiment(text: str) -> float:
    """Return VADER's compound score in [-1, 1], from a lexicon of rated words; 0 for no words.

    Raises:
      InputError: if the package vaderSentiment is not installed.
    """
    return float(_analyser().polarity_scores(text)["compound"])


def diversity(text: str) -> float:
    """Return the type/token ratio in [0, 1]: distinct words over words, in lower case; 0 for no words.

    >>> diversity("The cat saw the cat")
    0.6
    """
    words = _words(text)
    return len(set(words)) / len(words) if words else 0.0


def dialogue(text: str) -> float:
    """Return the share in [0, 1] of a text's characters that stand between quotation marks; 0 for no text.

    A quotation that is not closed goes to the end.

    >>> dialogue('She said: "Hello"')
    0.29411764705882354
    """
    quoted = _QUOTATION_MARK.split(text)[1::2]
    return sum(map(len, quoted)) / len(text) if text else 0.0


def short_sentences(text: str) -> float:
    """Return sentences over words in [0, 1], the inverse of the mean words a sentence; 0 for no words.

    A sentence is what ends at ``.``, ``!``, ``?`` or the end of the text and holds a word.

    >>> short_sentences("He ran. He saw a dog!")
    0.3333333333333333
    """
    words = _words(text)
    sentences = sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text))
    return sentences / len(words) if words else 0.0


def short_words(text: str) -> float:
    """Return words over their characters in [0, 1], the inverse of the mean word length; 0 for no words.

    >>> short_words("A red bus")
    0.42857142857142855
    """
    words = _words(text)
    return len(words) / sum(map(len, words)) if words else 0.0


CRITERIA: dict[str, Criterion] = {
    "sentiment": sentiment,
    "diversity": diversity,
    "dialogue": dialogue,
    "short_sentences": short_sentences,
    "short_words": short_words,
}
