"""The console script ``nlhf`` and ``python -m nlhf``: our own packages, whatever else lies on the path.

Beside this package stand three with common names. A folder on the path may well have an ``experiments`` or a
``tabular`` of its own, and the command must not run that one.
"""

import importlib.machinery
import pathlib
import sys
from collections.abc import Sequence

NEIGHBOURS = ("tabular", "proofs_checks", "experiments")


class Neighbours:
    """A finder that takes these packages from the folder of ``nlhf``, and leaves the rest to Python."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> object:
        """Return where one of the packages lies, ``None`` for any other module."""
        if name not in NEIGHBOURS:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [str(pathlib.Path(__file__).parents[1])])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``experiments.cli.main``."""
    if Neighbours not in sys.meta_path:
        sys.meta_path.insert(0, Neighbours)  # type: ignore[arg-type]
    from experiments import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
