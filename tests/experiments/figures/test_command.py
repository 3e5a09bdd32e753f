import dataclasses
import sys
import types

import numpy as np
import pytest

from experiments.figures import command as reproduce
from experiments.output import records
from experiments.output.progress import Progress
from nlhf.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    seeds: int = 4
    steps: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Result:
    config: Config
    curves: dict[str, np.ndarray]


def quick(config):
    return dataclasses.replace(config, steps=3)


def run(config, progress):
    if config.seeds > 100:
        raise InputError(f"seeds is {config.seeds}, but at most 100 are possible; give fewer")
    curves = {}
    for name in ("egpo", "omwu"):
        progress(name, 2)
        curves[name] = np.random.default_rng(config.seed).random((config.seeds, config.steps)) / 3
    return Result(config, curves)


def plot(result):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    for name, curve in result.curves.items():
        axes.plot(curve.mean(0), label=name)
    axes.legend()
    return figure


def table(result):
    return "\n".join(f"| {name} | {curve.mean():.17g} |" for name, curve in result.curves.items())


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The figure ``tiny``, whose module is this file; the working folder is tmp_path."""
    module = types.ModuleType("experiments.figures.tiny")
    for thing in (Config, Result, quick, run, plot, table):
        setattr(module, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, "experiments.figures.tiny", module)
    monkeypatch.setitem(reproduce.FIGURES, "tiny", "two random curves")
    monkeypatch.chdir(tmp_path)
    return module


FILES = ["result.json", "table.txt", "tiny.png", "tiny.svg"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_list(nlhf, tiny):
    done = nlhf("reproduce", "--list")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert ["tiny", "two random curves"] in [line.split(maxsplit=1) for line in lines]
    assert [line.split()[0] for line in lines[2:]] == list(reproduce.FIGURES)
    assert max(len(line) for line in lines) <= 80


def test_every_listed_module_keeps_the_interface():
    for name in reproduce.FIGURES:
        module, drawing = reproduce._load(name)
        assert dataclasses.is_dataclass(module.Config)
        assert module.Config.__dataclass_params__.frozen
        assert module.Config(seeds=2).seeds == 2
        assert isinstance(module.quick(module.Config()), module.Config)
        assert dataclasses.is_dataclass(module.Result)
        assert callable(module.run)
        assert callable(drawing.plot)
        assert callable(drawing.table)


def test_run_writes_figure_table_and_result(nlhf, tiny, tmp_path):
    done = nlhf("reproduce", "tiny")
    assert done.code == 0
    folder = tmp_path / "results" / "tiny"
    assert sorted(contents(folder)) == FILES
    assert done.out == "results/tiny/table.txt\n"
    assert done.err.splitlines() == [
        "nlhf: 1 of 2: egpo",
        "nlhf: 2 of 2: omwu",
        "nlhf: wrote result.json, table.txt, tiny.png, tiny.svg to results/tiny",
    ]
    stored = records.loads((folder / "result.json").read_text(), "result.json")
    assert stored["kind"] == "reproduce tiny"
    assert stored["config"] == {"seeds": 4, "steps": 10, "seed": 0}
    assert stored["provenance"]["float64"] is True
    expected = run(Config(), lambda what, total: None)
    for name, curve in records.decode(Result, stored["result"]).curves.items():
        np.testing.assert_array_equal(curve, expected.curves[name])


def test_same_run_gives_the_same_bytes(nlhf, tiny, tmp_path):
    for out in ("a", "b"):
        assert nlhf("reproduce", "tiny", "--out", out).code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_redraw_draws_the_same_without_running(nlhf, tiny, tmp_path, monkeypatch):
    assert nlhf("reproduce", "tiny", "--quick", "--seeds", "2", "--out", "a").code == 0
    before = contents(tmp_path / "a")
    monkeypatch.delattr(tiny, "run")
    (tmp_path / "a" / "tiny.png").unlink()
    (tmp_path / "a" / "tiny.svg").write_text("scribbled over")
    assert nlhf("reproduce", "tiny", "--redraw", "--out", "a").code == 0
    assert contents(tmp_path / "a") == before
    assert nlhf("reproduce", "tiny", "--redraw", "--quick", "--seeds", "2", "--out", "a").code == 0


def test_quick_and_seeds_reach_the_config(nlhf, tiny, tmp_path):
    assert nlhf("reproduce", "tiny", "--quick", "--seeds", "7", "--out", "a").code == 0
    stored = records.loads((tmp_path / "a" / "result.json").read_text(), "result.json")
    assert stored["config"] == {"seeds": 7, "steps": 3, "seed": 0}


def test_another_configuration_is_refused(nlhf, refused, tiny, tmp_path):
    assert nlhf("reproduce", "tiny", "--out", "a").code == 0
    before = contents(tmp_path / "a")
    refused("reproduce", "tiny", "--out", "a", "--quick", says=["a: ", "steps = 10, now 3", "--out"])
    refused("reproduce", "tiny", "--out", "a", "--redraw", "--seeds", "9", says=["other settings", "--seeds"])
    assert contents(tmp_path / "a") == before


def test_redraw_of_nothing_makes_nothing(refused, tiny, tmp_path):
    refused("reproduce", "tiny", "--redraw", says=["result.json", "no such file", "run the figure first"])
    assert contents(tmp_path) == {}


def test_redraw_of_another_figure_is_refused(nlhf, refused, tiny, game):
    assert nlhf("solve", game, "--beta", "0", "--out", "a").code == 0
    refused("reproduce", "tiny", "--redraw", "--out", "a", says=["'solve'", "'reproduce tiny'"])


def test_redraw_of_an_older_result_is_refused(nlhf, refused, tiny, tmp_path):
    assert nlhf("reproduce", "tiny", "--out", "a").code == 0
    path = tmp_path / "a" / "result.json"
    path.write_text(path.read_text().replace('"curves"', '"lines"'))
    refused(
        "reproduce", "tiny", "--redraw", "--out", "a", says=["result.json", "curves", "run the figure again"]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), ["name one of", "convergence", "--list"]),
        (("convergense",), ["'convergense'", "did you mean convergence?"]),
        (("../x",), ["'../x'", "not a name"]),
        (("/etc/passwd",), ["not a name"]),
        (("tiny", "--seeds", "0"), ["--seeds is 0", ">= 1"]),
        (("tiny", "--seeds", "101"), ["seeds is 101", "give fewer"]),
    ],
)
def test_bad_arguments_are_refused_and_leave_nothing(nlhf, tiny, tmp_path, words, says):
    done = nlhf("reproduce", *words)
    assert done.code == 2
    assert done.err.count("\n") == 1
    for text in says:
        assert text in done.err
    assert contents(tmp_path) == {}


STRANGER = """import dataclasses
@dataclasses.dataclass(frozen=True)
class Config:
    seeds: int = 2
