"""The loop of every training run: step, log, save, stop when asked; killed at any time, it goes on as if not.

A step is a function of its index and the state alone, so the run that resumes is the run that was not
interrupted, bit by bit, on the same devices and versions.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax

from nlhf.base import check_whole
from nlhf.transformer.runs import checkpoint
from nlhf.transformer.runs.guard import Watch, check_finite, watch_divergence
from nlhf.transformer.runs.log import Metrics
from nlhf.transformer.runs.restore import Best
from nlhf.transformer.runs.stop import Stop, Watchdog

CHECKPOINTS = "checkpoints"
Values = Mapping[str, Any]


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last one.
      step: steps made, of all sessions.
      code: 0, or 128 plus the number of the signal that stopped the run.
    """

    state: Any
    step: int
    code: int


class Messages(NamedTuple):
    """What the caller is told while a run goes on.

    Attributes:
      line: ``line(text)``, something worth a line: a resume, a warning.
      step: ``step(index, values, seconds)`` after each step; ``index`` counts from 1.
    """

    line: Callable[[str], None]
    step: Callable[[int, Values, float], None]


def silent() -> Messages:
    """Tell nobody."""
    return Messages(lambda text: None, lambda index, values, seconds: None)


def run_steps(
    folder: str | os.PathLike[str],
    state: Any,
    step: Callable[[int, Any], tuple[Any, Values]],
    *,
    num_steps: int,
    config: Mapping[str, Any],
    free: Collection[str] = (),
    save_every: int = 50,
    keep: int = 3,
    best: Best | None = None,
    position: Callable[[int], int] = lambda index: index,
    limit: float = float("inf"),
    tensorboard: bool = False,
    layout: str = "",
    messages: Messages | None = None,
) -> Ended:
    """Make steps until there are ``num_steps``, from the newest intact checkpoint on if there is one.

    Args:
      folder: of the run; the caller holds its lock.
      state: at step 0, with the shardings that it shall have.
      step: ``step(index, state) -> (state, values)``, index from 0; values are numbers to be logged.
      num_steps: of the whole run, all sessions together.
      config: settings that a resumed run must share, what JSON can hold.
      free: names of settings that it need not.
      save_every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints kept.
      best: which others, by a value of the same step.
      position: ``position(steps made)``, examples drawn so far; saved for whoever reads the checkpoint.
      limit: KL to the reference (the value ``kl``) above which a warning is due, nats.
      tensorboard: whether to write its files as well.
      layout: of the devices; where it is not that of the checkpoint, bits may differ from there on, which is
        told.
      messages: whom to tell.

    Returns:
      How it ended.

    Raises:
      NonFiniteError: if a value or a leaf of the state is not finite: the step is not saved.
      InputError: if the folder holds another run's checkpoints, or cannot be written.
    """
    num_steps = check_whole("num_steps", num_steps, low=0)
    save_every = check_whole("save_every", save_every)
    tell = silent() if messages is None else messages
    path = pathlib.Path(folder)
    watch = Watch()
    store = checkpoint.open_store(path / CHECKPOINTS, keep=keep, best=best, config=config, free=free)
    with store, Stop() as stop, Watchdog() as watchdog:
        found = checkpoint.resume(store, state)
        made = 0
        if found is not None:
            made, state = found.step, found.state
            for line in found.damaged:
                tell.line(f"passed over {line}")
            tell.line(f"goes on after step {made}")
            if found.extra["layout"] != layout:
                tell.line(f"was saved on {found.extra['layout']}, now {layout}: bits may differ from here on")
        with contextlib.ExitStack() as files:
            # one process writes the log of all
            log = None
            if jax.process_index() == 0:
                resumed = None if found is None else made
                log = files.enter_context(Metrics(path, resumed, tensorboard=tensorboard))
            ending = made >= num_steps
            while not ending:
                began = time.perf_counter()
                state, values = step(made, state)
                # a loop that never waits deadlocks on several devices of one processor
                jax.block_until_ready(state)
                made += 1
                values = {name: float(value) for name, value in values.items()}
                check_finite(values, made, "values")
                check_finite(state, made)
                seconds = time.perf_counter() - began
                if log is not None:
                    log.write(made, values, {"seconds": seconds})
                watch, warnings = watch_divergence(
                    watch, values.get("loss", 0.0), values.get("kl", 0.0), limit=limit
                )
                for line in warnings:
                    tell.line(f"warning: step {made}: {line}")
                tell.step(made, values, seconds)
                # asked once a step, so that a stop is always saved
                ending = made >= num_steps or stop.requested
                if ending or made % save_every == 0:
                    extra = {"position": int(position(made)), "layout": layout}
                    checkpoint.save(store, made, state, metrics=values, extra=extra)
                watchdog.beat()
        checkpoint.wait(store)
    return Ended(state, made, stop.code)
