"""The benchmark of language models: the same work on both sides, and a report of what was measured."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import command as bench
from experiments.bench import transformer as bench_transformer
from experiments.bench import transformer_floor as bench_transformer_floor
from experiments.bench import transformer_ours as bench_transformer_ours
from experiments.bench import transformer_peers as bench_transformer_peers
from experiments.bench import transformer_plain as bench_transformer_plain
from experiments.bench import transformer_report as bench_transformer_report
from experiments.output import records
from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.weights.export import save_model

SPEC = {"batch": 3, "prompt": 5, "response": 4, "vocabulary": 40, "mixture": 0.125, "dtype": "float32"}
TINY = dataclasses.replace(
    bench_transformer.shape("1M"),
    vocabulary=40,
    width=8,
    layers=2,
    heads=2,
    kv_heads=2,
    head_width=4,
    hidden=12,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    params = decoder.init(jax.random.key(0), TINY)
    folder = tmp_path_factory.mktemp("bench") / "model"
    save_model(folder, params, TINY, begin=1, end=2)
    return params, {**SPEC, "folder": str(folder)}


def side(name, dtype, seconds, peak=100 * 2**20):
    return bench_transformer_report.Side(name, dtype, seconds, seconds, peak)


def a_result(busy=0.0, peak=50 * 2**20, seconds=0.1, sides=None):
    if sides is None:
        sides = [side("peers", "float32", 0.45), side("peers", "bfloat16", 0.3)]
    row = bench_transformer_report.Row(
        "15M", 2, "sampler", [side("ours", "float32", seconds, peak), *sides], 0.05, 0, 1.0, busy
    )
    return bench_transformer_report.Result(
        bench_transformer.Config(),
        2,
        {"torch": "1"} if sides else {},
        [bench_transformer_report.Limits(2, 1e11, 1e10)],
        [row],
        [bench_transformer_report.Start("15M", 20.0, 9.0)],
        {"flax": 1.02, "plain": 1.0, "apart": 0.0},
    )


def verdicts(result):
    report = bench_transformer.report(result)
    assert all(len(line) <= 110 for line in report.splitlines())
    return {line.split("  ")[0]: line.split("  ")[-1].strip() for line in report.splitlines()}


def test_report_says_which_targets_are_met():
    found = verdicts(a_result())
    assert found["sampler, 15M, threads 2: float32 peer's time / ours"] == "missed"  # 4.5 of 5
    assert found["sampler, 15M, threads 2: best peer's time / ours"] == "met"  # 3 of 2.5
    assert found["sampler, 15M, threads 2: our memory / theirs, float32"] == "met"
    assert found["warm start, 15M (cold 20.0 s)"] == "missed"
    assert found["cost of flax in a step"] == "met"
    assert found["programs compiled after the first call"] == "met"


def test_like_is_set_beside_like_and_best_beside_best():
    """Our bfloat16 takes half the time of our float32: only the best row gains by it."""
    result = a_result(
        sides=[
            side("ours", "bfloat16", 0.05),
            side("peers", "float32", 0.45),
            side("peers", "bfloat16", 0.3),
        ]
    )
    row = result.rows[0]
    np.testing.assert_allclose((row.alike("float32"), row.alike("bfloat16")), (4.5, 6.0))
    np.testing.assert_allclose((row.ratio("float32"), row.ratio()), (9.0, 6.0))
    lines = bench_transformer.report(result).splitlines()
    (ratios,) = [line.split() for line in lines if "4.50" in line]
    assert ratios == [
        "15M",
        "2",
        "sampler",
        "4.50",
        "x",
        "6.00",
        "x",
        "6.00",
        "x",
        "10240",
        "50%",
        "100%",
        "0%",
    ]


def test_the_report_says_which_direction_is_good():
    report = bench_transformer.report(a_result())
    assert "above 1 x we are faster" in report
    assert ">= 2.5 x" in report  # the peer's time / ours
    assert "<= 1 x" in report  # our memory / the peer's


def test_a_busy_machine_and_more_memory_are_told():
    found = verdicts(a_result(busy=0.5, peak=200 * 2**20))
    assert found["sampler, 15M, threads 2: best peer's time / ours"].endswith("measure again")
    assert found["sampler, 15M, threads 2: our memory / theirs, float32"] == "missed"


def test_without_peers_the_report_says_how_to_name_them():
    report = bench_transformer.report(a_result(sides=[]))
    assert "NLHF_PEERS" in report
    assert "best peer" not in report


def test_records_can_be_written():
    assert json.loads(json.dumps(records.encode(a_result()), allow_nan=False))["rows"][0]["case"] == "sampler"


def test_a_missing_python_is_named(monkeypatch):
    monkeypatch.setenv("NLHF_PEERS", "/nowhere/python")
    with pytest.raises(InputError, match="/nowhere/python"):
        bench_transformer.run(bench_transformer.Config(quick=True))


def test_a_process_that_ends_early_is_quoted(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    worker = bench_transformer.Worker(command, {"case": "sampler"}, tmp_path / "log")
    with pytest.raises(InputError, match="no such thing"):
        worker.heard()
    worker.end()


def test_the_command_knows_the_benchmark(nlhf):
    assert "transformer" in nlhf("bench", "--help").out
    assert bench.MODULES["transformer"] == bench_transformer.__name__


def test_quick_is_smaller():
    config = bench_transformer.Config()
    quick = bench_transformer.shrink(config)
    assert quick.models == ("1M",)
    assert quick.repeats < config.repeats
    assert set(quick.cases) < set(config.cases)


def test_both_sides_make_the_same_prompts():
    rows = bench_transformer_peers.prompts(SPEC)
    assert [len(row) for row in rows] == [5] * 3
    assert all(row[0] == 1 and all(3 <= index < 40 for index in row[1:]) for row in rows)
    assert bench_transformer_peers.prompts(SPEC, salt=1) != rows
    assert bench_transformer_peers.words([1, 7, 2, 0]) == "<begin> t7 <end> <pad>"


def test_the_floor_counts_weights_and_products():
    config = TINY
    weights = sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: decoder.init(jax.random.key(0), config)))
    )
    body = weights - config.vocabulary * config.width
    # bandwidth without end: products only; each token of 3 rows passes the body once in either phase
    least = bench_transformer_floor.floor("sampler", config, 3, 5, 4, 1.0, 1e30)
    assert least == pytest.approx(2 * body * 15 + 4 * 2 * 3 * weights)
    # products without end: every token reads the weights
    assert bench_transformer_floor.floor("sampler", config, 3, 5, 4, 1e30, 1.0) == pytest.approx(
        4 * 4 * weights
    )
    update = bench_transformer_floor.floor("dpo", config, 3, 5, 4, 1.0, 1e30)
    assert update == pytest.approx(4 * (2 * body * (15 + 24) + 2 * (weights - body) * 24))


def test_the_plain_model_is_the_model(tiny):
    params, _ = tiny
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    tokens = jnp.asarray(bench_transformer_peers.prompts(SPEC), jnp.int32)
    plain = bench_transformer_plain.hidden(params, TINY, tokens)
    np.testing.assert_allclose(plain, decoder.hidden(params, TINY, tokens), rtol=1e-5, atol=1e-6)


def test_the_sampler_runs_and_compiles_once(tiny):
    _, spec = tiny
    repeat, facts = bench_transformer_ours.make_case({**spec, "case": "sampler"})
    assert np.shape(facts["greedy"]) == (3, 4)
    repeat(0)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    repeat(1)
    assert not [name for name in compiled if name.endswith("backend_compile_duration")]


@pytest.mark.slow
def test_a_quick_run_has_all_rows(monkeypatch):
    monkeypatch.delenv("NLHF_PEERS", raising=False)
    result = bench_transformer.run(bench_transformer.Config(quick=True, repeats=2))
    assert [row.case for row in result.rows] == ["sampler", "nash_md", "dpo"]
    assert all(row.recompiled == 0 and row.ours.seconds > 0 for row in result.rows)
    assert result.starts[0].warm < result.starts[0].cold
    assert result.flax["apart"] < 1e-4
