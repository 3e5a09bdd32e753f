"""nlhf: theory-backed preference optimisation, each algorithm written once for tables and transformers.

The public names below load on first use, so that a command line can answer before JAX is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nlhf.errors import InputError, RangeWarning

if TYPE_CHECKING:
    from nlhf.algorithms import ALGORITHMS
    from nlhf.algorithms import egpo
    from nlhf.algorithms import ipo_md
    from nlhf.algorithms import mpo
    from nlhf.algorithms import nash_md
    from nlhf.algorithms import nash_mirror_prox
    from nlhf.algorithms import nash_prox
    from nlhf.algorithms import omwu
    from nlhf.algorithms import online_mirror_descent
    from nlhf.base import Algorithm
    from nlhf.base import Claim
    from nlhf.base import Comparisons
    from nlhf.base import Constants
    from nlhf.base import Feedback
    from nlhf.base import Info
    from nlhf.base import Oracle
    from nlhf.base import PolicySpace

_BASE = ("Algorithm", "Claim", "Comparisons", "Constants", "Feedback", "Info", "Oracle", "PolicySpace")

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Claim",
    "Comparisons",
    "Constants",
    "Feedback",
    "Info",
    "InputError",
    "Oracle",
    "PolicySpace",
    "RangeWarning",
    "egpo",
    "ipo_md",
    "mpo",
    "nash_md",
    "nash_mirror_prox",
    "nash_prox",
    "omwu",
    "online_mirror_descent",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'nlhf' has no attribute {name!r}")
    return getattr(importlib.import_module("nlhf.base" if name in _BASE else "nlhf.algorithms"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