@dataclasses.dataclass(frozen=True)
class Result:
    config: Config
    height: float
def quick(config):
    return config
def run(config, progress):
    progress("the only part", 1)
    return Result(config, float(config.seeds))
def plot(result):
    from matplotlib.figure import Figure
    figure = Figure()
    figure.subplots().plot([0, result.height])
    return figure
def table(result):
    return f"height {result.height}"
"""


def test_a_figure_of_a_stranger_is_found_in_the_working_directory(nlhf, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_figures").mkdir()
    (tmp_path / "my_figures" / "tower.py").write_text(STRANGER)
    assert nlhf("reproduce", "my_figures.tower", "--seeds", "5").code == 0
    folder = tmp_path / "results" / "my_figures.tower"
    assert (folder / "table.txt").read_text() == "height 5.0\n"
    assert nlhf("reproduce", "my_figures.tower", "--redraw").code == 0
    (tmp_path / "my_figures" / "half.py").write_text(STRANGER.replace("def plot", "def draw"))
    refused("reproduce", "my_figures.half", says=["my_figures.half has no plot", "a figure needs"])
    refused("reproduce", "my_figures.none", says=["no module my_figures.none", "PYTHONPATH"])
    assert not (tmp_path / "results" / "my_figures.half").exists()


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress()
    for name in ("first", "second"):
        progress(name, 2)
    assert progress._bar.n == 1  # the second is announced, not done
    assert progress._bar.total == 2
    progress.close()
    assert "second" in capsys.readouterr().err
