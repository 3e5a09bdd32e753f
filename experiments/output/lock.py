"""One writer an output folder: the kernel's lock on ``.lock``, which goes with its holder.

So nothing needs cleaning after a kill. The file names its holder, for the message, and for people on network
file systems whose locks are not reliable.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import socket

from nlhf.errors import InputError

LOCK = ".lock"


class BusyError(RuntimeError):
    """Another process holds the output folder."""


def acquire(path: pathlib.Path) -> int:
    """Lock a folder, without waiting.

    Args:
      path: an existing folder.

    Returns:
      An open descriptor that holds the kernel's lock.

    Raises:
      InputError: if the folder cannot be written, or its file system has no locks.
      BusyError: if another process holds it; the message names its pid, host and start.
    """
    file = path / LOCK
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(
                f"{path}: the output folder cannot be written ({error.strerror}); choose another --out"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a holder that ended between our open and our lock has unlinked the file: then ours locks nothing
            if os.fstat(descriptor).st_nlink:
                start = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "start": start}
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)
                return descriptor
        except BlockingIOError:
            message = f"{path}: is in use by {_holder(descriptor)}; wait for it, or choose another --out"
            os.close(descriptor)
            raise BusyError(message) from None
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"{path}: the output folder cannot be locked ({error.strerror}); choose another --out"
            ) from None
        os.close(descriptor)


def release(path: pathlib.Path, descriptor: int) -> None:
    """Unlock a folder and remove the file."""
    with contextlib.suppress(OSError):
        (path / LOCK).unlink()  # while we still hold it, see acquire
    os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(holder['pid'])} on {holder['host']!s:.80} since {holder['start']!s:.40}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
