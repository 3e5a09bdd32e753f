"""Two processes as one run, on this machine; each is a process of its own, with a time limit."""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import pytest
from sharded_runs import SCRIPT, assert_same_run, by_mesh, run_trainer

from nlhf.errors import InputError
from nlhf.transformer.runs import distributed

ROOT = pathlib.Path(__file__).parents[4]
MESH = "data=2,fsdp=2,tensor=2"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def begin(folder, process, port, *words, mesh=MESH):
    command = [sys.executable, "-u", SCRIPT, str(folder / f"{process}.npz"), "--mesh", mesh, "--devices", "4"]
    command += ["--process", str(process), "--processes", "2", "--port", str(port), *map(str, words)]
    with (folder / f"{process}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def run_pair(folder, *words, mesh=MESH, timeout=600):
    """Run two processes to their end; return what each recorded."""
    folder.mkdir()
    port = free_port()
    pair = [begin(folder, process, port, *words, mesh=mesh) for process in range(2)]
    try:
        codes = [each.wait(timeout) for each in pair]
    finally:
        for each in pair:
            each.kill()
            each.wait()
    logs = [(folder / f"{process}.log").read_text()[-3000:] for process in range(2)]
    assert codes == [0, 0], "\n".join(logs)
    return [by_mesh(folder / f"{process}.npz")[mesh] for process in range(2)]


# ---- what is asked of start


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, 2, 2), ["process is 2 of 2", "0 to 1"]),
        ((None, 2, -1), ["process is -1"]),
        ((None, 0, 0), ["num_processes is 0"]),
        (("127.0.0.1", 2, 0), ["'127.0.0.1'", "host:port"]),
        (("127.0.0.1:0", 2, 0), ["1 to 65535"]),
        (("127.0.0.1:70000", 2, 0), ["1 to 65535"]),
        (("http://host:80/x", 2, 0), ["host:port"]),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, words):
    with pytest.raises(InputError) as caught:
        distributed.start(*arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_one_process_needs_nobody():
    distributed.start(None, 1, 0)
    assert jax.process_count() == 1


def test_the_coordinator_listens_at_its_address_and_nowhere_else(monkeypatch):
    calls = []
    monkeypatch.delenv(distributed.BIND, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *words, **named: calls.append((words, named)))
    for coordinator in (None, "localhost:80", "10.0.0.1:80"):
        distributed.start(coordinator, 2, 1)
    assert [words for words, _ in calls] == [
        ("127.0.0.1:29400", 2, 1),
        ("localhost:80", 2, 1),
        ("10.0.0.1:80", 2, 1),
    ]
    assert [named["coordinator_bind_address"] for _, named in calls] == [
        "127.0.0.1:29400",
        "localhost:80",
        "10.0.0.1:80",  # JAX alone would listen on all interfaces
    ]
    monkeypatch.setenv(distributed.BIND, "192.168.0.1:80")
    distributed.start("10.0.0.1:80", 2, 0)
    assert calls[-1][1]["coordinator_bind_address"] == "192.168.0.1:80"


LISTEN = """
import sys
sys.path.insert(0, sys.argv[1])
from nlhf.transformer.runs import distributed
distributed.start(f"127.0.0.2:{sys.argv[2]}", 2, 0, patience=60)
"""


@pytest.mark.slow
def test_another_address_of_this_machine_is_not_served():
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != distributed.BIND}
    command = [sys.executable, "-c", LISTEN, str(ROOT), str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 60
            while not answers("127.0.0.2", port):
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
            assert not answers("127.0.0.1", port)
        finally:
            server.kill()


def answers(host, port):
    with socket.socket() as caller:
        return caller.connect_ex((host, port)) == 0


def failing(monkeypatch, text):
    def initialize(*words, **named):
        raise RuntimeError(text)

    monkeypatch.setattr(jax.distributed, "initialize", initialize)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jax.distributed.initialize() must be called before any JAX calls", "JAX is in use already"),
        ("distributed.initialize should only be called once.", "joined already"),
        (
            "UNKNOWN: Failed to start RPC server\ntrace",
            r"127.0.0.1:29400 \(UNKNOWN: Failed to start RPC server\)",
        ),
    ],
)
def test_a_failure_to_start_is_told_in_one_line(monkeypatch, text, words):
    failing(monkeypatch, text)
    with pytest.raises(InputError, match=words) as caught:
        distributed.start(None, 2, 0)
    assert "\n" not in str(caught.value)


def test_only_the_loss_of_another_process_ends_this_one(monkeypatch):
    ended = []
    monkeypatch.setattr(distributed, "_end", lambda line, code: ended.append((line, code)))
    lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer")
    with pytest.raises(jax.errors.JaxRuntimeError), distributed.together():
        raise lost
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(jax.errors.JaxRuntimeError), distributed.together():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
    with pytest.raises(KeyError), distributed.together():
        raise KeyError("peer")
    assert not ended
    with distributed.together():
        raise lost
    ((line, code),) = ended
    assert code == 1
    assert "another of the 2 processes has ended" in line
    assert "\n" not in line


START = """
import sys
sys.path.insert(0, sys.argv[1])
from nlhf.transformer.runs import distributed
distributed.start("127.0.0.1:" + sys.argv[2], 2, int(sys.argv[3]), patience=3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("process", [0, 1])
def test_a_process_that_waits_in_vain_says_so(process):
    command = [sys.executable, "-c", START, str(ROOT), str(free_port()), str(process)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert re.search(r"^not all 2 processes came to 127.0.0.1:\d+ within 3 s", ended.stderr, re.MULTILINE)


# ---- runs


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=8", MESH, "tensor=2,fsdp=4"])
def test_two_processes_of_four_devices_are_one_of_eight(tmp_path, mesh):
    alone = run_trainer(tmp_path / "alone.npz", "--mesh", mesh, "--quick")[mesh]
    for found in run_pair(tmp_path / "pair", "--quick", mesh=mesh):
        assert_same_run(found, alone)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_dies_the_other_ends_and_says_so(tmp_path, victim):
    heartbeat, port = 10, free_port()
    words = ("--quick", "--steps", "1000000", "--heartbeat", heartbeat)
    pair = [begin(tmp_path, process, port, *words) for process in range(2)]
    try:
        logs = [tmp_path / f"{process}.log" for process in range(2)]
        until = time.monotonic() + 300
        while not all("step 3\n" in log.read_text() for log in logs):
            assert time.monotonic() < until
            assert all(each.poll() is None for each in pair), [log.read_text()[-2000:] for log in logs]
            time.sleep(0.2)
        os.kill(pair[victim].pid, signal.SIGKILL)
        began = time.monotonic()
        code = pair[1 - victim].wait(heartbeat + 60)
        seconds = time.monotonic() - began
    finally:
        for each in pair:
            each.kill()
            each.wait()
    log = logs[1 - victim].read_text()
    print(f"\nthe other ended {seconds:.1f} s after process {victim}, with {code}")
    assert code != 0
    assert seconds < heartbeat + 5
    # usually our line; where the runtime's own watch comes first, its words
    assert re.search("another of the 2 processes has ended|heartbeat|another task", log), log[-2000:]
