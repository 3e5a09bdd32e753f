"""The benchmark compares like with like, and a tiny version of it runs to its report."""

import math

import jax
import numpy as np
import pytest

from experiments.bench import tabular as bench_tabular
from experiments.bench.tabular_numpy import STEPS, Problem, loop
from experiments.bench.tabular_report import PRODUCTS
from experiments.output import records
from nlhf.base import hyper
from tabular import families
from tabular.games import make_game
from tabular.runner import run

pytestmark = pytest.mark.slow  # compiles for long; its pieces have tests of their own

TINY = bench_tabular.Config(
    sizes=(3, 5),
    games=2,
    actions=4,
    betas=(0.3, 1.0),
    steps=6,
    numpy_steps=2,
    batch_sizes=(4,),
    repeats=1,
    work=1e4,
)


@pytest.fixture(scope="module")
def result():
    return bench_tabular.run(TINY)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_numpy_peer_does_the_same_arithmetic(name, beta):
    game = make_game(families.uniform_skew(jax.random.key(0), 7), beta=beta)
    method = bench_tabular.METHODS[name](beta)
    settings = [np.asarray(value) for value in (beta, hyper(method)["step_size"])]
    single = Problem(np.asarray(game.advantage[0]), np.asarray(game.log_ref[0]), *settings)
    ours = np.asarray(run(method, game, num_steps=20).of("duality_gap"))
    assert ours[0] > 1e-3
    np.testing.assert_allclose(loop(name, single, 20), ours[:20], rtol=1e-9, atol=1e-13)
    column = [np.full((2, 1), value) for value in settings]
    batch = loop(name, Problem(single.advantage, single.log_ref, *column), 20)
    np.testing.assert_allclose(batch, np.stack([ours[:20]] * 2, 1), rtol=1e-9, atol=1e-13)


def test_products_count_the_queries_and_the_gap():
    assert set(PRODUCTS) == set(STEPS) == set(bench_tabular.METHODS)
    game = make_game(families.dice(), beta=0.3)
    for name, products in PRODUCTS.items():
        queries = int(run(bench_tabular.METHODS[name](0.3), game, num_steps=1).queries[-1])
        # the gap's product is the next first query, where that is made against the last iterate
        assert products == queries + (name in ("nash_md", "omwu"))


def test_tiny_run_has_finite_positive_numbers(result):
    assert [row.actions for row in result.single] == [3, 5]
    assert [row.actions for row in result.batch] == [4]
    numbers = [result.bandwidth, result.square_gemm, *result.figure, result.figure.floor_share]
    for row in (*result.single, *result.batch):
        numbers += [*row, *(row.shares if hasattr(row, "shares") else [row.gemv_share])]
    assert all(math.isfinite(number) and number > 0 for number in numbers)


def test_report_has_the_rows(result):
    report = bench_tabular.report(result)
    for words in (
        "One EGPO run",
        "Figure: 20 runs of 6 iterations, A = 4",
        "times numpy, one run at a time",
        "share of the floor's speed",
        "settings on one game",
        "Targets",
    ):
        assert words in report
    assert all(len(line) <= 100 for line in report.splitlines())
    assert records.encode(result)["workers"] == result.workers


def test_quick_is_smaller():
    quick = bench_tabular.shrink(bench_tabular.Config(quick=True))
    assert max(quick.sizes) <= 1000
    assert quick.steps < bench_tabular.Config().steps
    assert bench_tabular.shrink(TINY) == TINY
