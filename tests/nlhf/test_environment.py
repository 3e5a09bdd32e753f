import os
import subprocess
import sys

import pytest

import nlhf


def test_setup_comes_before_jax_and_turns_float64_on():
    code = (
        "import sys, nlhf; assert 'jax' not in sys.modules; nlhf.setup(); import os, jax; "
        "print(os.environ['NPROC'], jax.numpy.ones(1).dtype)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NPROC"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    threads, dtype = done.stdout.split()
    assert int(threads) >= 8
    assert dtype == "float64"


def test_setup_after_jax_warns_of_a_small_pool_in_one_line(monkeypatch):
    monkeypatch.delenv("NPROC")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.warns(UserWarning, match=r"pool of 2 threads, .*; call nlhf.setup\(\) before"):
        nlhf.setup()
    monkeypatch.setenv("NPROC", "3")
    nlhf.setup()
    assert os.environ["NPROC"] == "3"
