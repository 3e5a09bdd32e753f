"""Checkpoints that are either whole or refused: Orbax writes them, our own digests say what they should hold.

A store is a folder with ``steps/<step>`` (Orbax), ``digests/<step>.json`` (``runs.digest``) and,
if one was ever found damaged, ``bad.<step>``. Saving is asynchronous; a failure of the writer shows at the
next ``save``, ``wait`` or ``close``. One run writes a store at a time: the caller holds the lock. We promise
this for the death of a process, not for power failure.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import shutil
import time
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from nlhf import extras
from nlhf.base import check_whole
from nlhf.errors import InputError
from nlhf.transformer.runs import digest
from nlhf.transformer.runs.digest import DamagedError
from nlhf.transformer.runs.guard import check_finite
from nlhf.transformer.runs.log import free_space
from nlhf.transformer.runs.restore import (
    DIGESTS,
    STEPS,
    Best,
    Quiet,
    Resumed,
    best_steps,
    find_steps,
    first_cause,
    newest,
    record_path,
)

BAD = "bad."


class Store:
    """An open store; made by ``open_store``, closed on leaving a ``with``.

    Attributes:
      folder: absolute.
      keep: how many of the newest checkpoints are kept.
      best: which others, or None.
      config: the run's settings.
      free: names of settings that may differ between saving and resuming.
    """

    def __init__(self, folder: pathlib.Path, keep: int, best: Best | None, config: Any, free: Any) -> None:
        self.folder, self.keep, self.best, self.config, self.free = folder, keep, best, config, free
        self.scores: dict[int, float] = {}
        self.pending: tuple[int, Any] | None = None
        self.checkpointer: Any = None
        self.quiet = Quiet()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            close(self)
        else:  # the first error is the one to report
            with contextlib.suppress(Exception):
                close(self)

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """Say which checkpoints stay; Orbax deletes the others once the one that is being saved is whole."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {
            *steps[-self.keep :],
            *best_steps(self.best, {step: self.scores.get(step) for step in steps}),
        }
        return [step in kept for step in steps]

    def should_save(self, step: int, previous_steps: Any, *, context: Any) -> bool:
        """Say yes: whether to save is the caller's decision."""
        del step, previous_steps, context
        return True


def open_store(
    folder: str | os.PathLike[str],
    *,
    keep: int = 3,
    best: Best | None = None,
    config: Mapping[str, Any] | None = None,
    free: Collection[str] = (),
) -> Store:
    """Open a store for writing: make its folders, remove what a killed process left half-written.

    Args:
      folder: made if absent. The caller must hold a lock on the run.
      keep: how many of the newest checkpoints to keep, >= 1; with 1 a damaged one has no substitute.
      best: which others to keep.
      config: settings of this run, what JSON can hold; stored with each checkpoint, compared by ``resume``.
      free: names of settings (dotted where nested) that may differ on resume, with all below them.

    Raises:
      InputError: if keep or best.number is no positive whole number, or the folder cannot be written.
    """
    path = pathlib.Path(folder).absolute()
    keep = check_whole("keep", keep)
    if best is not None:
        check_whole("best.number", best.number)
    store = Store(path, keep, best, dict(config or {}), frozenset(free))
    try:
        for name in (STEPS, DIGESTS):
            (path / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another output folder"
        ) from None
    store.quiet.__enter__()
    _open(store)
    return store


def save(
    store: Store,
    step: int,
    state: Any,
    *,
    metrics: Mapping[str, float] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> bool:
    """Start to save a step, once the save before it is known to be whole.

    The digests are of the values in memory now; what is written afterwards may be donated or changed.

    Args:
      step: whole, >= 0, above every step in the store.
      state: arrays, PRNG keys and numbers, nested; all finite.
      metrics: for ``best``.
      extra: what else a resumed run needs, e.g. the position in the data; what JSON can hold, without NaN.

    Returns:
      True; False if the store has this step already, with equal values.

    Raises:
      NonFiniteError: if a leaf of the state is not finite; nothing is written.
      InputError: if this save or the one before it cannot be written, e.g. on a full disk.
      RuntimeError: if a later step, or other values at this step, are in the store.
    """
    wait(store)
    step = check_whole("step", step, low=0)
    leaves = digest.named_leaves(state)
    check_finite(leaves, step)
    digests = digest.state_digests(leaves)
    steps = find_steps(store.folder)
    if step in steps:
        with contextlib.suppress(DamagedError):
            if digest.read_record(record_path(store.folder, step), step)["leaves"] == digests:
                return False
        raise RuntimeError(f"step {step} is in {store.folder} already, with other values")
    if steps and step < steps[-1]:
        raise RuntimeError(f"step {step} is below step {steps[-1]}, the newest in {store.folder}")
    metrics = {name: float(value) for name, value in (metrics or {}).items()}
    record = {
        "step": step,
        "leaves": digests,
        "state": digest.total(digests),
        "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
        "extra": dict(extra or {}),
        "config": store.config,
    }
    try:
        digest.canonical(record)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"step {step}: config and extra are what JSON can hold, without NaN: {error}"
        ) from None
    _score(store, step, record)
    arrays = {
        name: leaf if isinstance(leaf, jax.Array) else np.array(leaf)
        for name, leaf in leaves.items()
        if math.prod(np.shape(leaf))  # Orbax refuses empty arrays; the record has their shape
    }
    try:
        if jax.process_index() == 0:
            digest.write_record(record_path(store.folder, step), record)
        # overwrite: else Orbax 0.12.8 asks for the times of old steps, which a lightweight start did not read
        # ("year 0 is out of range"); that there is no such step to lose, we have just seen on disk
        response = store.checkpointer.save_async(step, arrays, overwrite=True)
    except Exception as error:
        raise _not_saved(store, step, error) from error
    if response is None:
        raise RuntimeError(f"step {step} was not saved in {store.folder}: Orbax declined")
    store.pending = (step, response)
    return True


