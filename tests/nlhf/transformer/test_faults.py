"""Whole runs under faults: killed, damaged on disk, out of space, told to stop, started twice.

Every claim is about ``tests/fault_trainer.py``, as a process of its own. The quick form is in the default
tests, the campaign behind ``slow``; ``python -m pytest -m slow -s`` on this file prints its figures.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from damage import data_file, flip

from nlhf.transformer.runs import restore

ROOT = pathlib.Path(__file__).parents[3]
TRAINER = str(ROOT / "tests" / "fault_trainer.py")
COMMAND = [
    sys.executable,
    "-u",
    "-W",
    "ignore",
    TRAINER,
]  # fork warns of threads, of which there are none yet


class Trainers:
    """Runs the trainer again and again, each time as a new process of one that has imported everything.

    The processes share JAX's cache of compiled programs, as those of a user's run do.
    """

    def __init__(self, cache):
        self.environment = {
            **os.environ,
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }

    def __enter__(self):
        self.process = subprocess.Popen(
            [*COMMAND, "--serve"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()

    def start(self, folder, *words):
        """Start a run; return its process number, once it is through with resuming."""
        self.process.stdin.write(" ".join(map(str, (folder, *words))) + "\n")
        self.lines, self.status, number = [], None, None
        while self.status is None and not (number and any(line.startswith("begins") for line in self.lines)):
            number = self._read() or number
        return number

    def finish(self):
        """Wait for the end of the run; return its exit status."""
        while self.status is None:
            self._read()
        return self.status

    def run(self, folder, *words):
        self.start(folder, *words)
        return self.finish()

    def _read(self):
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        word, _, value = line.strip().partition(" ")
        if word == "process":
            return int(value)
        if word == "status":
            self.status = int(value)
        else:
            self.lines.append(line.strip())
        return None


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    with Trainers(tmp_path_factory.mktemp("cache")) as served:
        yield served


def log_lines(folder):
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def saving(folder):
    return any((folder / "checkpoints" / "steps").glob("*orbax-checkpoint-tmp*"))


def end(trainers):
    """The line with the digest of the final state."""
    (line,) = [line for line in trainers.lines if line.startswith("ends at")]
    return line


def kill_often(trainers, root, kills, steps, words, rng):
    """Kill runs at random times, resume each; return the finished (folder, last line), and counts.

    A time is drawn as a number of further steps and a moment after that step was logged, around its save;
    each second one waits for the save to begin.
    """
    finished, counts, number = [], {"kills": 0, "in a save": 0, "before the first checkpoint": 0}, 0
    while counts["kills"] < kills or trainers.status != 0:
        folder = root / f"run{number}"
        process = trainers.start(folder, "--steps", steps, *words)
        if counts["kills"] < kills:
            target, deadline = log_lines(folder) + rng.integers(0, 4), time.monotonic() + 60
            while log_lines(folder) < min(target, steps) and time.monotonic() < deadline:
                time.sleep(0.001)
            begun = time.monotonic() + 0.5 * (counts["kills"] % 2)
            while not saving(folder) and time.monotonic() < begun:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.12 - 0.08 * (counts["kills"] % 2)))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if trainers.finish() == 0:
            finished.append((folder, end(trainers)))
            number += 1
            continue
        assert trainers.status == -signal.SIGKILL, trainers.lines
        assert not any("passed over" in line for line in trainers.lines), trainers.lines
        counts["kills"] += 1
        counts["in a save"] += saving(folder)
        counts["before the first checkpoint"] += restore.find_steps(folder / "checkpoints") == []
    return finished, counts


def compare(trainers, tmp_path, kills, steps, words, seed):
    reference = tmp_path / "reference"
    assert trainers.run(reference, "--steps", steps, *words) == 0
    expected = end(trainers)
    finished, counts = kill_often(trainers, tmp_path, kills, steps, words, np.random.default_rng(seed))
    assert finished
    for folder, line in finished:
        assert line == expected
        assert (folder / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
        assert not saving(folder)
    assert log_lines(reference) == steps
    counts["trajectories"] = len(finished)
    print(json.dumps(counts))
    return counts


def test_ten_kills_leave_no_trace(trainers, tmp_path):
    """SIGKILL at random times, ten of them: the final state and the log are bit-identical."""
    counts = compare(trainers, tmp_path, 10, 8, ["--size", "300"], seed=1)
    assert counts["kills"] == 10


@pytest.mark.slow
def test_campaign_of_fifty_kills(trainers, tmp_path):
    counts = compare(trainers, tmp_path, 50, 40, [], seed=0)
    assert counts["kills"] == 50
    assert counts["in a save"] >= 20


def test_a_stop_is_saved_and_resumed(trainers, tmp_path):
    """SIGTERM: the step is finished and saved, the process ends within 10 s; the same command goes on."""
    words = ["--size", "300", "--save-every", "1000", "--sleep", "0.02"]
    process = trainers.start(tmp_path, "--steps", 100_000, *words)
    while log_lines(tmp_path) < 3:
        time.sleep(0.005)
    began = time.monotonic()
    os.kill(process, signal.SIGTERM)
    assert trainers.finish() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 10
    step = log_lines(tmp_path)
    assert restore.find_steps(tmp_path / "checkpoints") == [step]
    assert trainers.run(tmp_path, "--steps", step + 1, *words) == 0
    assert trainers.lines[0] == f"resuming after step {step}"


def test_a_second_signal_ends_at_once(trainers, tmp_path):
    process = trainers.start(tmp_path, "--size", 300, "--sleep", 60)
    while log_lines(tmp_path) < 1:
        time.sleep(0.005)
    os.kill(process, signal.SIGINT)
    while not any(line.startswith("nlhf: SIGINT") for line in trainers.lines):
        assert trainers.status is None, trainers.lines
        trainers._read()
    os.kill(process, signal.SIGTERM)
    began = time.monotonic()
    assert trainers.finish() == -signal.SIGTERM
    assert time.monotonic() - began < 5


def test_a_second_run_in_the_folder_is_refused(trainers, tmp_path):
    """Exit code 3, in less than 1 s of processor time beyond the interpreter's; the first goes on."""
    process = trainers.start(tmp_path, "--steps", 3, "--size", 300, "--sleep", 0.5)

    def seconds(command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    second, spent = seconds([*COMMAND, str(tmp_path)])
    assert second.returncode == 3
    assert f"is in use by process {process} on" in second.stderr
    assert spent - seconds([sys.executable, "-c", ""])[1] < 1
    assert trainers.finish() == 0
    assert trainers.run(tmp_path, "--steps", 3, "--size", 300) == 0  # the lock went with its holder


def test_a_nan_ends_the_run_before_it_is_saved(trainers, tmp_path):
    assert trainers.run(tmp_path, "--steps", 9, "--size", 300, "--poison", 4) == 1
    assert any("step 4: state leaf 'params/weight'" in line for line in trainers.lines)
    assert restore.find_steps(tmp_path / "checkpoints") == [1, 2, 3]


def test_damaged_steps_are_passed_and_later_saves_happen(trainers, tmp_path):
    """The newest two of three are damaged; the run goes on from the third and ends as the clean one."""
    words = ["--size", "300"]
    assert trainers.run(tmp_path / "clean", "--steps", 9, *words) == 0
    expected = end(trainers)
    assert trainers.run(tmp_path / "run", "--steps", 6, *words) == 0
    store = tmp_path / "run" / "checkpoints"
    assert restore.find_steps(store) == [4, 5, 6]
    flip(data_file(store, 6), np.random.default_rng(0))
    data_file(store, 5).write_bytes(data_file(store, 5).read_bytes()[:1000])
    assert trainers.run(tmp_path / "run", "--steps", 9, *words) == 0
    assert trainers.lines[0].startswith("passed over step 6: leaf ")
    assert trainers.lines[1].startswith("passed over step 5: it cannot be loaded")
    assert trainers.lines[2] == "resuming after step 4"
    assert trainers.lines[3] == "begins at 4"
    assert len(trainers.lines) == 5, "more was printed than the five lines"
    assert end(trainers) == expected
    assert restore.find_steps(store) == [7, 8, 9]
    clean = (tmp_path / "clean" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == clean


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_last_good_step_loads(trainers, tmp_path):
    """A small file system in memory, where the right to mount one is given."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        assert trainers.run(disk / "run") == 2
        (message,) = [line for line in trainers.lines if not line.startswith("begins")]
        steps = restore.find_steps(disk / "run" / "checkpoints")
        assert f"{disk}/run/checkpoints: step {steps[-1] + 1} cannot be saved (the disk is full; " in message
        assert not saving(disk / "run")
        shutil.copytree(disk / "run", tmp_path / "run")
    finally:
        subprocess.run(["umount", disk], check=True)
    assert trainers.run(tmp_path / "run") == 0  # with room, the same command ends as if nothing had happened
    resumed = end(trainers)
    assert trainers.lines[0] == f"resuming after step {steps[-1]}"
    assert trainers.run(tmp_path / "clean") == 0
    assert end(trainers) == resumed


PEERS = """
import sys
import jax
address, index, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
jax.distributed.initialize(address, 2, index, heartbeat_timeout_seconds=20)
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from nlhf.transformer.runs import checkpoint, digest
from nlhf.transformer.runs.guard import NonFiniteError, check_finite
from nlhf.transformer.runs.stop import Stop

mesh = jax.make_mesh((4,), ("data",))
put = lambda x, *axes: jax.make_array_from_callback(x.shape, NamedSharding(mesh, P(*axes)), lambda i: x[i])
state = {"x": put(np.arange(64.0, dtype=np.float32).reshape(8, 8), "data"), "y": put(np.ones(3)), "n": 3}
whole = {"x": np.arange(64.0, dtype=np.float32).reshape(8, 8), "y": np.ones(3, state["y"].dtype), "n": 3}
expected = digest.state_digests(digest.named_leaves(whole))
assert digest.state_digests(digest.named_leaves(state)) == expected
with checkpoint.open_store(folder) as store:
    for step in (1, 2):
        assert checkpoint.save(store, step, state)
    checkpoint.wait(store)
    if index == 0:
        (store.folder / "digests" / "2.json").write_bytes(b"{}")
    checkpoint._barrier("damaged")
    found = checkpoint.resume(store, state)
    assert found.step == 1 and found.damaged
    assert digest.state_digests(digest.named_leaves(found.state)) == expected
    assert checkpoint.save(store, 2, state)
try:
    bad = np.ones((8, 8), np.float32)
    bad[7] = np.nan  # on a device of the second process
    check_finite({"x": put(bad, "data")}, 5)
    raise SystemExit("NaN of the other process was not seen")
except NonFiniteError:
    pass
with Stop() as stop:
    stop.signal = 15 if index == 1 else 0
    assert stop.requested
print("fine")
"""


@pytest.mark.slow
def test_two_processes_save_and_agree(tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    peers = [
        subprocess.Popen(
            [sys.executable, "-c", PEERS, address, str(index), str(tmp_path / "store")],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    for peer in peers:
        out, err = peer.communicate(timeout=120)
        assert peer.returncode == 0, err[-3000:]
        assert out.strip().endswith("fine")
