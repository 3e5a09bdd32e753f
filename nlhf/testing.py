"""The contract that every algorithm keeps, as tests for anybody's pytest.

In a test file of your own::

    from nlhf.testing import contract

    TestMine = contract("my_module:my_method")

The checks live in ``proofs_checks.contract``, above this package, and load on first use.
"""

import importlib
from typing import Any

PUBLIC = ("AlgorithmContract", "LearnerContract", "contract")


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("proofs_checks.contract"), name)
