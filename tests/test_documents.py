"""Every program in README and in the documents runs as it stands, and asserts something itself."""

import ast
import pathlib
import re

import pytest

from experiments.figures.command import FIGURES

ROOT = pathlib.Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "experiments/docs").glob("*.md"))]


def programs(text):
    """Python blocks that import something: the others are excerpts."""
    return re.findall(r"```python\n((?:import|from) .*?)```", text, flags=re.DOTALL)


BLOCKS = [
    pytest.param(code, id=f"{path.stem}-{place}")
    for path in DOCUMENTS
    for place, code in enumerate(programs(path.read_text("utf-8")))
]


def asserts(code):
    """Whether a program checks a result: by an assertion of its own, or by one of ours or of pytest."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assert) or (
            isinstance(node, ast.Attribute | ast.Name)
            and (getattr(node, "attr", None) or getattr(node, "id", None)) in ("assert_claim", "raises")
        ):
            return True
    return False


@pytest.mark.parametrize("code", BLOCKS)
def test_a_program_runs_and_asserts(code):
    assert asserts(code)
    space = {"__name__": "document"}
    exec(compile(code, "document", "exec"), space)
    for name in [name for name in space if name.startswith("test_")]:
        space[name]()


def test_programs_that_assert_nothing_are_found():
    assert not asserts("import jax\nprint(jax)")
    assert asserts("assert 1 == 1")


def test_readme_is_short_and_begins_with_a_short_program():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.encode()) <= 9 * 1024
    first = [line for line in programs(text)[0].splitlines() if line.strip()]
    assert len(first) <= 8
    assert sum(line.startswith(("import", "from")) for line in first) <= 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_every_figure_is_described():
    text = (ROOT / "experiments/docs/figures.md").read_text("utf-8")
    table = "".join(f"| `{name}` | {shown} |\n" for name, shown in FIGURES.items())
    assert table in text
