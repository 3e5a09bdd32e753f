"""A run is what its command says, goes on where it was stopped, and refuses what would be another run."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lm_runs import CRITERIA, command, data_settings, make_base, pairs, prompts, write_rows

from experiments.cli import main
from experiments.commands import Train
from experiments.language_models import settings as lm_settings
from experiments.language_models import train
from experiments.language_models.source import load_base, load_policy, read_run
from experiments.language_models.train_data import load_data
from experiments.output.lock import BusyError, acquire, release
from nlhf import METHODS
from nlhf.errors import InputError
from nlhf.method import make
from nlhf.replay import buffer
from nlhf.transformer.model import sharding
from nlhf.transformer.responses import empty
from nlhf.transformer.runs.log import read_lines
from nlhf.transformer.runs.restore import find_steps

PLAN = lm_settings.Plan(steps=100, batch=32, offline=False)


@pytest.fixture
def place(tmp_path):
    make_base(tmp_path / "base")
    prompts(tmp_path / "prompts.jsonl")
    pairs(tmp_path / "pairs.jsonl")
    return tmp_path


def policy(run):
    return load_policy(run)[0].params


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_run_that_is_continued_is_the_run_that_was_not_interrupted(place, capsys):
    assert train.main(command(place, steps=3)) == 0
    assert train.main(command(place, steps=1, out=place / "parts")) == 0
    assert train.main(command(place, steps=3, out=place / "parts")) == 0
    equal(policy(place / "run"), policy(place / "parts"))
    lines = read_lines(place / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert abs(lines[0]["kl"]) < 1e-5  # the start of both curves: the reference against itself
    assert {"win_rate", "kl", "length"} <= set(lines[-1])
    # the first part ended, and hence was evaluated, at its own last step; all else is equal, byte by byte
    others = read_lines(place / "parts" / "metrics.jsonl")
    assert others[:1] + others[2:] == lines[:1] + lines[2:]
    # the record of an extended run says how long it is, and no shorter command takes that back
    assert read_run(place / "parts")["settings"] == read_run(place / "run")["settings"] | {
        "out": str(place / "parts")
    }
    capsys.readouterr()
    assert train.main(command(place, steps=2, out=place / "parts")) == 0
    assert "has made 3 steps already; give --steps above 3 to train on" in capsys.readouterr().err
    assert read_run(place / "parts")["settings"]["steps"] == 3
    _, reference = load_policy(place / "run")
    moved = jax.tree.map(lambda new, old: np.abs(new - old).max(), policy(place / "run"), reference.params)
    assert max(jax.tree.leaves(moved)) > 0
    with pytest.raises(InputError, match=r"other settings.*beta"):
        train.main(command(place, steps=3, beta=0.5))
    with pytest.raises(InputError, match="run with other settings"):
        train.main(command(place, steps=3, algorithm="nash_md"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "xpo"},
        {"algorithm": "vpo", "lora": 2, "soft_labels": True},
        {"algorithm": "nash_md", "rows": 2, "updates": 2, "remat": True},
        {"algorithm": "dpo", "judge": "data", "data": "pairs.jsonl"},
        {"mode": "sft", "judge": None, "data": "pairs.jsonl"},
        {"mode": "reward", "judge": None, "data": "pairs.jsonl"},
        {"mode": "pairwise", "judge": None, "data": "pairs.jsonl"},
        {"dtype": "bfloat16", "decay": True, "warmup": 1},
    ],
    ids=str,
)
def test_every_kind_of_run_ends_with_a_checkpoint(place, changes):
    if "data" in changes:
        changes = {**changes, "data": place / changes["data"]}
    assert train.main(command(place, **changes)) == 0
    last = read_lines(place / "run" / "metrics.jsonl")[-1]
    assert last["step"] == 2
    assert all(np.isfinite(value) for value in last.values())
    assert (place / "run" / "checkpoints" / "steps" / "2").is_dir()


@pytest.mark.slow
def test_a_trained_judge_judges_the_next_run(place):
    assert (
        train.main(command(place, mode="reward", judge=None, data=place / "pairs.jsonl", out=place / "rm"))
        == 0
    )
    assert train.main(command(place, judge=f"reward:{place / 'rm'}")) == 0
    with pytest.raises(InputError, match="--mode reward, but the judge is pairwise"):
        train.main(command(place, judge=f"pairwise:{place / 'rm'}", out=place / "other"))
    with pytest.raises(InputError, match="trained a judge"):
        load_policy(place / "rm")


def test_the_loss_of_labelled_pairs_falls(place):
    # eight steps of offline DPO on one rule: the implicit reward ranks pairs it has not seen
    done = command(
        place,
        algorithm="dpo",
        judge="data",
        data=place / "pairs.jsonl",
        steps=8,
        learning_rate=3e-3,
        beta=0.1,
    )
    assert train.main(done) == 0
    last = read_lines(place / "run" / "metrics.jsonl")[-1]
    assert last["accuracy"] > 0.85
    assert last["margin"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps is 0"),
        ({"responses": 1}, "--responses is 1"),
        ({"learning_rate": 0.0}, "--learning-rate is 0.0"),
        ({"skip_bad": 2.0}, "--skip-bad is 2.0"),
        ({"rows": 3}, "must divide --batch, 4"),
        ({"algorithm": "ppo"}, "'ppo' is not an algorithm; did you mean xpo"),
        ({"algorithm": "kl_ucb"}, "algorithm is 'kl_ucb'"),
        ({"optimism": 0.1}, "--optimism is 0.1, but egpo takes step_size, beta"),
        ({"judge": "data"}, "--algorithm is egpo, which asks a judge"),
        ({"judge": "data", "algorithm": "xpo"}, "--algorithm is xpo, which takes the second response"),
        ({"mode": "sft"}, "--judge is given, but --mode sft takes none"),
        ({"mode": "reward", "judge": None, "lora": 2}, "a judge is trained whole"),
        ({"mode": "reward", "judge": None, "updates": 2}, "leave --updates out"),
        ({"mode": "pairwise", "judge": None, "beta": 0.1}, "leave --beta out"),
        ({"judge": "data", "algorithm": "dpo", "soft_labels": True}, "labels are those of the data"),
        ({"preset": "tiny"}, "give one of them"),
        ({"process": 1}, "--process is 1"),
        ({"processes": 2, "model": None}, "pretrained by one process"),
        ({"judge": "population:beauty"}, "'beauty' is not a criterion"),
        ({"judge": "table"}, "enumerable language"),
        ({"mesh": "data=3"}, "3 x 1 x 1 = 3 devices"),
        ({"mesh": "model=1"}, "axis 'model'"),
        ({"prompt_length": 60}, "context is 64"),
        ({"held_out": 12}, "take less"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_break_a_rule_are_refused(place, changes, message):
    with pytest.raises(InputError, match=message):
        train.main(command(place, **changes))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2"),
        ('{"answer": "x"}', "prompt"),
        ('{"prompt": 3}', "prompt"),
        ('{"prompt": ""}', "empty"),
    ],
)
def test_malformed_rows_are_refused_by_line_and_left_out_on_request(place, row, message):
    path = write_rows(place / "bad.jsonl", [{"prompt": "One:"}])
    with path.open("a", encoding="utf-8") as stream:
        stream.write(row + "\n")
    with pytest.raises(InputError, match=message):
        train.main(command(place, data=path))


def test_a_model_of_other_tokens_has_no_prompts_of_its_own(place):
    base = load_base(None, place / "base", print)
    named = base._replace(tokenizer=base.tokenizer._replace(name="theirs"))
    with pytest.raises(InputError, match="give them with --data"):
        load_data(data_settings(command(place, data=None)), named)


def test_held_out_prompts_that_are_trained_on_are_counted(place):
    base = load_base(None, place / "base", print)
    said = []
    prompts(place / "prompts.jsonl")
    load_data(data_settings(command(place)), base, said.append)
    assert said == ["data: 12 of 12 rows kept"]
    write_rows(place / "twice.jsonl", [{"prompt": f"Story {index // 6}:"} for index in range(12)])
    load_data(data_settings(command(place, data=place / "twice.jsonl")), base, said.append)
    assert said[-1].startswith("warning: 4 of the 4 held-out prompts are trained on too")


def test_the_judge_is_looked_for_before_the_model_is_loaded(place, monkeypatch):
    monkeypatch.setattr(train, "load_base", lambda *_, **__: pytest.fail("loaded first"))
    for judge, message in (
        ("gpt4", "no judge 'gpt4'"),
        ("python:my_judge.judge", "cannot be read; give python:MODULE:FUNCTION"),
        ("python:no_such_module:judge", "cannot be imported"),
        (f"reward:{place}", "name the folder of a run"),
    ):
        with pytest.raises(InputError, match=message):
            train.main(command(place, judge=judge))
    assert not (place / "run").exists()


def test_answers_of_a_judge_are_kept_in_the_folder(place, monkeypatch):
    asked = []

    def judge(pairs):
        if len(asked) > 2:
            raise KeyError("choices")
        asked.append(pairs)
        return [0.5] * len(pairs)

    monkeypatch.setitem(sys.modules, "my_judge", types.SimpleNamespace(judge=judge))
    run = command(place, judge="python:my_judge:judge", steps=50)
    with pytest.raises(InputError, match=r"KeyError .*test_train\.py:\d+ .*are kept in .*run/judge\.jsonl"):
        train.main(run)
    kept = (place / "run" / "judge.jsonl").read_text().count("\n")
    assert kept == sum(len(pairs) for pairs in asked)


def numbers(name, asked=PLAN, **given):
    return lm_settings.hyper_parameters(lm_settings.find_method(name, asked), asked, given)


def on_language_models():
    return [name for name, method in METHODS.items() if "uncertainty" not in method.parameters]


def test_every_number_has_an_effect_or_is_refused():
    options = {*lm_settings.NUMBERS}
    assert options <= {field.name for field in dataclasses.fields(Train)}
    taken = set()
    for name in on_language_models():
        chosen = numbers(name)
        assert None not in chosen.values()
        taken |= set(chosen)
    assert taken == options <= {*train.JUDGE_TAKES_NONE}


@pytest.mark.filterwarnings("ignore::nlhf.errors.RangeWarning")
def test_the_numbers_of_every_algorithm_are_all_that_it_needs():
    for name in on_language_models():
        chosen = numbers(name)
        if "replay" in chosen:
            chosen["replay"] = buffer(chosen["replay"], response=empty(2, 2))
        make(METHODS[name], chosen)


def test_learning_from_a_data_set_is_pessimistic():
    online, offline = (numbers("vpo", PLAN._replace(offline=each))["optimism"] for each in (False, True))
    assert offline == -online < 0
    assert numbers("vpo", PLAN._replace(offline=True), optimism=0.5)["optimism"] == 0.5


def test_the_learning_rate_falls_to_zero_at_the_last_step():
    # nash_prox: two projections a step, each resuming from the optimiser state of the one before
    asked = Train(steps=5, updates=2, decay=True, learning_rate=1.0, clip=1e9)
    moved = train.build_optimiser(asked, numbers("nash_prox")["num_inner"])
    state, sizes = moved.init(jnp.zeros(())), []
    for _ in range(5 * 2 * 2 + 1):
        with jax.numpy_dtype_promotion("standard"):  # as outside of the tests: optax counts in integers
            change, state = moved.update(jnp.ones(()), state)
        sizes.append(abs(float(change)))
    assert sizes[-2] > 1e-3
    assert sizes[-1] < 1e-6


STRANGERS = """
import jax.numpy as jnp
from typing import Any, NamedTuple
from jax.tree_util import Partial
from nlhf import Algorithm, Info
from nlhf.targets import explicit

