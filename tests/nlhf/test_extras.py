import pathlib
import subprocess
import sys
import tomllib

import pytest

from nlhf import extras
from nlhf.errors import InputError

PROJECT = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
# the base installation, run several command lines after another
BASE = f"""
import sys
sys.modules |= dict.fromkeys({tuple(extras.EXTRAS)!r})
import importlib, json
from experiments.cli import main
for name in ("run", "plot"):
    importlib.import_module("experiments.figures.convergence." + name)
for line in sys.argv[1:]:
    code = main(json.loads(line))
    print("code", code, file=sys.stderr)
"""


def test_every_optional_package_is_in_the_table():
    named = {
        (extra, requirement.split(">=")[0].replace("-", "_").removesuffix("_checkpoint"))
        for extra, requirements in PROJECT["optional-dependencies"].items()
        for requirement in requirements
        if extra not in ("cuda", "tpu")
    }
    assert named == {(extra, package) for package, extra in extras.EXTRAS.items()}


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"^a file needs gguf, .*; run: pip install 'nlhf\[gguf\]'$"):
        extras.load("gguf", "a file")
    with pytest.raises(ModuleNotFoundError):
        extras.load("no_such_module", "a file")


def test_the_base_installation_solves_and_checks_and_names_the_extra_for_the_rest(tmp_path):
    (tmp_path / "game.csv").write_text("0.5,0.9\n0.1,0.5\n")
    (tmp_path / "run").mkdir()
    lines = [
        '["solve", "game.csv", "--beta", "0"]',
        '["check", "--claim", "game.skew"]',
        '["train", "--out", "made/here"]',
        '["reproduce", "language-nash", "--quick"]',
        '["export", "run", "made"]',
    ]
    done = subprocess.run(
        [sys.executable, "-c", BASE, *lines], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("code", "nlhf: error: "))]
    assert [line for line in said if line.startswith("code")] == ["code 0"] * 2 + ["code 2"] * 3
    errors = [line for line in said if not line.startswith("code")]
    assert len(errors) == 3
    for line in errors:
        assert line.endswith(", which is not installed; run: pip install 'nlhf[lm]'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["game.csv", "run"]
