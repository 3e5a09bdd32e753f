"""Find and load the newest checkpoint that is intact, without changing anything on disk.

Whether it is intact, our digests say: Orbax loads flipped bits without a message, casts dtypes silently, and
wraps every failure in one error that names no reason.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import pathlib
import sys
import time
import traceback
import warnings
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.runs import digest
from nlhf.transformer.runs.digest import DamagedError

STEPS, DIGESTS = "steps", "digests"


class Quiet(logging.Filter):
    """Within ``with``: keeps the stack traces that Orbax prints from its threads and tasks off stderr.

    A full disk made it print 2000 lines. Nothing is lost: the same errors are raised to us.
    """

    def __enter__(self) -> Quiet:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(self)
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).removeFilter(self)
        if sys.unraisablehook == self._unraisable:
            sys.unraisablehook = self._hook

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is logged."""
        of_orbax = "orbax" in record.pathname or "orbax" in record.getMessage()
        return record.levelno < logging.ERROR or not of_orbax

    def _unraisable(self, found: Any) -> None:
        frames = traceback.extract_tb(found.exc_traceback)
        of_orbax = any("orbax" in frame.filename for frame in frames)
        if not of_orbax and "Event loop is closed" not in str(found.exc_value):
            self._hook(found)


class Best(NamedTuple):
    """Which checkpoints are kept besides the newest.

    Attributes:
      metric: name among the metrics given to ``save``; steps without it, or where it is NaN, are never best.
      largest: whether large values are good.
      number: how many are kept, >= 1.
    """

    metric: str
    largest: bool = True
    number: int = 1


class Resumed(NamedTuple):
    """What was loaded.

    Attributes:
      step: the step that was loaded.
      state: a tree like the template.
      extra: what was saved with it.
      damaged: one line for each newer step that was passed over.
    """

    step: int
    state: Any
    extra: dict[str, Any]
    damaged: tuple[str, ...]


def read(
    folder: str | os.PathLike[str], template: Any, *, step: int | None = None, partial: bool = False
) -> Resumed:
    """Load a checkpoint without touching the store, which another process may be writing.

    Args:
      template: as in ``resume``.
      step: which one; None is the newest that is intact.
      partial: whether the template may be a part of the state, by the paths of its leaves.

    Raises:
      InputError: if there is none that is intact, or it has other shapes.
    """
    path = pathlib.Path(folder).absolute()
    found = newest(path, template, only=step, partial=partial)
    if found is None:
        what = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise InputError(f"{path}: has {what}; train first, or name another run")
    return found


def best_steps(best: Best | None, scores: Mapping[int, float | None]) -> list[int]:
    """Return the steps with the best scores, best first; of equals the newest first."""
    if best is None:
        return []
    known = [(value if best.largest else -value, step) for step, value in scores.items() if value is not None]
    return [step for _, step in sorted(known, reverse=True)[: best.number]]


def find_steps(folder: pathlib.Path) -> list[int]:
    """Return the complete steps on disk, ascending; read each time, because Orbax's list is a cache."""
    try:
        return sorted(int(path.name) for path in (folder / STEPS).iterdir() if path.name.isdecimal())
    except OSError:
        return []