class State(NamedTuple):
    policy: Any
    count: Any

def closure(step_size, beta, pace=2.0):
    def init(policy):
        return State(policy, jnp.zeros((), jnp.int32))
    def step(key, state, oracle, space):
        feedback = oracle.payoff(key, state.policy)
        target = Partial(explicit, step_size=pace * step_size, beta=beta)
        policy = space.project(state.policy, target, feedback)
        return State(policy, state.count + 1), Info(jnp.ones((), jnp.int32))
    return Algorithm(init, step)

def needs(step_size, beta, horizon):
    return closure(step_size, beta)
"""


def test_an_algorithm_of_anybody_else_trains_a_language_model(place, monkeypatch):
    (place / "their_methods.py").write_text(STRANGERS)
    monkeypatch.syspath_prepend(place)
    run = command(place, algorithm="their_methods:closure", step_size=0.5)
    assert train.main(run) == 0
    assert read_lines(place / "run" / "metrics.jsonl")[-1]["kl"] != 0
    settings = read_run(place / "run")["settings"]
    assert (settings["algorithm"], settings["step_size"]) == ("their_methods:closure", 0.5)
    assert train.main(command(place, algorithm="their_methods:closure", step_size=0.5, steps=3)) == 0
    for asked, message in (
        ({"algorithm": "their_methods:closures"}, "did you mean closure"),
        ({"algorithm": "their_methods:needs"}, "needs needs horizon, for which there is no default"),
        ({"algorithm": "their_methods:closure", "mixture": 0.5}, "--mixture is 0.5, but closure takes"),
        ({"algorithm": "nash-mdd"}, "did you mean nash_md"),
    ):
        with pytest.raises(InputError, match=message):
            train.main(command(place, out=place / "other", **asked))
    assert train._asked(command(place, algorithm="nash-md"), place).settings["algorithm"] == "nash_md"


def test_rows_that_the_mesh_would_not_split_are_refused(place, monkeypatch):
    monkeypatch.setattr(sharding, "num_row_parts", lambda mesh: 4)
    for option in ("rows", "held_out"):
        with pytest.raises(InputError, match=f"--{option.replace('_', '-')} is 2, but the mesh .* 4 parts"):
            train.main(command(place, **{option: 2}))


def test_the_responses_that_a_step_draws_are_counted():
    for name, queries, expected in (("egpo", 2, 8), ("nash_md", 1, 4), ("dpo", 32, 2), (None, None, 2)):
        method = None if name is None else METHODS[name]
        assert train.num_responses(method, 4, {"queries": queries}) == expected


def test_a_mistake_in_a_command_leaves_no_run_behind(place):
    with pytest.raises(InputError, match="no such file"):
        train.main(command(place, data=place / "promts.jsonl"))
    assert not (place / "run").exists()
    with pytest.raises(InputError, match="take one of vpo, cpl, dpo"):
        train.main(command(place, judge="data", data=place / "pairs.jsonl"))
    assert not (place / "run").exists()


FIRST_LAYOUT = """
preset model mode algorithm data judge mesh processes process coordinator steps batch responses
prompt_length response_length updates rows learning_rate warmup decay clip step_size beta mixture
optimism replay period num_inner temperature bias preferred regularisation soft_labels lora dtype
remat template truncate skip_bad held_out evaluate_every save_every keep tensorboard seed out
decay_steps
"""


def test_a_run_records_what_it_always_recorded(place):
    """A run that an earlier version began can be resumed: its ``run.json`` has these names, and no others."""
    asked = train._asked(Train(algorithm="xpo", decay=True), place)
    assert set(asked.settings) == set(FIRST_LAYOUT.split())


def test_foreign_folders_are_left_alone(place):
    (place / "run").mkdir()
    (place / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        train.main(command(place))
    assert os.listdir(place / "run") == ["thesis.tex"]
    (place / "file").write_text("")
    with pytest.raises(InputError, match="cannot be created"):
        train.main(command(place, out=place / "file" / "run"))


def test_a_second_run_in_the_folder_is_told_at_once(place):
    (place / "run").mkdir()
    held = acquire(place / "run")
    try:
        with pytest.raises(BusyError, match="is in use by process"):
            train.main(command(place))
        words = ["train", "--model", str(place / "base"), "--out", str(place / "run")]
        assert main(words) == 3
    finally:
        release(place / "run", held)


def start_processes(words, number, devices):
    flags = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    extra = [] if number == 1 else ["--processes", str(number), "--coordinator", f"127.0.0.1:{port}"]
    return [
        subprocess.Popen(
            [*words, *extra, *(["--process", str(index)] if extra else [])],
            stderr=subprocess.PIPE,
            text=True,
            env=flags,
        )
        for index in range(number)
    ]


def wait_for(started):
    try:
        told = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], told


def run_processes(words, number, devices):
    codes, told = wait_for(start_processes(words, number, devices))
    assert codes == [0] * number, told
    return told


@pytest.mark.slow
def test_two_processes_are_one_run(place):
    words = [sys.executable, "-m", "experiments", "train", "--model", str(place / "base"), "--data"]
    words += [str(place / "prompts.jsonl"), "--judge", CRITERIA, "--batch", "4", "--held-out", "4"]
    words += ["--prompt-length", "12", "--response-length", "6", "--steps", "3", "--evaluate-every", "1"]
    run_processes([*words, "--out", str(place / "two")], 2, 1)
    run_processes([*words, "--out", str(place / "one")], 1, 2)
    two, one = (policy(place / name) for name in ("two", "one"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), two, one)
    first = load_policy(place / "one")[1].params
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), two, first))) > 1e-4
    for name in ("win_rate", "kl"):
        logs = [
            [line[name] for line in read_lines(place / each / "metrics.jsonl")] for each in ("two", "one")
        ]
        np.testing.assert_allclose(*logs, atol=1e-4)


@pytest.mark.slow
def test_two_processes_of_which_one_was_killed_go_on_bit_by_bit(place):
    words = [sys.executable, "-m", "experiments", "train", "--model", str(place / "base"), "--data"]
    words += [str(place / "prompts.jsonl"), "--judge", CRITERIA, "--batch", "4", "--held-out", "4"]
    words += ["--prompt-length", "12", "--response-length", "6", "--steps", "30", "--save-every", "2"]
    run_processes([*words, "--out", str(place / "whole")], 2, 1)
    log = place / "killed" / "metrics.jsonl"
    started = start_processes([*words, "--out", str(place / "killed")], 2, 1)
    try:
        saved = place / "killed" / "checkpoints"
        while not (log.exists() and log.read_bytes().count(b"\n") > 4 and find_steps(saved)):
            assert started[0].poll() is None, started[0].stderr.read()
            time.sleep(0.005)
    finally:
        started[0].kill()  # the one that writes the log
    codes, told = wait_for(started)
    assert 0 not in codes, told
    assert log.read_bytes().count(b"\n") < 30
    told = run_processes([*words, "--out", str(place / "killed")], 2, 1)
    assert "resuming after step" in told[0]
    jax.tree.map(np.testing.assert_array_equal, policy(place / "killed"), policy(place / "whole"))
    assert log.read_bytes() == (place / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(place):
    words = [sys.executable, "-m", "experiments", "train", "--model", str(place / "base"), "--data"]
    words += [str(place / "prompts.jsonl"), "--judge", CRITERIA, "--batch", "4", "--held-out", "4"]
    words += ["--prompt-length", "12", "--response-length", "6", "--out", str(place / "run")]
    log = place / "run" / "metrics.jsonl"
    process = subprocess.Popen([*words, "--steps", "100000"], stderr=subprocess.PIPE, text=True)
    try:
        while not (log.exists() and log.read_bytes().count(b"\n") > 1):  # a step is made: all is compiled
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.terminate()
        begun = time.monotonic()
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - begun < 10
    assert process.returncode == 143
    assert "the same command resumes" in told
    made = read_lines(log)[-1]["step"]
    done = subprocess.run([*words, "--steps", str(made + 1)], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"resuming after step {made}" in done.stderr
    assert json.loads(log.read_text().splitlines()[-1])["step"] == made + 1
