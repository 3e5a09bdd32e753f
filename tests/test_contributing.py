"""The skeleton in CONTRIBUTING.md is code that runs and keeps the contract of an algorithm."""

import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest

from nlhf import online_mirror_descent
from tabular.families import biased_rock_paper_scissors
from tabular.games import make_game
from tabular.runner import run

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def skeleton(monkeypatch):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    module = types.ModuleType("skeleton")
    monkeypatch.setitem(sys.modules, "skeleton", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module.skeleton


def test_the_skeleton_runs_and_converges(skeleton):
    game = make_game(biased_rock_paper_scissors(), np.log([0.5, 0.2, 0.3]), beta=0.3)
    mine = run(skeleton(0.5, 0.3), game, num_steps=400, every=20)
    known = run(online_mirror_descent(0.5, 0.3), game, num_steps=400, every=20)
    np.testing.assert_array_equal(mine.of("duality_gap"), known.of("duality_gap"))
    assert mine.of("duality_gap")[-1] < 1e-25
    jax.tree.map(np.testing.assert_array_equal, mine.state.policy, known.state.policy)
