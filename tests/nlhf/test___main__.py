import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# what the console script does, with nlhf installed behind the working directory and PYTHONPATH
SCRIPT = f"import sys; sys.path.insert(2, {str(ROOT)!r}); from nlhf.__main__ import main; sys.exit(main())"


@pytest.fixture
def hostile(tmp_path):
    """A folder whose own packages have the names of ours, and a game."""
    for name in ("experiments", "tabular", "proofs_checks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    (tmp_path / "game.csv").write_text("0.5,0.9\n0.1,0.5\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--version",), "nlhf "),
        (("games",), "rock_paper_scissors"),
        (("solve", "game.csv", "--beta", "0"), "exact rational certificate"),
    ],
)
def test_packages_of_the_same_names_on_the_path_do_no_harm(hostile, words, says):
    environment = {**os.environ, "PYTHONPATH": "."}
    started = (sys.executable, "-c", SCRIPT, *words)
    done = subprocess.run(started, cwd=hostile, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert says in done.stdout


def test_python_minus_m_is_the_same_program(hostile):
    done = subprocess.run(
        (sys.executable, "-m", "nlhf", "solve", "game.csv", "--beta", "0"),
        cwd=hostile, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "exact rational certificate" in done.stdout
