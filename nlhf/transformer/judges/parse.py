"""Judges by name, as a command line says them: ``population:sentiment=2,dialogue`` or ``reward:runs/rm``."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nlhf.errors import InputError, unknown
from nlhf.transformer.judges.criteria import CRITERIA, Criterion

KINDS = {
    "population": "population:NAME[=WEIGHT],NAME... by votes of criteria of the text",
    "table": "table, the preferences of the enumerable language",
    "reward": "reward:FOLDER of a trained reward model",
    "pairwise": "pairwise:FOLDER of a trained pairwise model",
    "python": "python:MODULE:FUNCTION, a function that takes a list of (prompt, first, second) texts and "
    "returns for each the probability that first is better",
}


class Choice(NamedTuple):
    """A judge that was named.

    Attributes:
      kind: one of ``KINDS``.
      weights: of the criteria of a population, by name.
      place: folder of a reward or pairwise model, or ``module:function``; else empty.
    """

    kind: str
    weights: Mapping[str, float]
    place: str


def parse_judge(text: str, known: Mapping[str, Criterion] = CRITERIA) -> Choice:
    """Parse the name of a judge; nothing is loaded.

    Args:
      text: as ``KINDS`` shows.
      known: criteria by name.

    Raises:
      InputError: if it is none of ``KINDS``, a criterion is unknown or a weight no number >= 0.

    >>> parse_judge("population:sentiment=2,dialogue").weights
    {'sentiment': 2.0, 'dialogue': 1.0}
    """
    kind, _, rest = text.strip().partition(":")
    if kind not in KINDS:
        raise InputError(f"there is no judge {text!r}; the known ones are: {'; '.join(KINDS.values())}")
    if kind == "population":
        return Choice(kind, _weights(rest, known), "")
    if (kind == "table") != (not rest):
        raise InputError(f"the judge {text!r} cannot be read; give {KINDS[kind]}")
    return Choice(kind, {}, rest)


def _weights(text: str, known: Mapping[str, Criterion]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(",") if text else []:
        typed, given, number = part.strip().partition("=")
        name = typed.replace("-", "_")
        if name not in known:
            raise InputError(unknown(typed, tuple(known), "criterion"))
        if name in weights:
            raise InputError(f"the criterion {name} is named twice; give it once, with a weight")
        try:
            weights[name] = float(number) if given else 1.0
        except ValueError:
            weights[name] = -1.0
        if not 0 <= weights[name] < float("inf"):
            raise InputError(f"the weight of {name} is {number!r}, but it must be a number >= 0")
    if not any(weights.values()):
        raise InputError(
            f"the population {text!r} has no judge that counts; give criteria out of {', '.join(known)}"
        )
    return weights


def find_function(place: str) -> Callable[..., Any]:
    """Import a function by name. This runs the code of its module: name only what you trust.

    Args:
      place: ``module:function``, the module as an ``import`` statement has it.

    Raises:
      InputError: if there is no such module, it raises, or nothing callable of that name is in it.

    >>> find_function("math:sqrt")(9.0)
    3.0
    """
    module, _, name = place.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise InputError(f"the judge python:{place} cannot be read; give {KINDS['python']}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame[0]]
        where = f" at {lines[-1].filename}:{lines[-1].lineno}" if len(lines) > 1 else ""
        raise InputError(
            f"the module of the judge python:{place} cannot be imported ({type(error).__name__}: "
            f"{error}{where}); fix it, or start in the folder of {module.partition('.')[0]}"
        ) from None
    if not callable(found):
        raise InputError(f"the module {module} has no function {name}; give {KINDS['python']}")
    return found
