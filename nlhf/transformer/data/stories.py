"""Little stories made by rule, so that a model can be trained and asked without a download."""

from __future__ import annotations

import numpy as np

NAMES = ("Anna", "Ben", "Clara", "Dan", "Ella", "Finn", "Grace", "Hugo", "Ida", "Jon")
THINGS = ("ball", "kite", "boat", "drum", "book", "hat", "cake", "stone", "bell", "lamp")
KINDS = ("red", "small", "old", "shiny", "soft", "broken", "heavy", "golden")
PLACES = ("garden", "park", "kitchen", "forest", "school", "market", "river", "attic")
GOOD = ("happy", "proud", "glad", "brave", "kind")
BAD = ("sad", "angry", "afraid", "lonely", "tired")
OPENINGS = (
    "{a} had a {kind} {thing}.",
    "One day {a} went to the {place}.",
    "{a} and {b} played in the {place}.",
    "{a} found a {kind} {thing} in the {place}.",
)
MIDDLES = (
    "{b} took the {thing}.",
    'Then {b} said, "Can I see the {thing}?"',
    '"Look at my {thing}!" said {a}.',
    "{a} was {bad}.",
    "{b} was {good}.",
    "The {thing} fell into the {place}.",
    "They ran and ran and ran.",
    "{a} gave the {thing} to {b}.",
    '"I like the {kind} {thing}," said {b}.',
)
ENDINGS = (
    "They were {good}.",
    "{a} went home and was {bad}.",
    "{a} loves {b}.",
    'They said, "What a {good} day!"',
    "It was a {bad} day.",
)


def _sentence(random: np.random.Generator, kinds: tuple[str, ...], cast: dict[str, str]) -> str:
    words = {
        "good": GOOD[random.integers(len(GOOD))],
        "bad": BAD[random.integers(len(BAD))],
        "place": PLACES[random.integers(len(PLACES))],
    }
    return kinds[random.integers(len(kinds))].format(**cast, **words)


def story(seed: int, index: int) -> tuple[str, str]:
    """Return the opening sentence of a story, and the rest of it.

    Args:
      seed: of all stories.
      index: which one, >= 0.

    >>> story(0, 1) == story(0, 1) != story(0, 2)
    True
    """
    random = np.random.default_rng((seed, index))
    first, second = random.choice(len(NAMES), 2, replace=False)
    cast = {
        "a": NAMES[first],
        "b": NAMES[second],
        "thing": THINGS[random.integers(len(THINGS))],
        "kind": KINDS[random.integers(len(KINDS))],
    }
    opening = _sentence(random, OPENINGS, cast)
    middle = [_sentence(random, MIDDLES, cast) for _ in range(random.integers(1, 4))]
    return opening, " ".join([*middle, _sentence(random, ENDINGS, cast)])
