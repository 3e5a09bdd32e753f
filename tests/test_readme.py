"""The Python in the README runs as it stands."""

import pathlib
import re

import pytest

from nlhf.algorithms import LEARNERS

ROOT = pathlib.Path(__file__).parent.parent
BLOCKS = re.findall(
    r"```python\n(import jax\n.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL
)


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block{i}" for i in range(len(BLOCKS))])
def test_a_block_runs(code):
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    for name in [name for name in space if name.startswith("test_")]:
        space[name]()


def test_all_blocks_are_found():
    assert len(BLOCKS) == 4


def test_every_learner_is_in_the_table():
    text = (ROOT / "README.md").read_text("utf-8")
    table = text[text.index("### Learners") : text.index("Signs and samplers")]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    )
    assert named == set(LEARNERS)
