"""Every example in a docstring runs as written."""

import doctest
import importlib
import pkgutil

import pytest

import experiments
import nlhf
import proofs_checks
import tabular

NEEDS_MORE = ("nlhf.transformer",)  # its optional dependencies have tests of their own


def modules():
    for package in (nlhf, tabular, proofs_checks, experiments):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.startswith(NEEDS_MORE) and not module.name.endswith("__main__"):
                yield module.name


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_some_examples_were_found():
    for name in ("nlhf.base", "tabular.games"):
        assert doctest.testmod(importlib.import_module(name)).attempted >= 2
