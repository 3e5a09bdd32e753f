"""What an algorithm says of itself beside its factory, and how one is found by its name.

Every file of ``nlhf.algorithms`` ends with a ``Method``. The command line, the defaults, the tables of the
documents, the colours of the figures and the contract suite are made from these records. An algorithm of
anybody else gets the same by its place, ``MODULE:FUNCTION``, or as an entry point of the group
``nlhf.algorithms``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from nlhf.algorithms import ALGORITHM_NAMES, LEARNER_NAMES
from nlhf.base import Algorithm, as_algorithm
from nlhf.errors import InputError, unknown
from nlhf.replay import buffer

GROUP = "nlhf.algorithms"  # of entry points
SMALLEST, LARGEST = 1e-15, 1e15  # of beta and step size: beyond, sums and squares lose or overflow float64
CAPACITY = 1000  # comparisons that a learner remembers by default

_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _no_settings(beta: float, step_size: float | None) -> dict[str, Any]:
    return {}


def _no_caution(beta: float) -> str:
    return ""


class Method(NamedTuple):
    """An algorithm and what is known about it; only name and factory are needed.

    Attributes:
      name: as the command line takes it.
      factory: makes an ``Algorithm`` from arguments named as ours are (``step_size``, ``beta``, ...).
      label: name in legends and tables.
      colour: in every figure, ``#RRGGBB``; empty for one that the figure chooses.
      source: arXiv id of the method.
      queries: payoff vectors that one step asks for; of a learner, how it draws a pair and what it fits.
      step_size: ``step_size(beta)``, the default: the longest proved step, or ``None`` for a schedule of the
        algorithm's own.
      settings: ``settings(beta, step_size)``, defaults of the other arguments, by name.
      exact: likewise, where the claims are about inner games solved more exactly than by default.
      optimism: ``optimism(beta, total)``, the default weight of a bonus, for that many comparisons in all.
      zero: whether the defaults make sense at beta = 0.
      solves: the game whose equilibrium it converges to: ``"regularised"``, ``"unregularised"`` (whatever its
        beta) or ``"neither"``, for a limit known to be biased.
      caution: ``caution(beta)``, what a user of the last policy should be warned of; mostly empty.
      offline: whether a learner can learn from a data set's pairs, whoever drew them.
      claim: name of the ledger's row that the documents quote.
      promise: that row in short, or why there is none.
    """

    name: str
    factory: Callable[..., Algorithm]
    label: str = ""
    colour: str = ""
    source: str = "not said"
    queries: int | str = "not said"
    step_size: Callable[[float], float | None] | None = None
    settings: Callable[[float, Any], dict[str, Any]] = _no_settings
    exact: Callable[[float, Any], dict[str, Any]] = _no_settings
    optimism: Callable[[float, int], float] | None = None
    zero: bool = False
    solves: str = "regularised"
    caution: Callable[[float], str] = _no_caution
    offline: bool = True
    claim: str = ""
    promise: str = ""

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The factory's arguments by name."""
        return dict(inspect.signature(self.factory).parameters)

    @property
    def learns(self) -> bool:
        """Whether it learns from labelled comparisons, which it remembers; else it asks for payoffs."""
        return "replay" in self.parameters


def find(name: str, others: tuple[str, ...] = ()) -> Method:
    """Find an algorithm by its name or its place.

    Args:
      name: one of ``nlhf.ALGORITHMS`` or ``nlhf.LEARNERS`` (``-`` counts as ``_``), an entry point of the
        group ``nlhf.algorithms``, or ``MODULE:NAME``, looked for in the working directory too. There stands a
        ``Method``, or a factory: of ``(step_size, beta)``, of ``(beta)``, or of arguments named as ours are.
      others: more names that the caller takes, for the message about one that does not exist.

    Raises:
      InputError: if nothing is there, or it is no algorithm.

    >>> find("nash-md").source
    'arXiv:2312.00886'
    """
    known = (*ALGORITHM_NAMES, *LEARNER_NAMES)
    plain = name.replace("-", "_")
    if plain in known:
        return importlib.import_module(f"nlhf.algorithms.{plain}").METHOD
    if ":" in name:
        return _at(name)
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        message = unknown(name, (*others, *known, *points), "algorithm")
        raise InputError(f"{message}; your own is MODULE:FUNCTION")
    try:
        return _method(name, name, points[name].load())
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the entry point {name} cannot be loaded ({error}); install its package again"
        ) from None


def _at(place: str) -> Method:
    module_name, _, name = place.partition(":")
    if not module_name or not name.isidentifier():
        raise InputError(f"{place!r} is not MODULE:FUNCTION; give my_module:my_algorithm, say")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: what is installed must not be hidden by a file beside the user
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's file does while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.split(".")[0]:
            beside = tuple(path.stem for path in sorted(pathlib.Path(here).glob("*.py")))
            said = unknown(module_name, beside, "module here") if beside else f"there is no {module_name}.py"
            raise InputError(f"{place}: {said}; start where the file is, or set PYTHONPATH") from None
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{place}: {module_name} cannot be imported ({said}); fix that first") from None
    if not hasattr(module, name):
        found = tuple(key for key, value in vars(module).items() if callable(value) and key[0] != "_")
        raise InputError(f"{place}: {unknown(name, found, f'function of {module_name}')}")
    return _method(place, name, getattr(module, name))


