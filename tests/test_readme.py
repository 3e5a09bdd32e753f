"""The Python in the README runs as it stands."""

import pathlib
import re

import pytest

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


def test_both_blocks_are_found():
    assert len(BLOCKS) == 2
