"""A package's public names, each loaded from its home on first use: light to import, complete to list."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def face(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return what a package's ``__getattr__``, ``__dir__`` and ``__all__`` should be.

    Args:
      package: ``__name__`` of the package.
      homes: module of each public name; ``module:other`` where the name there is another one, and the name's
        own module where the name is a module itself.
    """
    names = list(homes)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}")
        module, _, other = homes[name].partition(":")
        found = importlib.import_module(module)
        return found if module == f"{package}.{name}" else getattr(found, other or name)

    return load, lambda: names, names
