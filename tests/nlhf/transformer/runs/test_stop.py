"""Signals ask a run to end, silence aborts it."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from nlhf.errors import InputError
from nlhf.transformer.runs.stop import Stop, Watchdog

ROOT = pathlib.Path(__file__).parents[4]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_sets_a_flag_and_leaves_the_second_its_default(number, code, capfd):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Stop() as stop:
        assert not stop.requested
        assert stop.code == 0
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.code == code
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert f"nlhf: {number.name}: saving after this step, then ending" in capfd.readouterr().err


def test_outside_the_main_thread_there_is_nothing_to_handle():
    found = []

    def work():
        with Stop() as stop:
            found.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_the_allowance_follows_the_median(monkeypatch):
    clock = iter([100.0, 102.0, 104.0, 106.0, 108.0, 110.0, 111.0])
    monkeypatch.setattr("nlhf.transformer.runs.stop.time.monotonic", lambda: next(clock))
    with Watchdog(limit=500.0, factor=100.0, floor=60.0) as watchdog:
        for _ in range(5):
            watchdog.beat()
        assert watchdog.allowance == 500.0
        watchdog.beat()
        assert watchdog.allowance == 200.0
        watchdog.factor = 1000.0
        assert watchdog.allowance == 500.0
        watchdog.factor = 2.0
        assert watchdog.allowance == 60.0


def test_times_are_positive():
    with pytest.raises(InputError, match="needs positive times"):
        Watchdog(limit=0.0)


def test_silence_aborts_with_stacks():
    code = (
        "import time\nfrom nlhf.transformer.runs.stop import Watchdog\n"
        "def stuck():\n    time.sleep(60)\n"
        "with Watchdog(limit=0.3) as watchdog:\n    watchdog.beat()\n    stuck()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in stuck" in done.stderr
