"""The loop saves, resumes to the same bits, stops when asked, and lets nothing that is not finite pass."""

import os
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.runs.guard import NonFiniteError
from nlhf.transformer.runs.log import read_lines
from nlhf.transformer.runs.loop import Messages, run_steps
from nlhf.transformer.runs.restore import find_steps
from nlhf.transformer.runs.stop import Watchdog


class State(NamedTuple):
    total: jax.Array
    key: jax.Array


def start():
    return State(jnp.zeros(3), jax.random.key(0))


def step(index, state):
    new = state.total + jax.random.normal(jax.random.fold_in(state.key, index), (3,))
    return State(new, state.key), {"loss": jnp.abs(new).sum()}


def run(folder, num_steps, one_step=step, told=None, **options):
    lines = [] if told is None else told
    messages = Messages(lines.append, lambda index, values, seconds: None)
    settings = {"save_every": 2, "config": {"a": 1}, "messages": messages, **options}
    return run_steps(folder, start(), one_step, num_steps=num_steps, **settings)


def test_a_run_in_parts_is_the_whole_run(tmp_path):
    whole = run(tmp_path / "whole", 5)
    told = []
    run(tmp_path / "parts", 3, told=told)
    ended = run(tmp_path / "parts", 5, told=told)
    assert told == ["resuming after step 3"]
    np.testing.assert_array_equal(whole.state.total, ended.state.total)
    assert (ended.step, ended.code) == (5, 0)
    logs = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    expected = jnp.zeros(3)
    for index in range(5):
        expected, _ = step(index, State(expected, jax.random.key(0)))
        expected = expected.total
    np.testing.assert_array_equal(ended.state.total, expected)
    assert run(tmp_path / "parts", 5).step == 5  # nothing left to do


def test_the_last_step_is_saved_and_a_log_without_a_checkpoint_is_cut_back(tmp_path):
    def fails(index, state):
        if index == 3:
            raise KeyError("broken")
        return step(index, state)

    with pytest.raises(KeyError):
        run(tmp_path, 5, fails)
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    run(tmp_path, 5)
    assert find_steps(tmp_path / "checkpoints")[-1] == 5
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("what", ["state", "value"])
def test_nothing_that_is_not_finite_is_saved(tmp_path, what):
    def breaks(index, state):
        new, values = step(index, state)
        if index == 2 and what == "state":
            new = new._replace(total=new.total.at[1].set(jnp.nan))
        return new, {"loss": jnp.inf} if index == 2 and what == "value" else values

    with pytest.raises(NonFiniteError, match=r"step 3: (state leaf 'total'|values leaf 'loss')"):
        run(tmp_path, 5, breaks)
    assert find_steps(tmp_path / "checkpoints") == [2]


def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(tmp_path):
    def told_to_stop(index, state):
        if index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(index, state)

    ended = run(tmp_path, 9, told_to_stop)
    assert (ended.step, ended.code) == (3, 143)
    assert find_steps(tmp_path / "checkpoints")[-1] == 3
    np.testing.assert_array_equal(run(tmp_path, 9).state.total, run(tmp_path / "whole", 9).state.total)


def test_values_at_the_start_take_no_time_from_the_first_step(tmp_path, monkeypatch):
    beats = []
    monkeypatch.setattr(Watchdog, "beat", lambda watchdog: beats.append(watchdog))
    run(tmp_path, 2, start=lambda state: {"loss": 1.0})
    assert len(beats) == 3


def test_another_layout_of_the_devices_is_told(tmp_path):
    told = []
    run(tmp_path, 1, layout="data=1")
    run(tmp_path, 2, layout="data=8", told=told)
    assert told == ["resuming after step 1", "was saved on data=1, now data=8: bits may differ from here on"]


def test_other_settings_are_another_run(tmp_path):
    run(tmp_path, 1)
    with pytest.raises(InputError, match="a"):
        run(tmp_path, 2, config={"a": 2})
    assert run(tmp_path, 2, config={"a": 2}, free=("a",)).step == 2


def test_a_run_away_loss_is_told_once(tmp_path):
    def grows(index, state):
        return state, {"loss": 10.0 ** (2 * index), "kl": float(index)}

    told = []
    run(tmp_path, 5, grows, told=told, limit=2.5)
    assert sum("the loss is" in line for line in told) == 1
    assert sum("the KL to the reference" in line for line in told) == 1
