"""Hyper-parameters on language models: which of them an algorithm takes, and what they are by default."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import optax

from nlhf import METHODS, find
from nlhf.errors import InputError
from nlhf.method import Method

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
NUMBERS = (*DEFAULTS, "optimism", "replay")


class Plan(NamedTuple):
    """What of a run its hyper-parameters depend on."""

    steps: int  # of the whole run
    batch: int  # comparisons a step
    offline: bool  # whether all comparisons come from a data set


def find_method(name: str, plan: Plan) -> Method:
    """Find an algorithm for language models by its name or place.

    Args:
      name: as ``nlhf.find`` takes it.

    Raises:
      InputError: if there is no such algorithm, it needs a table, or it cannot learn from a data set's labels
        where there is nothing else.
    """
    method = find(name)
    # widths of confidence intervals of every response exist on tables alone
    known = [each for each, other in METHODS.items() if "uncertainty" not in other.parameters]
    if "uncertainty" in method.parameters:
        raise InputError(f"algorithm is {name!r}, but on language models there are {', '.join(known)}")
    if plan.offline and not (method.learns and method.offline):
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
    return method


def hyper_parameters(method: Method, plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that an algorithm takes, the given ones before the defaults.

    Args:
      given: values of ``NUMBERS``; ``None`` or absent takes the default.

    Raises:
      InputError: if it does not take a number given, or needs one that has no default.
    """
    takes = method.parameters
    chosen: dict[str, Any]
    for key, value in given.items():
        if value is not None and key not in takes:
            option = key.replace("_", "-")
            raise InputError(
                f"--{option} is {value}, but {method.name} takes {', '.join(takes)}; leave it out"
            )
    ours = method in METHODS.values()
    chosen = {key: given.get(key) for key in NUMBERS if key in takes}
    for key in chosen:
        if chosen[key] is None and key in DEFAULTS and (ours or takes[key].default is takes[key].empty):
            chosen[key] = DEFAULTS[key]
    if method.optimism is not None and chosen["optimism"] is None:
        size = method.optimism(chosen["beta"], plan.steps * plan.batch)
        chosen["optimism"] = -size if plan.offline else size  # what is not in the data cannot be asked about
    if "replay" in chosen and chosen["replay"] is None:
        chosen["replay"] = (1 if plan.offline else 8) * plan.batch
    missing = [key for key, each in takes.items() if each.default is each.empty and chosen.get(key) is None]
    if missing:
        raise InputError(
            f"{method.name} needs {', '.join(missing)}, for which there is no default here; give it one in "
            "its function"
        )
    return {key: value for key, value in chosen.items() if value is not None}


@functools.cache  # jit knows an optimiser by its identity: equal settings are to compile once
def optimiser(
    peak: float, clip: float, *, warmup: int = 0, total: int | None = None
) -> optax.GradientTransformation:
    """Adam behind a clipped gradient.

    Args:
      peak: largest learning rate.
      clip: largest norm of a gradient.
      warmup: optimiser steps over which the learning rate rises.
      total: optimiser steps after which it has fallen to 0 by a cosine; ``None`` keeps it.
    """
    if total is not None:
        total = max(total, warmup + 1)
        schedule: Any = optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, total)
    else:
        schedule = optax.linear_schedule(0.0, peak, warmup) if warmup else peak
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule))
