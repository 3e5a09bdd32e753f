"""The Python in the README runs as it stands."""

import pathlib
import re

import jax
import numpy as np
import pytest

from nlhf import LEARNERS, egpo

ROOT = pathlib.Path(__file__).parent.parent
BLOCKS = re.findall(
    r"```python\n(import jax\n.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL
)


def converges(space):
    trace = space["trace"]
    assert trace.of("kl_to_nash")[-1] < 1e-12 < 1e-4 < trace.of("kl_to_nash")[0]
    assert trace.of("duality_gap")[-1] < 1e-12


def learns(space):
    mean = space["trace"].of("suboptimality").mean(0)
    assert mean[-1] < 0.3 * mean[0]


def proves(space):
    space["test_my_theorem"]()
    false = space["mine"].__class__("false", "kl_to_nash", lambda t, known: known.kl_start / 1e3**t)
    with pytest.raises(AssertionError, match="false"):
        space["assert_claim"](false, lambda beta: egpo(1 / (beta + 0.5), beta), space["games"])


def trains(space):
    leaves = jax.tree.leaves(space["ended"].policy)
    assert len(leaves) > 20
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    won = (np.asarray(space["answers"]) == 0).all(-1).mean()
    assert won > 0.5  # 1/16 before: the policy has learnt what the judge prefers


CHECKS = (converges, learns, proves, trains)  # of each block, in order: what it promises is true


@pytest.mark.parametrize(("code", "check"), list(zip(BLOCKS, CHECKS, strict=True)))
def test_a_block_runs_and_does_what_it_says(code, check):
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    check(space)


def test_every_learner_is_in_the_table():
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("### Learners") : text.index("Signs and samplers")]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    assert named == set(LEARNERS)
