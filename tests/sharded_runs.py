"""Start sharded_trainer.py in a process of its own, and compare what two runs recorded."""

import pathlib
import subprocess
import sys

import numpy as np

SCRIPT = str(pathlib.Path(__file__).parent / "sharded_trainer.py")


def run_trainer(out, *words, timeout=900):
    """Run the script; return what it recorded, by mesh."""
    command = [sys.executable, SCRIPT, str(out), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return by_mesh(out)


def by_mesh(path):
    found = {}
    with np.load(path) as file:
        for name in file:
            mesh, field = name.split("/")
            found.setdefault(mesh, {})[field] = file[name]
    return found


def assert_same_run(found, wanted, tolerance=1e-5):
    """Draws equal bit by bit; loss, what the judge said and all parameters to the tolerance at every step.

    The loss is the mean of -log π over the responses. The log-probability of one, down to -10 nats,
    is held to the tolerance times itself where that is more than a nat.
    """
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if name.startswith("tokens"):
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        elif name.startswith("log_prob"):
            assert (np.abs(found[name] - values) <= tolerance * np.maximum(1, np.abs(values))).all(), name
            losses = [
                -each.astype(float).mean(axis=tuple(range(1, each.ndim))) for each in (found[name], values)
            ]
            np.testing.assert_allclose(*losses, rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_allclose(found[name], values, rtol=0, atol=tolerance, err_msg=name)
    moved = np.abs(wanted["parameters"][-1] - wanted["parameters"][0]).max()
    assert moved > 1000 * tolerance  # else equal runs would mean nothing