def _method(place: str, name: str, found: Any) -> Method:
    if isinstance(found, Method):
        return found
    if isinstance(found, Algorithm) or not callable(found):
        raise InputError(
            f"{place} is a {type(found).__name__}, but it must be a function that makes an algorithm, such "
            "as my_algorithm(step_size, beta)"
        )
    return Method(name, found, label=name, zero=True)


def as_method(method: str | Method | Callable) -> Method:
    """Return a record as it is, and that of a name or of a factory."""
    if isinstance(method, str):
        return find(method)
    name = getattr(method, "__name__", type(method).__name__)
    return _method(name, name, method)


def arguments(method: Method, beta: float, step_size: float | None = None, **settings: Any) -> dict[str, Any]:
    """Return what a factory is called with: the given numbers before the defaults of its record.

    Args:
      beta: KL coefficient, 0 or in [1e-15, 1e15].
      step_size: replaces the default; in [1e-15, 1e15].
      **settings: replace the other defaults.

    Raises:
      InputError: if a number is out of range, or an argument has no default.
    """
    for name, value in {"beta": beta, "step_size": step_size}.items():
        if value is not None and not (SMALLEST <= value <= LARGEST or (name == "beta" and value == 0)):
            zero = "0 or " if name == "beta" else ""
            raise InputError(
                f"{name} is {value:g}, but it is {zero}in [{SMALLEST:g}, {LARGEST:g}]; give another {name}"
            )
    if beta == 0 and not method.zero:
        able = [each for each in map(find, ALGORITHM_NAMES) if each.zero]
        raise InputError(
            f"beta is 0, but {method.name} needs a game with beta > 0; raise beta, or take one of "
            f"{', '.join(each.name for each in able)}"
        )
    takes = method.parameters
    if step_size is None and "step_size" in takes:
        own = method.step_size
        step_size = _claimed_step(method, beta, settings) if own is None else own(beta)
    offered = {"step_size": step_size, "beta": beta, **method.settings(beta, step_size)}
    if method.learns:
        offered["replay"] = buffer(CAPACITY)
    if method.optimism is not None:
        offered["optimism"] = method.optimism(beta, CAPACITY)
    chosen = {key: value for key, value in offered.items() if key in takes} | settings
    needed = [key for key, each in takes.items() if each.default is each.empty and each.kind not in _OPEN]
    missing = [key for key in needed if key not in chosen]
    if missing:
        raise InputError(
            f"{method.name} needs {', '.join(missing)}, for which there is no default; give a value, or a "
            "default in its function"
        )
    return chosen


def _claimed_step(method: Method, beta: float, settings: dict[str, Any]) -> float:
    """The end of the range of the first claim about this game; the proved step of self-play without one."""
    safe = 4 * beta / (1 + 4 * beta**2) or 0.1
    made = make(method, arguments(method, beta, safe, **settings))
    for claim in made.claims:
        high = float(claim.step_size_range(beta)[1]) if claim.regularised == (beta > 0) else math.inf
        if 0 < high < LARGEST:
            return high
    return safe


def make(method: Method, chosen: dict[str, Any]) -> Algorithm:
    """Call the factory of a record.

    Args:
      chosen: arguments by name.

    Raises:
      InputError: if it does not take them, or returns something else than an algorithm.
    """
    try:
        made = method.factory(**chosen)
    except TypeError as error:
        given = ", ".join(chosen)
        raise InputError(
            f"{method.name}({given}) raises TypeError ({error}); give other arguments, or fix the function"
        ) from None
    if not hasattr(made, "step"):
        raise InputError(
            f"{method.name} returns a {type(made).__name__}, but it must return an Algorithm; end it with "
            "return nlhf.Algorithm(init, step)"
        )
    return as_algorithm(made)


def default(
    name: str | Method | Callable, beta: float, step_size: float | None = None, **settings: Any
) -> Algorithm:
    """Make an algorithm with step size and other hyper-parameters inside the range its claims cover.

    What a user would get wrong: ``mpo`` solves the unregularised game, and its ``beta`` is the weight of
    its magnet (0 takes 0.1). ``nash_md`` without a step size takes its theorem's decreasing schedule.

    Args:
      name: as in ``find``, a record, or a factory.
      beta: KL coefficient, 0 or in [1e-15, 1e15].
      step_size: replaces the default; in [1e-15, 1e15], in the algorithm's own form (explicit,
        composite or proximal).
      **settings: replace the other defaults, ``replay=buffer(10_000)`` of a learner, say.

    Raises:
      InputError: on an unknown name, a beta the algorithm has no default for, a number out of range, or more
        than a million inner steps or steps a period.

    >>> from nlhf.base import hyper
    >>> hyper(default("egpo", 0.5))
    {'step_size': 1.0, 'beta': 0.5}
    """
    method = as_method(name)
    return make(method, arguments(method, beta, step_size, **settings))
