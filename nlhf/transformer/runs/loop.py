"""The loop of every training run: step, log, save, stop when asked, resume after being killed at any time.

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
from nlhf.transformer.runs.restore import Best, Resumed
from nlhf.transformer.runs.stop import Stop, Watchdog

CHECKPOINTS = "checkpoints"
Values = Mapping[str, Any]


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last one.
      step: steps made, of all sessions.
      code: 0, or 128 plus the number of the signal that stopped the run.
      log: ``{"step": n, name: value, ...}`` for each step of this session.
    """

    state: Any
    step: int
    code: int
    log: list[dict[str, float]]

    @property
    def policy(self) -> Any:
        """The last policy of a run of ``preference.train``."""
        return self.state.algorithm.policy


class Messages(NamedTuple):
    """What the caller hears during a run.

    Attributes:
      line: ``line(text)``, something worth a line: a resume, a warning.
      step: ``step(index, values, seconds)`` after each step; ``index`` counts from 1, and is 0 for the
        values at the start.
    """

    line: Callable[[str], None]
    step: Callable[[int, Values, float], None]


def silent() -> Messages:
    """Return messages that nobody hears."""
    return Messages(lambda text: None, lambda index, values, seconds: None)


def run_steps(
    folder: str | os.PathLike[str] | None,
    state: Any,
    step: Callable[[int, Any], tuple[Any, Values]],
    *,
    num_steps: int,
    config: Mapping[str, Any] | None = None,
    start: Callable[[Any], Values] | None = None,
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
      folder: of the run; the caller holds its lock. ``None`` keeps everything in memory: nothing is saved,
        and signals have their usual effect.
      state: at step 0, with its shardings.
      step: ``step(index, state) -> (state, values)``, index from 0; values are numbers to be logged.
      num_steps: of the whole run, all sessions together.
      config: settings that a resumed run must share, what JSON can hold.
      start: ``start(state) -> values`` at step 0, logged as such; not called when a run is resumed.
      free: names of settings that it need not.
      save_every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints kept.
      best: which others, by a value of the same step.
      position: ``position(steps made)``, examples drawn so far; saved for whoever reads the checkpoint.
      limit: KL to the reference (the value ``kl``) above which a warning is due, nats.
      tensorboard: whether to write its files as well.
      layout: of the devices; where it is not that of the checkpoint, bits may differ from there on, and a
        message says so.

    Returns:
      How it ended.

    Raises:
      NonFiniteError: if a value or a leaf of the state is not finite: the step is not saved.
      InputError: if the folder holds another run's checkpoints, or cannot be written.
    """
    num_steps = check_whole("num_steps", num_steps, low=0)
    save_every = check_whole("save_every", save_every)
    tell = silent() if messages is None else messages
    watch, made, lines = Watch(), 0, []
    stop, watchdog = Stop(), Watchdog()
    with contextlib.ExitStack() as opened:
        store = log = found = None
        if folder is not None:
            path = pathlib.Path(folder)
            store = opened.enter_context(
                checkpoint.open_store(path / CHECKPOINTS, keep=keep, best=best, config=config, free=free)
            )
            opened.enter_context(stop)
            opened.enter_context(watchdog)
            found = checkpoint.resume(store, state)
            if found is not None:
                made, state = found.step, found.state
                _tell_resumed(tell, found, layout)
            if jax.process_index() == 0:  # one process writes the log of all
                resumed = None if found is None else made
                log = opened.enter_context(Metrics(path, resumed, tensorboard=tensorboard))

        def report(values: Values, seconds: float) -> dict[str, float]:
            numbers = {name: float(value) for name, value in values.items()}
            check_finite(numbers, made, "values")
            lines.append({"step": made, **numbers})
            if log is not None:
                log.write(made, numbers, {"seconds": seconds} if made else None)
            return numbers

        if start is not None and found is None:
            tell.step(0, report(start(state), 0.0), 0.0)
            if store is not None:
                watchdog.beat()  # the first step, which compiles, has all of the time
        ending = made >= num_steps
        while not ending:
            began = time.perf_counter()
            state, values = step(made, state)
            # a loop that never waits deadlocks on several devices of one processor
            jax.block_until_ready(state)
            made += 1
            seconds = time.perf_counter() - began
            numbers = report(values, seconds)
            check_finite(state, made)
            watch, warnings = watch_divergence(
                watch, numbers.get("loss", 0.0), numbers.get("kl", 0.0), limit=limit
            )
            for line in warnings:
                tell.line(f"warning: step {made}: {line}")
            tell.step(made, numbers, seconds)
            # asked once a step, so that a stop is always saved
            ending = made >= num_steps or stop.requested
            if store is not None:
                if ending or made % save_every == 0:
                    extra = {"position": int(position(made)), "layout": layout}
                    checkpoint.save(store, made, state, metrics=numbers, extra=extra)
                watchdog.beat()
        if store is not None:
            checkpoint.wait(store)
    return Ended(state, made, stop.code, lines)


def _tell_resumed(tell: Messages, found: Resumed, layout: str) -> None:
    for line in found.damaged:
        tell.line(f"passed over {line}")
    tell.line(f"resuming after step {found.step}")
    if found.extra["layout"] != layout:
        tell.line(f"was saved on {found.extra['layout']}, now {layout}: bits may differ from here on")
