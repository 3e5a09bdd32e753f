"""Several processes as one run: each has some of the devices and feeds its part of every batch."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

import jax

from nlhf.base import check_whole
from nlhf.errors import InputError

BIND = "JAX_COORDINATOR_BIND_ADDRESS"


def start(
    coordinator: str | None,
    num_processes: int,
    process: int,
    *,
    heartbeat: int = 100,
    patience: int = 300,
) -> None:
    """Join the processes of a run, before anything else is asked of JAX.

    Process 0 serves the others. It has no authentication, so that it listens where the coordinator's address
    says and nowhere else: on this machine, unless another address is given. Where the others' address of
    process 0 is not its own (translated, or a name that it reads as loopback), let
    ``JAX_COORDINATOR_BIND_ADDRESS`` in its environment, ``host:port`` too, say where it listens.

    When a process dies, the others end with a message within the heartbeat and a few seconds; the same
    command then resumes.

    Args:
      coordinator: ``host:port`` of process 0; ``None`` is port 29400 of this machine.
      num_processes: how many, >= 1; for 1 nothing is done.
      process: which one this is, from 0.
      heartbeat: seconds of silence after which a process counts as dead.
      patience: seconds to wait for all processes to come.

    Raises:
      InputError: if a number is out of range, the address is none or taken, or JAX is in use. If not all
        processes come in time, this one ends with a message and exit code 2.
    """
    coordinator = "127.0.0.1:29400" if coordinator is None else coordinator
    num_processes, process = (
        check_whole("num_processes", num_processes),
        check_whole("process", process, low=0),
    )
    heartbeat, patience = check_whole("heartbeat", heartbeat), check_whole("patience", patience)
    if process >= num_processes:
        raise InputError(f"process is {process} of {num_processes}; give one of 0 to {num_processes - 1}")
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", coordinator)
    if found is None or not 0 < int(found[2]) < 65536:
        raise InputError(
            f"coordinator is {coordinator!r}, but it must be host:port with a port of 1 to 65535; "
            "give 127.0.0.1:29400, say"
        )
    if num_processes == 1:
        return
    with _plain(coordinator, num_processes, patience):
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process,
            initialization_timeout=patience + 60,  # ours comes first
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,
            # JAX's own default is every interface
            coordinator_bind_address=os.environ.get(BIND, coordinator),
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within ``with``: where another process of the run is gone, this one ends with a line that says so.

    Its exit code is 1, and nothing after the step is done: a process alone can neither continue nor save, and
    the runtime is about to abort it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        lost = re.search(
            r"gloo|heartbeat|coordination|connection|unavailable|peer", str(error), re.IGNORECASE
        )
        if jax.process_count() == 1 or lost is None:
            raise
        _end(
            f"process {jax.process_index()}: another of the {jax.process_count()} processes has ended, so "
            "this one ends; give the same commands again to resume from the last checkpoint",
            1,
        )


def _end(line: str, code: int) -> None:
    """End this process at once: the runtime would do so with a trace of its own code."""
    os.write(2, f"{line}\n".encode())
    os._exit(code)


@contextlib.contextmanager
def _plain(coordinator: str, num_processes: int, patience: int) -> Iterator[None]:
    """Say in one line what a failure to start means."""
    late = (
        f"not all {num_processes} processes came to {coordinator} within {patience} s; start each with its "
        "own number, or give more time"
    )
    alarm = threading.Timer(patience, _end, (late, 2))
    alarm.daemon = True
    alarm.start()
    try:
        yield
    except Exception as error:
        text = str(error).strip()
        if "before any" in text:
            raise InputError("JAX is in use already; join the processes before anything else") from None
        if "only be called once" in text:
            raise InputError("this process has joined already; call start once") from None
        raise InputError(
            f"the processes cannot meet at {coordinator} ({text.partition(chr(10))[0][:200]}); "
            f"give a free port of process 0's machine, or let {BIND} say where it listens"
        ) from None
    finally:
        alarm.cancel()