def record_path(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Return where the digests of a step are."""
    return folder / DIGESTS / f"{step}.json"


def newest(
    folder: pathlib.Path,
    template: Any,
    *,
    config: Mapping[str, Any] | None = None,
    free: Collection[str] = (),
    only: int | None = None,
    partial: bool = False,
) -> Resumed | None:
    """Load the newest checkpoint that is intact.

    Args:
      folder: of the store, absolute.
      template: arrays, numbers, or ``jax.ShapeDtypeStruct``, nested.
      config: settings that the checkpoint's must equal; None compares nothing.
      free: names of settings that may differ.
      only: a step, if no other will do.
      partial: whether the template may be a part of the state.

    Returns:
      What was loaded; None if there is no checkpoint at all.

    Raises:
      InputError: if none is intact, or the first whose record is intact has other settings or another state.
    """
    leaves = digest.named_leaves(template)
    damaged: list[str] = []
    for step in reversed(find_steps(folder)):
        if only not in (None, step):
            continue
        try:
            record = digest.read_record(record_path(folder, step), step)
            if config is not None:
                _check_config(folder, record, config, free)
            _check_leaves(folder, record, leaves, partial)
            values = _load(folder, record, leaves)
        except DamagedError as error:
            damaged.append(f"step {step}: {error}")
            continue
        state = jax.tree.unflatten(jax.tree.structure(template), [values[name] for name in leaves])
        return Resumed(step, state, record["extra"], tuple(damaged))
    if damaged:
        raise InputError(
            f"{folder}: no checkpoint is intact ({'; '.join(damaged)[:600]}); restore a copy, or remove the "
            "folder to start again"
        )
    return None


def _check_config(
    folder: pathlib.Path, record: Mapping[str, Any], config: Mapping[str, Any], free: Collection[str]
) -> None:
    found = digest.differences(record["config"], config, free)
    if found:
        raise InputError(
            f"{folder}: the checkpoint of step {record['step']} has other settings "
            f"({'; '.join(found)[:600]}); use those, or choose another output folder"
        )


def _check_leaves(
    folder: pathlib.Path, record: Mapping[str, Any], leaves: Mapping[str, Any], partial: bool
) -> None:
    stored = {name: (entry[0], entry[1]) for name, entry in record["leaves"].items()}
    wanted = {name: digest.signature(leaf) for name, leaf in leaves.items()}
    names = sorted(wanted if partial else {*stored, *wanted})
    found = [
        f"{name}: {_described(stored.get(name))} in the checkpoint, {_described(wanted.get(name))} here"
        for name in names
        if stored.get(name) != wanted.get(name)
    ]
    if found:
        raise InputError(
            f"{folder}: the checkpoint of step {record['step']} differs from this run's state in "
            f"{len(found)} leaves ({'; '.join(found[:5])[:600]}); use its model and algorithm, or choose "
            "another output folder"
        )


def _described(entry: tuple[str, list[int]] | None) -> str:
    return "absent" if entry is None else f"{entry[0]}{entry[1]}"


def _load(folder: pathlib.Path, record: Mapping[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Load the named leaves of a step, compare their digests."""
    from orbax.checkpoint import v1

    wanted = {name: _abstract(leaf) for name, leaf in leaves.items() if math.prod(np.shape(leaf))}
    context = v1.Context()
    context.pytree.loading.partial_load = True
    reason = ""
    loaded: dict[str, Any] = {}
    with Quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where all warnings are errors, one would pass for damage
        try:
            with context:
                loaded = v1.load(folder / STEPS / str(record["step"]), wanted) if wanted else {}
        except Exception as error:
            reason = f"it cannot be loaded ({first_cause(error)})"
        if reason:
            _settle()
    if not _all_agree(not reason):
        raise DamagedError(reason or "another process cannot load it")
    values = {}
    for name, leaf in leaves.items():
        value = loaded[name] if name in loaded else _empty(leaf)
        if [*digest.signature(value), digest.leaf_digest(value)] != record["leaves"][name]:
            raise DamagedError(f"leaf {name!r} does not match its digest")
        sharding = getattr(wanted.get(name), "sharding", None)
        if sharding is not None and value.sharding != sharding:  # keys come back with P('x', None) for P('x')
            value = jax.device_put(value, sharding)
        values[name] = value if hasattr(leaf, "dtype") else type(leaf)(np.asarray(value).item())
    return values


def _settle() -> None:
    """Silence and collect the tasks that a failed load leaves behind.

    Orbax 0.12 loads leaves by asyncio tasks and keeps no list of them. Where one fails, the others are
    dropped, and each prints a trace when it is collected ("Task was destroyed but it is pending", "exception
    was never retrieved"), long after the failure was handled. They can be found among the collector's objects
    only, and the flag that asyncio looks at before it prints is private. Nothing else depends on either.
    """
    for _ in range(4):  # some tasks end only after the reads that they started
        gc.collect()
        tasks = [
            each for each in gc.get_objects() if isinstance(each, asyncio.Task) and "orbax" in repr(each)
        ]
        for task in tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            elif not task.cancelled():
                task.exception()  # looked at, so it is not logged
        if not tasks:
            break
        time.sleep(0.05)


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        sharding = getattr(leaf, "sharding", None)
        sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return np.asarray(leaf)


def _empty(leaf: Any) -> Any:
    array = np.zeros(leaf.shape, leaf.dtype)
    return array if isinstance(leaf, np.ndarray) else jax.device_put(array, getattr(leaf, "sharding", None))


def first_cause(error: BaseException) -> str:
    """Return the first line of what lies at the bottom of a chain of errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


def _all_agree(fine: bool) -> bool:
    if jax.process_count() == 1:
        return fine
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(fine))))
