"""nlhf: theory-backed preference optimisation, each algorithm written once for tables and transformers.

The public names below load on first use, so that a command line can answer before JAX is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

from nlhf.errors import InputError, RangeWarning

if TYPE_CHECKING:
    from nlhf.algorithms import ALGORITHMS
    from nlhf.algorithms import LEARNERS
    from nlhf.algorithms import behaviour_cloning
    from nlhf.algorithms import cpl
    from nlhf.algorithms import dpo
    from nlhf.algorithms import egpo
    from nlhf.algorithms import ipo
    from nlhf.algorithms import ipo_md
    from nlhf.algorithms import kl_ucb
    from nlhf.algorithms import mpo
    from nlhf.algorithms import nash_md
    from nlhf.algorithms import nash_mirror_prox
    from nlhf.algorithms import nash_prox
    from nlhf.algorithms import omwu
    from nlhf.algorithms import online_mirror_descent
    from nlhf.algorithms import rlhf
    from nlhf.algorithms import slic
    from nlhf.algorithms import vpo
    from nlhf.algorithms import xpo
    from nlhf.algorithms import xpo_previous
    from nlhf.base import Algorithm
    from nlhf.base import Calibration
    from nlhf.base import Claim
    from nlhf.base import Comparisons
    from nlhf.base import Constants
    from nlhf.base import Feedback
    from nlhf.base import Info
    from nlhf.base import Oracle
    from nlhf.base import PolicySpace

_BASE = (
    "Algorithm",
    "Calibration",
    "Claim",
    "Comparisons",
    "Constants",
    "Feedback",
    "Info",
    "Oracle",
    "PolicySpace",
)

__all__ = [
    "ALGORITHMS",
    "LEARNERS",
    "Algorithm",
    "Calibration",
    "Claim",
    "Comparisons",
    "Constants",
    "Feedback",
    "Info",
    "InputError",
    "Oracle",
    "PolicySpace",
    "RangeWarning",
    "behaviour_cloning",
    "cpl",
    "dpo",
    "egpo",
    "ipo",
    "ipo_md",
    "kl_ucb",
    "mpo",
    "nash_md",
    "nash_mirror_prox",
    "nash_prox",
    "omwu",
    "online_mirror_descent",
    "rlhf",
    "slic",
    "vpo",
    "xpo",
    "xpo_previous",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module 'nlhf' has no attribute {name!r}")
    return getattr(importlib.import_module("nlhf.base" if name in _BASE else "nlhf.algorithms"), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
