"""The log is cut back to the checkpoint, and a full disk leaves no torn line."""

import json
import resource
import signal
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.runs.log import METRICS, TIMINGS, Lines, Metrics, read_lines


def write(path, steps, resumed=None):
    lines = Lines(path, resumed)
    for step in steps:
        lines.write(step, {"loss": 1 / (step + 3)})
    lines.close()
    return path.read_bytes()


def test_a_resumed_log_has_the_same_bytes(tmp_path):
    whole = write(tmp_path / "whole", range(1, 10))
    path = tmp_path / "killed"
    write(path, range(1, 8))
    with open(path, "ab") as file:
        file.write(b'{"step": 8, "lo')
    assert write(path, range(6, 10), resumed=5) == whole


def test_two_lines_of_the_resumed_step_are_kept(tmp_path):
    path = tmp_path / "log"
    write(path, [1, 2, 2, 3])
    assert write(path, [], resumed=2).count(b"\n") == 3
    assert write(path, [4], resumed=2).count(b"\n") == 4


def test_without_a_checkpoint_the_log_begins_anew(tmp_path):
    path = tmp_path / "log"
    write(path, [0, 1, 2])
    assert write(path, [0]) == b'{"step": 0, "loss": 0.3333333333333333}\n'


def test_values_become_plain(tmp_path):
    lines = Lines(tmp_path / "log")
    values = {
        "array": jnp.float32(0.1),
        "count": np.int64(3),
        "nan": np.nan,
        "up": np.inf,
        "down": -np.inf,
        "text": "a",
        "none": None,
        "flag": np.True_,
    }
    lines.write(4, values)
    lines.close()
    (line,) = read_lines(tmp_path / "log")
    assert line == {
        "step": 4,
        "array": float(np.float32(0.1)),
        "count": 3,
        "nan": None,
        "up": "inf",
        "down": "-inf",
        "text": "a",
        "none": None,
        "flag": True,
    }


def test_a_torn_last_line_is_not_read(tmp_path):
    path = tmp_path / "log"
    write(path, [1, 2])
    path.write_bytes(path.read_bytes()[:-3])
    assert [line["step"] for line in read_lines(path)] == [1]


@pytest.mark.parametrize(
    "line", [b"not json\n", b'{"loss": 1}\n', b"[1]\n", b"\xff\n", b'{"step": 0}\n', b"\n"]
)
def test_a_bad_line_in_the_middle_is_refused(tmp_path, line):
    path = tmp_path / "log"
    content = write(path, [1, 2]) + line + write(tmp_path / "other", [3])
    path.write_bytes(content)
    for call in (lambda: Lines(path, 3), lambda: read_lines(path)):
        with pytest.raises(InputError, match="line 3 is not a line of our log"):
            call()
    assert path.read_bytes() == content


def test_steps_do_not_go_back(tmp_path):
    lines = Lines(tmp_path / "log")
    lines.write(2, {})
    with pytest.raises(ValueError, match="step 1 after step 2"):
        lines.write(1, {})
    with pytest.raises(ValueError, match="a value called 'step'"):
        lines.write(3, {"step": 3})
    lines.close()


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written \(Is a directory; \d+\.\d MB free\); make room"):
        Lines(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_lines(tmp_path / "absent")


def test_a_write_cut_short_leaves_no_torn_line(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel writes a part, then refuses."""
    path = tmp_path / "log"
    lines = Lines(path)
    lines.write(1, {"loss": 1.0})
    before = path.read_bytes()
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, old[1]))
        with pytest.raises(InputError, match=r"cannot be written \(File too large; .* MB free\)"):
            lines.write(2, {"loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    lines.write(2, {"loss": 2.0})
    lines.close()
    assert [line["step"] for line in read_lines(path)] == [1, 2]


def test_clocks_have_a_file_of_their_own(tmp_path):
    with Metrics(tmp_path) as log:
        log.write(1, {"loss": 0.5}, {"seconds": 0.1})
        log.write(2, {"loss": 0.4})
    assert (tmp_path / METRICS).read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n'
    assert json.loads((tmp_path / TIMINGS).read_text()) == {"step": 1, "seconds": 0.1}


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    with Metrics(tmp_path, tensorboard=True) as log:
        log.write(1, {"loss": 0.5, "text": "no number"}, {"seconds": 0.1})
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content
    assert b"seconds" in content
    assert b"text" not in content


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'nlhf\[tensorboard\]'"):
        Metrics(tmp_path, tensorboard=True)
