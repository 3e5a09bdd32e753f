"""Hyper-parameters on language models: which of them an algorithm takes, and what they are by default."""

from __future__ import annotations

from typing import Any

from experiments.commands import Train
from nlhf import METHODS
from nlhf.base import Algorithm
from nlhf.errors import InputError
from nlhf.transformer.responses import Responses

# where no theorem gives a number these are ours, from the story models
DEFAULTS: dict[str, Any] = {
    "step_size": 1.0,
    "beta": 0.05,
    "mixture": 0.125,
    "period": 50,
    "num_inner": 2,
    "temperature": 0.1,
    "bias": 1.0,
    "preferred": 1.0,
    "regularisation": 0.1,
}


def hyper_parameters(command: Train, name: str) -> dict[str, Any]:
    """Return the numbers that an algorithm takes, the given ones before the defaults.

    Args:
      command: of the run.
      name: of the algorithm.

    Raises:
      InputError: if there is no such algorithm, it needs a table, it cannot learn from the labels of a data
        set where that is the judge, or it does not take a number given.
    """
    # widths of confidence intervals of every response exist on tables alone
    known = [each for each, method in METHODS.items() if "uncertainty" not in method.parameters]
    if name not in known:
        raise InputError(f"algorithm is {name!r}, but on language models there are {', '.join(known)}")
    offline = command.judge == "data"
    method = METHODS[name]
    if offline and not (method.learns and method.offline):
        reason = (
            "asks a judge about responses of its own"
            if not method.learns
            else "takes the second response of a pair for a draw of the reference"
        )
        learn = [each for each in known if METHODS[each].learns and METHODS[each].offline]
        raise InputError(
            f"--algorithm is {name}, which {reason}, but --judge data only reads labelled pairs; take one of "
            f"{', '.join(learn)}, or another judge"
        )
    takes = list(method.parameters)
    given = {key: getattr(command, key) for key in (*DEFAULTS, "optimism", "replay")}
    for key, value in given.items():
        if value is not None and key not in takes:
            option = key.replace("_", "-")
            raise InputError(f"--{option} is {value}, but {name} takes {', '.join(takes)}; leave it out")
    chosen = {key: value for key, value in given.items() if key in takes}
    for key in chosen:
        if chosen[key] is None and key in DEFAULTS:
            chosen[key] = DEFAULTS[key]
    if method.optimism is not None and chosen["optimism"] is None:
        size = method.optimism(chosen["beta"], command.steps * command.batch)
        chosen["optimism"] = -size if offline else size  # what is not in the data cannot be asked about
    if "replay" in takes and chosen["replay"] is None:
        chosen["replay"] = (1 if offline else 8) * command.batch
    return chosen


def build_algorithm(name: str, chosen: dict[str, Any], response: Responses) -> Algorithm:
    """Make an algorithm from its numbers.

    Args:
      name: of the algorithm.
      chosen: as ``hyper_parameters`` returns them.
      response: one response, for the shapes of what a learner remembers.
    """
    from nlhf.replay import buffer

    numbers = dict(chosen)
    if "replay" in numbers:
        numbers["replay"] = buffer(numbers["replay"], response=response)
    return METHODS[name].factory(**numbers)
