"""Every example in a docstring runs as written, and says what comes out."""

import doctest
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PATHS = [
    path.relative_to(ROOT).with_suffix("")
    for package in ("nlhf", "tabular", "proofs_checks", "experiments")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>>" in path.read_text("utf-8")
]


@pytest.mark.parametrize("name", [".".join(path.parts).removesuffix(".__init__") for path in PATHS])
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        assert not test.examples or any(each.want for each in test.examples), f"{test.name} asserts nothing"
