"""nlhf: theory-backed preference optimisation, each algorithm written once for tables and transformers.

>>> from nlhf import default, egpo
>>> default("egpo", beta=0.1).claims == egpo(step_size=1 / 0.6, beta=0.1).claims
True

The public names load on first use, so that a command line can answer before JAX is imported.
"""

from nlhf.algorithms import __all__ as _methods
from nlhf.faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Algorithm": "nlhf.base",
        "Calibration": "nlhf.base",
        "Claim": "nlhf.base",
        "Comparisons": "nlhf.base",
        "Constants": "nlhf.base",
        "Feedback": "nlhf.base",
        "Info": "nlhf.base",
        "InputError": "nlhf.errors",
        "Method": "nlhf.method",
        "Oracle": "nlhf.base",
        "PolicySpace": "nlhf.base",
        "PolicyState": "nlhf.base",
        "RangeWarning": "nlhf.errors",
        "default": "nlhf.method",
        "find": "nlhf.method",
        "setup": "nlhf.environment",
        **dict.fromkeys(_methods, "nlhf.algorithms"),
    },
)