def wait(store: Store) -> None:
    """Wait until what was saved is whole on disk.

    Raises:
      InputError: if it could not be written; steps before it are untouched.
    """
    if store.pending is None:
        return
    (step, response), store.pending = store.pending, None
    try:
        written = response.result()
    except Exception as error:
        raise _not_saved(store, step, error) from error
    steps = find_steps(store.folder)
    if not written or step not in steps:
        raise RuntimeError(f"step {step} was reported as saved, but {store.folder} does not have it")
    if jax.process_index() == 0:
        _prune(store, steps)


def close(store: Store) -> None:
    """Wait, then let go of the store.

    Raises:
      InputError: if the last save could not be written.
    """
    try:
        wait(store)
    finally:
        checkpointer, store.checkpointer = store.checkpointer, None
        if checkpointer is not None:
            checkpointer.close()
        store.quiet.__exit__(None, None, None)


def resume(store: Store, template: Any) -> Resumed | None:
    """Load the newest checkpoint that is intact, and move damaged newer ones out of the way.

    Args:
      template: a state of the same structure: arrays, or ``jax.ShapeDtypeStruct`` with shardings. Leaves come
        back with its shardings, which may be of another mesh than the saved ones.

    Returns:
      What was loaded; None if the store is empty and always was.

    Raises:
      InputError: if the checkpoint is of other settings or shapes (nothing is moved), or if there are
        checkpoints but none is intact: starting again from step 0 is never done silently.
    """
    wait(store)
    found = newest(store.folder, template, config=store.config, free=store.free)
    if found is None:
        gone = sorted(path.name for path in store.folder.glob(f"{BAD}*"))
        if gone:
            raise InputError(
                f"{store.folder}: has no checkpoint but {', '.join(gone)[:200]}, which were found damaged; "
                "restore a copy, or remove the folder to start again"
            )
        return None
    if found.damaged:  # which all processes agree on
        store.checkpointer.close()
        if jax.process_index() == 0:
            for step in find_steps(store.folder):
                if step > found.step:
                    _quarantine(store.folder, step)
        _barrier("quarantine")
        _open(store)
    return found


def _score(store: Store, step: int, record: Mapping[str, Any]) -> None:
    if store.best is not None and store.best.metric in record["metrics"]:
        store.scores[step] = record["metrics"][store.best.metric]


def _open(store: Store) -> None:
    """Open Orbax's writer, which removes temporary folders of killed processes, and read the scores."""
    v1 = extras.load("orbax.checkpoint", "a checkpoint").v1
    store.checkpointer = v1.training.Checkpointer(
        store.folder / STEPS,
        save_decision_policy=store,
        preservation_policy=store,
        cleanup_tmp_directories=True,
        lightweight_initialize=True,  # reads nothing of the old steps, so that a damaged one cannot stop us
    )
    store.scores = {}
    steps = find_steps(store.folder)
    for step in steps:
        with contextlib.suppress(DamagedError):
            _score(store, step, digest.read_record(record_path(store.folder, step), step))
    if jax.process_index() == 0:
        _prune(store, steps)


def _prune(store: Store, steps: list[int]) -> None:
    """Remove records whose checkpoint is gone, or was never completed."""
    names = {f"{step}.json" for step in steps}
    for path in (store.folder / DIGESTS).iterdir():
        if path.name not in names:
            with contextlib.suppress(OSError):
                path.unlink()


def _quarantine(folder: pathlib.Path, step: int) -> None:
    """Move a damaged step, with its record, to where nothing looks for steps."""
    target, number = folder / f"{BAD}{step}", 1
    while target.exists():
        number += 1
        target = folder / f"{BAD}{step}.{number}"
    os.rename(folder / STEPS / str(step), target)
    with contextlib.suppress(OSError):
        os.rename(record_path(folder, step), target / "digest.json")


def _not_saved(store: Store, step: int, error: BaseException) -> InputError:
    """Remove what was half-written, reopen the writer (its list may name the failed step), say why."""
    store.pending = None
    with contextlib.suppress(Exception):
        store.checkpointer.close()
    for _ in range(20):  # threads of the failed save may still be writing; what they leave eats the space
        if not (left := list((store.folder / STEPS).glob("*orbax-checkpoint-tmp*"))):
            break
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.05)
    with contextlib.suppress(Exception):
        _open(store)
    steps = find_steps(store.folder)
    text = f"{error} {error.__cause__ or ''}"
    full = any(sign in text for sign in ("No space left", "RESOURCE_EXHAUSTED", "ENOSPC", "quota"))
    reason = "the disk is full" if full else first_cause(error)
    reason = f"{reason}; {free_space(store.folder)}"
    good = f"the last good step is {steps[-1]}" if steps else "there is no step before it"
    return InputError(
        f"{store.folder}: step {step} cannot be saved ({reason}); {good}; make room, then "
        "give the same command again"
    )


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)
