"""The console script ``nlhf``: parse, dispatch, and turn every expected failure into one line.

Exit codes: 0 done; 1 a claim, the machine or the numerics failed; 2 the input breaks a rule; 3 another
process holds the output folder; 130 interrupted; 141 the reader of a pipe went away.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from experiments import commands

DESCRIPTION = """Nash learning from human feedback: solve preference games, judge claims, reproduce figures.

Exit codes: 0 done, 1 failed, 2 the input breaks a rule, 3 the output folder is in use. `nlhf --version`
prints the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: the command line without the program's name; ``None`` takes this process's.

    Returns:
      The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.suppress(OSError):  # the working directory may be gone
        # modules that the user names lie here; never first, where they would hide those of Python
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a name must not end a solved run in a traceback
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=UserWarning)
            warnings.showwarning = _show_warning
            code = _run(words)
        if sys.stdout is not None:  # closed before we started
            sys.stdout.flush()
    except SystemExit as stop:  # the parser's: 0 after --help, 2 after a usage error
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            # the interpreter flushes once more at exit: into this, not into the closed pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        _say("interrupted")
        if any(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate()):
            # a program in compilation cannot be stopped, and ends in a fault when the interpreter goes first
            os._exit(130)
        return 130
    except Exception as error:
        known = _exit_code(error)
        if known is None:
            raise
        _say(f"error: {_missing(error) or error}")
        return known
    return code


def widen_pool() -> None:
    """Give JAX's processor threads to spare, before it is loaded; a number in NPROC stays.

    Programs that solve batches of linear systems wait inside the pool for parts of their own work. Two of
    them at a time, as figures and the referee run them, fill a pool of two threads and wait for ever.
    """
    os.environ.setdefault("NPROC", str(max(8, 4 * (os.cpu_count() or 1))))


def version() -> str:
    """Return the installed version, or "unknown" in a source tree that is not installed."""
    try:
        return importlib.metadata.version("nlhf")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"nlhf {version()}")
        return 0
    if words[:1] != ["bench"]:  # what is timed is what users run
        widen_pool()
    config = (tyro.conf.FlagCreatePairsOff,)
    command: Any = tyro.cli(
        commands.Command,
        args=words,
        prog="nlhf",
        description=DESCRIPTION,
        config=config,
    )
    # what a command needs is imported here, so that --help answers at once
    if isinstance(command, commands.Reproduce):
        from experiments.figures import command as reproduce

        reproduce.main(command)
    elif isinstance(command, commands.Solve):
        from experiments.solve import command as solve

        solve.main(command)
    elif isinstance(command, commands.Check):
        from experiments.check import command as check

        check.main(command)
    elif isinstance(command, commands.Games):
        from experiments.solve import games as games_table

        games_table.main(command)
    elif isinstance(command, commands.Train):
        from experiments.language_models import train

        return train.main(command)
    elif isinstance(command, commands.Sample):
        from experiments.language_models import sample as sample_text

        sample_text.main(command)
    elif isinstance(command, commands.Evaluate):
        from experiments.language_models import evaluate

        evaluate.main(command)
    elif isinstance(command, commands.Export):
        from experiments.language_models import export

        export.main(command)
    else:
        from experiments.bench import command as bench

        bench.main(command)
    return 0


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of an expected failure, ``None`` for a fault of ours: its traceback is shown."""
    from experiments.output.lock import BusyError
    from nlhf.errors import InputError

    if isinstance(error, InputError) or _missing(error):
        return 2
    if isinstance(error, BusyError):
        return 3
    return 1 if isinstance(error, ArithmeticError | OSError | MemoryError) else None


def _missing(error: Exception) -> str | None:
    """Return how to get the extra whose package was not found, ``None`` for any other failure."""
    from nlhf.extras import advice

    advised = advice(error) if isinstance(error, ModuleNotFoundError) else None
    return None if advised is None else f"this needs {advised}"


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"warning: {message}")


def _say(text: str) -> None:
    print("nlhf: " + " ".join(text.splitlines()), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
