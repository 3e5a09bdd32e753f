"""What every algorithm must do, whoever wrote it: classes of checks for pytest, also as ``nlhf.testing``.

In a test file of one's own, ``TestMine = contract("my_module:my_method")`` is collected like any other class
of tests; ``contract(my_method)``, with a factory or a ``Method``, does the same. Our own algorithms go
through the same checks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlhf.method import Method, as_method
from proofs_checks.contract.algorithms import AlgorithmContract
from proofs_checks.contract.learners import LearnerContract

__all__ = ["AlgorithmContract", "LearnerContract", "contract"]


def contract(method: str | Method | Callable, **settings: Any) -> type:
    """Make the class of checks of an algorithm, for pytest to collect under a name that starts with Test.

    Args:
      method: as in ``nlhf.find``, a record, or a factory.
      **settings: arguments of the factory, in the place of their defaults.

    Raises:
      InputError: if it is no algorithm.
    """
    record = as_method(method)
    base: type = LearnerContract if record.learns else AlgorithmContract
    return type(f"Test_{record.name}", (base,), {"method": record, "settings": settings})
