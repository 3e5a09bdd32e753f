"""``import tabular`` offers every public name, and loads nothing before one is used."""

import subprocess
import sys

import pytest

import tabular

FIRST = """
import sys, time
start = time.process_time()
import tabular
taken = time.process_time() - start
print([name for name in ("jax", "numpy", "scipy", "optax", "matplotlib") if name in sys.modules], taken < 0.5)
tabular.make_game([[0.5, 0.9], [0.1, 0.5]])
print("matplotlib" in sys.modules, callable(tabular.run), callable(tabular.exact))
"""


def test_the_import_is_light_and_names_load_on_first_use():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[] True", "False True True"]


@pytest.mark.parametrize("name", tabular.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(tabular, name).__doc__
    assert name in dir(tabular)


def test_another_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'tabular' has no attribute 'solve_game'"):
        tabular.solve_game  # noqa: B018
