import json
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from experiments import cli, commands
from experiments.solve import games as games_table
from nlhf import ALGORITHMS

HELP_SECONDS = 0.5


def python(*words, **options):
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("words", [("--help",), ("solve", "--help"), ("reproduce", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(words):
    # in-process time is what we control; the test of seconds below allows for the machine
    code = (
        "import sys; from experiments.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'jax', 'numpy', 'scipy', 'matplotlib', 'optax'} & set(sys.modules); "
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    done = python("-c", code, *words)
    assert done.returncode == 0
    assert done.stderr.strip() == "set()"
    assert "nlhf" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["solve", "--help"]])
def test_help_answers_within_half_a_second(words):
    # processor seconds, not the clock's: other tests may share the machine
    code = (
        "import time; from experiments.cli import main; import sys; main(sys.argv[1:]); "
        "print(time.process_time(), file=sys.stderr)"
    )
    seconds = [float(python("-c", code, *words).stderr) for _ in range(3)]
    assert statistics.median(seconds) < HELP_SECONDS


def test_help_of_solve_names_every_algorithm(nlhf):
    shown = nlhf("solve", "--help").out
    for name in (*ALGORITHMS, *commands.SOLVERS):
        assert name in shown


@pytest.mark.parametrize("name", cli.EXAMPLES)
def test_help_shows_examples_and_no_empty_defaults(nlhf, name):
    shown = nlhf(name, "--help").out
    assert f"Examples:\n\n  nlhf {name} " in shown
    assert "(default: False)" not in shown
    assert "(default: )" not in shown
    assert "(default: None)" not in shown


def test_options_of_train_stand_in_groups_under_their_own_names(nlhf):
    shown = nlhf("train", "--help").out
    for group in ("model", "algorithm", "data", "optimiser", "run", "device"):
        assert f" {group} options " in shown
    assert "--learning-rate LR" in shown
    assert len(cli.EXAMPLES) == len(cli.MODULES)


def test_version(nlhf):
    done = nlhf("--version")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"nlhf {cli.version()}\n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("solv", "x"),
        ("solve",),
        ("solve", "x", "--beta", "abc"),
        ("bench",),
        ("bench", "x"),
        ("games", "x"),
    ],
)
def test_usage_errors_exit_with_2(nlhf, words):
    done = nlhf(*words)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err


def test_module_runs_the_same_program(game):
    done = python("-m", "experiments", "solve", game, "--beta", "0", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["policy"] == pytest.approx([4 / 11, 3 / 11, 4 / 11], abs=1e-15)


def test_interrupt_exits_with_130(nlhf, monkeypatch):
    def interrupted(command):
        raise KeyboardInterrupt

    monkeypatch.setattr(games_table, "main", interrupted)
    assert nlhf("games") == (130, "", "nlhf: interrupted\n")


def test_interrupt_while_working_leaves_nothing_behind(tmp_path):
    # a fifo-free way to be surely inside the run: the folder's lock appears first
    rows = "\n".join(",".join("0.5" for _ in range(400)) for _ in range(400))
    (tmp_path / "game.csv").write_text(rows)
    out = tmp_path / "out"
    words = ["solve", tmp_path / "game.csv", "--algorithm", "egpo", "--steps", "100000000", "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (out / ".lock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()  # it would count for ever
    assert process.returncode == 130
    assert err == "nlhf: interrupted\n"
    assert not out.exists()


def test_closed_pipe_is_quiet(nlhf, monkeypatch):
    def cut_off(command):
        raise BrokenPipeError

    monkeypatch.setattr(games_table, "main", cut_off)
    assert nlhf("games") == (141, "", "")


def test_closed_pipe_is_quiet_in_a_process(game):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "solve", str(game), "--beta", "0"],
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "error", [OSError("disk on fire"), ArithmeticError("no\nconvergence"), MemoryError()]
)
def test_failures_of_the_machine_are_one_line(nlhf, monkeypatch, error):
    def fail(command):
        raise error

    monkeypatch.setattr(games_table, "main", fail)
    done = nlhf("games")
    assert done.code == 1
    assert done.err.startswith("nlhf: error: ")
    assert done.err.count("\n") == 1


def test_faults_of_ours_keep_their_traceback(nlhf, monkeypatch):
    monkeypatch.setattr(games_table, "main", lambda command: {}["missing"])
    with pytest.raises(KeyError):
        nlhf("games")


def test_names_that_the_terminal_cannot_show(tmp_path):
    (tmp_path / "game.csv").write_text(",石,布\n石,0.5,0\n布,1,0.5\n", encoding="utf-8")
    done = python(
        "-m", "experiments", "solve", tmp_path / "game.csv", "--beta", "0",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "\\u5e03" in done.stdout


def test_the_pool_is_widened_once_and_a_given_number_stays(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    cli.widen_pool()
    assert int(os.environ["NPROC"]) >= 8
    monkeypatch.setenv("NPROC", "3")
    cli.widen_pool()
    assert os.environ["NPROC"] == "3"
