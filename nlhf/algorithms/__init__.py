"""The algorithms, one file each; the lists below are the only place that names them all.

Those of ``ALGORITHMS`` ask the oracle for payoffs and solve games; those of ``LEARNERS`` ask it for labelled
comparisons, remember them, and fit their policy to them. Both map names to factories, and ``METHODS`` maps
all names to the records at the end of their files. A file is imported on first use, so that a command
line can read the names before JAX is loaded.
"""

import importlib
import sys
import types
from typing import Any

ALGORITHM_NAMES = (
    "online_mirror_descent",
    "nash_md",
    "nash_mirror_prox",
    "nash_prox",
    "egpo",
    "omwu",
    "mpo",
    "ipo_md",
)
LEARNER_NAMES = (
    "xpo",
    "vpo",
    "cpl",
    "dpo",
    "ipo",
    "slic",
    "rlhf",
    "behaviour_cloning",
    "kl_ucb",
    "xpo_previous",
)
_LISTS = {
    "ALGORITHMS": ALGORITHM_NAMES,
    "LEARNERS": LEARNER_NAMES,
    "METHODS": (*ALGORITHM_NAMES, *LEARNER_NAMES),
}
__all__ = [*_LISTS, *_LISTS["METHODS"]]


class _Package(types.ModuleType):
    """A package in which the name of a file is its factory, also after Python has bound the file to it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LISTS["METHODS"] and isinstance(value, types.ModuleType):
            value = vars(value)[name]
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Load a factory, or a whole list, on first use."""
    if name in _LISTS["METHODS"]:
        return importlib.import_module(f"{__name__}.{name}").METHOD.factory
    if name not in _LISTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    records = {each: importlib.import_module(f"{__name__}.{each}").METHOD for each in _LISTS[name]}
    made = records if name == "METHODS" else {each: record.factory for each, record in records.items()}
    globals()[name] = made
    return made


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
