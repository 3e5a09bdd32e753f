"""The benchmark of CPL updates: like is compared with like, and without torch it says what to install."""

import dataclasses
import importlib.util
import math
import sys

import pytest

from experiments.bench import command as bench
from experiments.bench import cpl as bench_cpl
from experiments.bench import cpl_torch as bench_cpl_torch
from experiments.output import records
from nlhf.errors import InputError

TINY = bench_cpl.Config(
    widths=(8, 8), dropouts=(0.0, 0.25), batch=6, length=5, pairs=20, updates=2, repeats=2
)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def a_row(**changes):
    row = bench_cpl.Row(256, 0.0, 0.03, 0.066, 2.2, 2.0, 2.5, 2.0, 0.01, 170.0, 1e-7)
    return row._replace(**changes)


def test_without_torch_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="install torch"):
        bench_cpl.run(TINY)


def test_the_command_knows_the_benchmark(nlhf):
    assert "cpl" in nlhf("bench", "--help").out
    assert bench.MODULES["cpl"] == bench_cpl.__name__


def test_report_says_which_targets_are_met():
    rows = [a_row(), a_row(width=512, dropout=0.25, ratio=1.6, target=1.7, busy=None)]
    report = bench_cpl.report(bench_cpl.Result(bench_cpl.Config(), 2, "1", "2", rows))
    lines = report.splitlines()
    assert any("256 x 256, dropout 0 " in line and line.endswith("met") for line in lines)
    assert any("512 x 512, dropout 0.25" in line and line.endswith("missed") for line in lines)
    busy = bench_cpl.report(bench_cpl.Result(bench_cpl.Config(), 2, "1", "2", [a_row(busy=0.8)]))
    assert busy.rstrip().endswith("measure again")
    assert all(len(line) <= 110 for line in lines)


def test_quick_is_smaller():
    config = bench_cpl.Config()
    assert bench_cpl.shrink(config).repeats < config.repeats
    assert dataclasses.replace(TINY, repeats=3) == bench_cpl.shrink(dataclasses.replace(TINY, repeats=9))


@needs_torch
def test_both_sides_have_one_gradient():
    torch = bench_cpl_torch.load(1)
    problem = bench_cpl.make_problem(TINY, 8, 0.0)
    assert bench_cpl.gradient_error(torch, problem) < 1e-5
    # the control: another bias on the loser is another loss
    theirs = bench_cpl_torch.gradient(torch, problem, range(6))
    other = bench_cpl_torch.gradient(torch, problem._replace(bias=1.0), range(6))
    assert max(abs(x - y).max() for x, y in zip(theirs, other, strict=True)) > 1e-4


@needs_torch
def test_a_tiny_run_has_finite_numbers():
    result = bench_cpl.run(TINY)
    for row in result.rows:
        numbers = [value for value in row if value is not None]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert row.low <= row.ratio <= row.high
    assert records.encode(result)["workers"] == result.workers
