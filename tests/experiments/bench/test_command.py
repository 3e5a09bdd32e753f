import dataclasses
import json
import sys
import types

import pytest

from experiments.bench import command as bench
from experiments.output import result_folder


@dataclasses.dataclass(frozen=True)
class Config:
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    config: Config
    seconds: float


@pytest.fixture
def fake(monkeypatch):
    """A benchmark that takes no time, in place of the real one."""
    module = types.ModuleType("experiments.fake")
    module.Config = Config
    module.run = lambda config: Result(config, 0.25 if config.quick else 0.5)
    module.report = lambda result: f"seconds  {result.seconds}"
    monkeypatch.setitem(sys.modules, "experiments.fake", module)
    monkeypatch.setitem(bench.MODULES, "tabular", "experiments.fake")


def test_table_and_json(nlhf, fake):
    assert nlhf("bench", "tabular") == (0, "seconds  0.5\n", "")
    done = nlhf("bench", "tabular", "--quick", "--json")
    assert json.loads(done.out) == {"config": {"quick": True}, "seconds": 0.25}


def test_out(nlhf, refused, fake, tmp_path):
    out = tmp_path / "out"
    assert nlhf("bench", "tabular", "--out", out).code == 0
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "table.txt"]
    assert result_folder.read_result(out)["kind"] == "bench tabular"
    refused("bench", "tabular", "--quick", "--out", out, says=["quick = False, now True"])
