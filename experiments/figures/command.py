"""``nlhf reproduce``: the list of figures, and the one way in which each is run, saved and drawn.

A figure is a module with a frozen dataclass ``Config`` (with ``seeds``), a dataclass ``Result`` of plain
data, ``quick(config) -> Config``, ``run(config, progress) -> Result``, ``plot(result) -> Figure`` and
``table(result) -> str``. A ``Config`` with a field ``data`` takes the folder of ``--data``; without it the
figure uses what is embedded in the package.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io as bytes_io
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from experiments import commands
from experiments.output import records, result_folder, text
from experiments.output.progress import Progress
from experiments.output.provenance import provenance
from experiments.output.style import STYLE
from nlhf.errors import InputError

RESULTS = pathlib.Path("results")


class Figure(NamedTuple):
    """An entry of the list.

    Attributes:
      module: its module's path.
      description: one line.
    """

    module: str
    description: str


FIGURES: dict[str, Figure] = {
    "convergence": Figure(
        "experiments.figures.convergence.run", "every algorithm on six games, beside its bounds"
    ),
    "slack": Figure("experiments.figures.slack.run", "measured/bound of every claim, step by step"),
    "breaking_points": Figure(
        "experiments.figures.breaking_points.run", "step size x β: where claims hold and are violated"
    ),
    "xpo-exploration": Figure(
        "experiments.figures.xpo_exploration.run", "what XPO finds and online DPO does not"
    ),
    "vpo-bandit": Figure(
        "experiments.figures.vpo_bandit.run", "regret of VPO and its rivals online, on bandits"
    ),
    "vpo-offline": Figure(
        "experiments.figures.vpo_offline.run", "pessimistic VPO and its rivals on data sets"
    ),
    "exploration-phase-diagram": Figure(
        "experiments.figures.exploration_phase_diagram.run", "regret over (T, 1/β), method by method"
    ),
    "cpl-consistency": Figure(
        "experiments.figures.cpl_consistency.run", "CPL on n labelled segments, and on wrong labels"
    ),
    "regret-vs-return": Figure(
        "experiments.figures.regret_vs_return.run", "labels and learners by regret or by return"
    ),
    "cpl-cartpole": Figure(
        "experiments.figures.cpl_cartpole.run", "CPL on CartPole rollouts, against cloning"
    ),
    "language-nash": Figure(
        "experiments.figures.language_nash.run", "a transformer against the exact Nash of a language"
    ),
    "story-judges": Figure(
        "experiments.figures.story_judges.run", "story models trained to please judges that vote"
    ),
    "people-vs-models": Figure(
        "experiments.figures.people_vs_models.run", "Bradley-Terry or a general model of people?"
    ),
}


def main(command: commands.Reproduce) -> None:
    """Run the command: list the figures, or make one."""
    if command.show_list:
        rows = [(name, figure.description) for name, figure in FIGURES.items()]
        print(text.table(["figure", "what it shows"], rows, "<<"))
        return
    if command.name is None:
        raise InputError(f"no figure is named; name one of {', '.join(FIGURES)}, or give --list")
    if command.name not in FIGURES:
        raise InputError(
            text.unknown(result_folder.check_name(command.name, "figure"), tuple(FIGURES), "figure")
        )
    if command.seeds is not None and command.seeds < 1:
        raise InputError(f"--seeds is {command.seeds}, but a number of seeds is >= 1; give another --seeds")
    default_folder = RESULTS / (f"{command.name}-quick" if command.quick else command.name)
    folder = default_folder if command.out is None else command.out
    # before anything else: a folder without a result is not made, and a second process is turned away at once
    stored = result_folder.read_result(folder) if command.redraw else None
    with result_folder.claim(folder) as run:
        module = _load(command.name)
        config = _config(module, command) if stored is None else stored["config"]
        drawings = tuple(f"{command.name}.{kind}" for kind in ("png", "svg"))
        run.begin(f"reproduce {command.name}", config, (*drawings, "table.txt"))
        if stored is None:
            origin = provenance()
            result = _run(module, command)
            run.add_result(origin, result)
            run.save()
            _add_drawings(run, command.name, module, result)
        else:
            with _fitting(folder):
                result = _stored(module, command, stored, folder)
                _add_drawings(run, command.name, module, result)
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
            f"{folder / result_folder.RESULT}: does not fit this figure ({type(error).__name__}: {str(error)[:80]}); "
            "run it again without --redraw"
        ) from None


def _load(name: str) -> Any:
    import jax
    import matplotlib

    # before any array: the floors of the curves are those of float64
    jax.config.update("jax_enable_x64", True)
    matplotlib.use("Agg")  # files only: no display is needed, and none is opened
    return importlib.import_module(FIGURES[name].module)


def _config(module: Any, command: commands.Reproduce) -> Any:
    chosen: dict[str, Any] = {} if command.seeds is None else {"seeds": command.seeds}
    if command.data is not None:
        if "data" not in {field.name for field in dataclasses.fields(module.Config)}:
            raise InputError(f"--data is {command.data}, but this figure reads no data; leave it out")
        chosen["data"] = str(command.data)
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
    if command.quick or command.seeds is not None or command.data is not None:
        wanted = records.encode(_config(module, command))
        if wanted != stored["config"]:
            raise InputError(
                f"{folder}: holds a run with other settings, and --redraw runs nothing; leave out --quick, "
                "--seeds and --data, or leave out --redraw"
            )
    return records.decode(module.Result, stored["result"], f"{folder / result_folder.RESULT}: result")


def _add_drawings(run: result_folder.Run, name: str, module: Any, result: Any) -> None:
    import matplotlib

    figure = module.plot(result)
    # no date and, by the style, no random identifiers in the file: the same result gives the same bytes
    with matplotlib.rc_context(STYLE):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            buffer = bytes_io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            run.add(f"{name}.{kind}", buffer.getvalue())
    table = module.table(result)
    run.add("table.txt", table if table.endswith("\n") else table + "\n")
