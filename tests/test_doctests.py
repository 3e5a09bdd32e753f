"""Every example in a docstring of the library and of the tabular world runs as written."""

import doctest
import importlib
import pkgutil

import pytest

import nlhf
import tabular

NEEDS_MORE = ("nlhf.transformer",)  # its optional dependencies have tests of their own


def modules():
    for package in (nlhf, tabular):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.startswith(NEEDS_MORE):
                yield module.name


@pytest.mark.parametrize("name", list(modules()))
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_some_examples_were_found():
    for name in ("nlhf.base", "tabular.games"):
        assert doctest.testmod(importlib.import_module(name)).attempted >= 2
