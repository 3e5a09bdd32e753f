"""``nlhf bench``: run a benchmark module, save and print what it measured."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from experiments import commands
from experiments.output import records, result_folder
from experiments.output.provenance import provenance

MODULES = {
    "tabular": "experiments.bench.tabular",
    "cpl": "experiments.bench.cpl",
    "transformer": "experiments.bench.transformer",
}


def main(command: commands.Bench) -> None:
    """Run the command."""
    if command.out is None:
        module, result = _run(command, None)
    else:
        with result_folder.claim(command.out) as run:
            origin = provenance()
            module, result = _run(command, run)
            run.add("table.txt", _lines(module, result))
            run.add_result(origin, result)
        print(f"nlhf: wrote {command.out}/{result_folder.RESULT} and table.txt", file=sys.stderr)
    if command.json:
        print(json.dumps(records.encode(result), allow_nan=False))
    else:
        print(_lines(module, result), end="")


def _run(command: commands.Bench, run: result_folder.Run | None) -> tuple[Any, Any]:
    """Return the module and what it measured, after the folder has been checked."""
    import jax

    jax.config.update("jax_enable_x64", True)  # before any array: what is timed is what users run
    module = importlib.import_module(MODULES[command.target])
    config = module.Config(quick=command.quick)
    if run is not None:
        run.begin(f"bench {command.target}", config, ("table.txt",))
    return module, module.run(config)


def _lines(module: Any, result: Any) -> str:
    report = module.report(result)
    return report if report.endswith("\n") else report + "\n"
