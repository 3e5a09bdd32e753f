"""The console script ``nlhf``: parse, dispatch, and turn every expected failure into one line.

Exit codes: 0 done; 1 a claim, the machine or the numerics failed; 2 the input breaks a rule; 3 another
process holds the output folder; 130 interrupted; 141 the reader of a pipe went away.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import tyro

from experiments import commands
from nlhf.environment import widen_pool

DESCRIPTION = """Nash learning from human feedback: solve preference games, test claims, reproduce figures.

Type `nlhf COMMAND --help` for the options of a command with examples, `nlhf --version` for the version.

Exit codes: 0 done, 1 failed, 2 the input breaks a rule, 3 the output folder is in use."""


MODULES = {
    commands.Solve: "experiments.solve.command",
    commands.Check: "experiments.check.command",
    commands.Reproduce: "experiments.figures.command",
    commands.Games: "experiments.solve.games",
    commands.Train: "experiments.language_models.train",
    commands.Sample: "experiments.language_models.sample",
    commands.Evaluate: "experiments.language_models.evaluate",
    commands.Export: "experiments.language_models.export",
    commands.Bench: "experiments.bench.command",
}

EXAMPLES = {
    "solve": """\
  nlhf solve votes.csv --beta 0                   the exact Nash policy of a file of comparisons
  nlhf solve rock_paper_scissors                  a built-in game; nlhf games lists them
  nlhf solve votes.csv --algorithm egpo --steps 500
  nlhf solve votes.csv --algorithm my_file:my_method""",
    "check": """\
  nlhf check                                      every row of the ledger, a few minutes
  nlhf check --claim egpo.kl                      one row
  nlhf check --algorithm egpo --game votes.csv    its claims on your own game
  nlhf check --algorithm my_file:my_method        the claims of your own algorithm""",
    "reproduce": """\
  nlhf reproduce --list
  nlhf reproduce convergence --quick
  nlhf reproduce convergence --quick --add my_file:my_method
  nlhf reproduce convergence --redraw             draw the stored result again""",
    "games": """\
  nlhf games --json""",
    "train": """\
  nlhf train --algorithm nash_md --steps 100 --out results/nash-md
  nlhf train --data prompts.jsonl --judge python:my_file:my_judge
  nlhf train --model results/nash-md/base --algorithm egpo --out results/egpo
  nlhf train --preset tiny --algorithm my_file:my_method --steps 20""",
    "sample": """\
  nlhf sample results/train --reference --responses 2
  nlhf sample results/train --prompt "One day, a girl" --temperature 0""",
    "evaluate": """\
  nlhf evaluate results/nash-md results/egpo --out results/compared""",
    "export": """\
  nlhf export results/train hf_model              a folder for transformers""",
    "bench": """\
  nlhf bench tabular --quick""",
}


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
        if not stop.code and words[0] in EXAMPLES:
            print(f"\nExamples:\n\n{EXAMPLES[words[0]]}")
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
    command: Any = tyro.cli(
        commands.Command,
        args=words,
        prog="nlhf",
        description=DESCRIPTION,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    # what a command needs is imported here, so that --help answers at once
    return importlib.import_module(MODULES[type(command)]).main(command) or 0


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
