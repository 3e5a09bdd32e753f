"""``nlhf reproduce``: the list of figures, and the one way in which each is run, saved and drawn.

A figure is a package with two modules. ``run`` has a frozen dataclass ``Config`` (with ``seeds``), a
dataclass ``Result`` of plain data, ``quick(config) -> Config`` and ``run(config, progress) -> Result``;
``plot`` has ``plot(result) -> Figure`` and ``table(result) -> str``. A single module with all six works as
well. A ``Config`` with a field ``data`` takes the folder of ``--data``; without it the figure uses what the
package contains. One with a field ``add`` takes the places that ``--add`` gives. Ours lie in
``experiments.figures``; a figure of anybody else is named by its dotted module.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiments import commands
from experiments.output import records, result_folder, text
from experiments.output.progress import Progress
from experiments.output.provenance import provenance
from experiments.output.style import STYLE
from nlhf.errors import InputError, unknown

RESULTS = pathlib.Path("results")


FIGURES: dict[str, str] = {
    "convergence": "every algorithm on six games, beside its bounds",
    "slack": "measured/bound of every claim, step by step",
    "breaking-points": "step size x β: where claims hold and are violated",
    "xpo-exploration": "what XPO finds and online DPO does not",
    "vpo-bandit": "regret of VPO and its rivals online, on bandits",
    "vpo-offline": "pessimistic VPO and its rivals on data sets",
    "exploration-phase-diagram": "regret over (T, 1/β), method by method",
    "cpl-consistency": "CPL on n labelled segments, and on wrong labels",
    "regret-vs-return": "labels and learners by regret or by return",
    "cpl-cartpole": "CPL on CartPole rollouts, against cloning",
    "language-nash": "a transformer against the exact Nash of a language",
    "story-judges": "story models trained to please judges that vote",
    "people-vs-models": "Bradley-Terry or a general model of people?",
}


class Parts(NamedTuple):
    """The two modules of a figure, as described above; the same one twice where a single file has all six."""

    compute: Any
    draw: Any


def main(command: commands.Reproduce) -> None:
    """List the figures, or make one."""
    if command.show_list:
        print(text.table(["figure", "what it shows"], list(FIGURES.items()), "<<"))
        return
    if command.name is None:
        raise InputError(f"no figure is named; name one of {', '.join(FIGURES)}, or give --list")
    foreign = "." in command.name and all(part.isidentifier() for part in command.name.split("."))
    name = command.name if foreign else command.name.replace("_", "-")
    if name not in FIGURES and not foreign:
        raise InputError(unknown(result_folder.check_name(name, "figure"), tuple(FIGURES), "figure"))
    if command.seeds is not None and command.seeds < 1:
        raise InputError(f"--seeds is {command.seeds}, but a number of seeds is >= 1; give another --seeds")
    default_folder = RESULTS / (f"{name}-quick" if command.quick else name)
    folder = default_folder if command.out is None else command.out
    # before anything else: a folder without a result is not made, and a second process is turned away at once
    stored = result_folder.read_result(folder) if command.redraw else None
    with result_folder.claim(folder) as run:
        figure = _load(name, running=stored is None)
        module = figure.compute
        config = _config(module, command) if stored is None else stored["config"]
        drawings = tuple(f"{name}.{kind}" for kind in ("png", "svg"))
        run.begin(f"reproduce {name}", config, (*drawings, "table.txt"))
        if stored is None:
            origin = provenance()
            result = _run(module, command)
            run.add_result(origin, result)
            run.save()
            _add_drawings(run, name, figure.draw, result)
        else:
            with _fitting(folder):
                result = _stored(module, command, stored, folder)
                _add_drawings(run, name, figure.draw, result)
    print(f"nlhf: wrote {', '.join(sorted(run.written))} to {folder}", file=sys.stderr)
    print(folder / "table.txt")


@contextlib.contextmanager
def _fitting(folder: pathlib.Path) -> Iterator[None]:
    """Turn the failure to draw an edited or foreign result into a message."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{folder / result_folder.RESULT}: does not fit this figure ({type(error).__name__}: "
            f"{str(error)[:80]}); run it again without --redraw"
        ) from None


def _load(name: str, *, running: bool = True) -> Parts:
    import jax
    import matplotlib

    # before any array: the floors of the curves are those of float64
    jax.config.update("jax_enable_x64", True)
    matplotlib.use("Agg")  # files only: no display is needed, and none is opened
    package = f"experiments.figures.{name.replace('-', '_')}" if name in FIGURES else name
    whole = _import(package)
    parts = Parts(whole, whole)
    if hasattr(whole, "__path__"):
        parts = Parts(_import(f"{package}.run"), _import(f"{package}.plot"))
    computing = ("Config", "Result", "quick", "run")[: 3 + running]
    for module, needed in ((parts.compute, computing), (parts.draw, ("plot", "table"))):
        missing = [thing for thing in needed if not hasattr(module, thing)]
        if missing:
            raise InputError(
                f"{module.__name__} has no {', '.join(missing)}, which a figure needs; see the docstring of "
                f"{__name__}"
            )
    return parts


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the figure needs
        raise InputError(f"there is no module {error.name}; start where it lies, or set PYTHONPATH") from None


def _config(module: Any, command: commands.Reproduce) -> Any:
    chosen: dict[str, Any] = {} if command.seeds is None else {"seeds": command.seeds}
    takes = {field.name for field in dataclasses.fields(module.Config)}
    if command.data is not None:
        if "data" not in takes:
            raise InputError(f"--data is {command.data}, but this figure reads no data; leave it out")
        chosen["data"] = str(command.data)
    if command.add:
        if "add" not in takes:
            raise InputError(f"--add is {command.add[0]}, but this figure has fixed methods; leave it out")
        chosen["add"] = command.add
    config = module.Config(**chosen)
    return module.quick(config) if command.quick else config


def _run(module: Any, command: commands.Reproduce) -> Any:
    progress = Progress()
    try:
        return module.run(_config(module, command), progress)
    finally:
        progress.close()


def _stored(module: Any, command: commands.Reproduce, stored: dict[str, Any], folder: pathlib.Path) -> Any:
    """Return the result in a folder, unless the command asks for another one."""
    if command.quick or command.add or command.seeds is not None or command.data is not None:
        wanted = records.encode(_config(module, command))
        if wanted != stored["config"]:
            raise InputError(
                f"{folder}: holds a run with other settings, and --redraw runs nothing; leave out --quick, "
                "--seeds, --data and --add, or leave out --redraw"
            )
    return records.decode(module.Result, stored["result"], f"{folder / result_folder.RESULT}: result")


def _add_drawings(run: result_folder.Run, name: str, drawing: Any, result: Any) -> None:
    import matplotlib

    figure = drawing.plot(result)
    # no date and, by the style, no random identifiers in the file: the same result gives the same bytes
    with matplotlib.rc_context(STYLE):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            run.add(f"{name}.{kind}", buffer.getvalue())
    table = drawing.table(result)
    run.add("table.txt", table if table.endswith("\n") else table + "\n")
