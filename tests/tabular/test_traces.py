"""A trace is short to look at, stacks with others, and is drawn as its numbers and bounds are."""

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from nlhf import InputError, egpo, omwu
from tabular import Axes, families, make_game, plot_traces, run, sampled, solve

matplotlib.use("agg")
GAME = make_game(families.biased_rock_paper_scissors(), beta=0.1)
NASH = solve(GAME)
TRACE = run(egpo(1.5, 0.1), GAME, num_steps=4, log_nash=NASH)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(axes):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}


def test_a_trace_draws_its_measures_and_the_bound():
    axes = TRACE.plot(bound=True)
    drawn = lines(axes)
    assert set(drawn) == {"KL(Nash ‖ policy)", "KL(Nash ‖ policy): bound", "duality gap"}
    np.testing.assert_array_equal(drawn["KL(Nash ‖ policy)"], TRACE.of("kl_to_nash"))
    assert (drawn["KL(Nash ‖ policy): bound"] >= TRACE.of("kl_to_nash") * (1 - 1e-12)).all()
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 2, 4, 6, 8])
    assert axes.get_yscale() == "log"
    assert len(TRACE.plot().lines) == 2


def test_several_traces_are_drawn_in_one_picture_and_a_batch_with_its_band():
    keys = jax.random.split(jax.random.key(0), 3)
    noisy = run(
        omwu(0.5, 0.1),
        GAME,
        num_steps=4,
        log_nash=NASH,
        key=keys,
        axes=(Axes(key=0),),
        make_oracle=sampled(4),
    )
    axes = plot_traces({"mine": noisy, "EGPO": TRACE}, bound=True)
    assert {"mine", "EGPO", "EGPO: bound"} <= set(lines(axes))
    assert axes.get_ylabel() == "KL(Nash ‖ policy)"
    np.testing.assert_array_equal(lines(axes)["mine"], np.median(noisy.of("kl_to_nash"), 0))
    assert len(axes.collections) == 1
    assert plt.get_fignums()  # left open, so that a notebook shows it, in a loop too
    assert plot_traces({"a": TRACE}, "duality_gap").get_ylabel() == "duality gap"


def test_refusals():
    with pytest.raises(InputError, match="there are 0 traces"):
        plot_traces({})
    with pytest.raises(InputError, match="'win_rate' of last was not recorded"):
        plot_traces({"a": TRACE}, "win_rate")
    other = run(egpo(1.5, 0.1), GAME, num_steps=4, measures="win_rate")
    with pytest.raises(InputError, match="no measure in common"):
        plot_traces({"a": TRACE, "b": other})


def test_a_trace_is_shown_in_a_few_lines():
    trace = run(egpo(1.5, 0.1), GAME, num_steps=2)
    assert repr(trace) == "Trace of 3 records\n  duality_gap of last: 0.00734 first, 0.00316 last"
    keys = jax.random.split(jax.random.key(0), 2)
    batch = run(egpo(1.5, 0.1), GAME, num_steps=2, key=keys, axes=(Axes(key=0),))
    assert repr(batch).startswith("Trace of 3 records, a batch (2,)\n")
    assert repr(batch).endswith("(medians)")


def test_traces_of_several_runs_stack_and_pass_through_compiled_functions():
    traces = [run(egpo(size, 0.1), GAME, num_steps=2) for size in (1.0, 1.5)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *traces)
    assert stacked.of("duality_gap").shape == (2, 3)
    inside = jax.jit(lambda size: run(egpo(size, 0.1), GAME, num_steps=2))(1.5)
    assert inside.origin is None
    np.testing.assert_allclose(inside.of("duality_gap"), traces[1].of("duality_gap"), rtol=1e-12)
    assert "duality_gap of last" in repr(inside)
