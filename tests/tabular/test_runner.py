import re

import bank
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nlhf import egpo, nash_md, nash_prox, omwu, online_mirror_descent
from nlhf.errors import InputError, RangeWarning
from tabular import games
from tabular.metrics import measure
from tabular.oracle import exact, sampled
from tabular.runner import Axes, _jitted, run
from tabular.traces import Measure

ITEM = bank.known("contextual")
GAME, LOG_NASH = ITEM
START = jax.nn.log_softmax(jax.random.normal(jax.random.key(1), GAME.log_ref.shape))
METHOD = egpo(0.8, 0.3)
EVERYTHING = tuple(
    Measure(metric, iterate)
    for metric in ("duality_gap", "kl_to_nash", "win_rate")
    for iterate in ("last", "half", "average")
)


def iterates(name, num_steps, **settings):
    """``[num_steps + 1, X, A]`` of the numpy transcription from START."""
    contexts = []
    for x in range(3):
        start, ref = np.exp(START[x]), np.exp(GAME.log_ref[x])
        matrix = np.asarray(GAME.preference[x])
        contexts.append(bank.ROWS[name].transcription(start, ref, matrix, num_steps, **settings))
    return np.stack(contexts, 1)


def test_recorded_values_are_the_metrics_of_the_iterates():
    trace = run(METHOD, GAME, num_steps=6, start=START, log_nash=LOG_NASH, measures=EVERYTHING)
    policies = iterates("egpo", 6, step_size=0.8, beta=0.3)
    half = np.stack(
        [
            reference.mirror(
                np.exp(np.log(policies[t, x])), np.exp(GAME.log_ref[x]),
                np.asarray(GAME.preference[x]) @ policies[t, x], 0.8, 0.3,
            )
            for t in range(6) for x in range(3)
        ]
    ).reshape(6, 3, 4)  # fmt: skip
    halves = np.concatenate([policies[:1], half])
    averages = np.concatenate([policies[:1], np.cumsum(half, 0) / np.arange(1, 7)[:, None, None]])
    np.testing.assert_array_equal(trace.step, np.arange(7))
    for recorded in EVERYTHING:
        table = {"last": policies, "half": halves, "average": averages}[recorded.iterate]
        expected = [measure(recorded.metric, GAME, jnp.log(policy), LOG_NASH) for policy in table]
        np.testing.assert_allclose(trace.values[recorded], expected, rtol=1e-10, err_msg=str(recorded))
    np.testing.assert_array_equal(trace.of("kl_to_nash", "half"), trace.values[Measure("kl_to_nash", "half")])


def test_average_iterate_of_a_method_without_a_half_step():
    # what was played before step t: iterates 0 to t - 1
    method = online_mirror_descent(0.6, 0.3)
    trace = run(method, GAME, num_steps=5, start=START, measures=(Measure("duality_gap", "average"),))
    policies = iterates("online_mirror_descent", 5, step_size=0.6, beta=0.3)
    averages = [policies[0]] + [policies[:t].mean(0) for t in range(1, 6)]
    expected = [measure("duality_gap", GAME, jnp.log(mean)) for mean in averages]
    np.testing.assert_allclose(trace.of("duality_gap", "average"), expected, rtol=1e-10)
    half = run(method, GAME, num_steps=5, start=START, measures=(Measure("duality_gap", "half"),))
    last = run(method, GAME, num_steps=5, start=START, measures=(Measure("duality_gap"),))
    np.testing.assert_array_equal(half.of("duality_gap", "half"), last.of("duality_gap"))


@pytest.mark.parametrize("make_oracle", [exact, sampled(4)], ids=["exact", "sampled"])
def test_a_stride_records_every_so_many_of_the_same_run(make_oracle):
    recorded = EVERYTHING[:3] if make_oracle is not exact else EVERYTHING
    arguments = dict(num_steps=12, start=START, log_nash=LOG_NASH, measures=recorded, make_oracle=make_oracle)
    fine = run(METHOD, GAME, every=1, **arguments)
    coarse = run(METHOD, GAME, every=4, **arguments)
    np.testing.assert_array_equal(coarse.step, [0, 4, 8, 12])
    np.testing.assert_array_equal(coarse.queries, fine.queries[::4])
    for each in recorded:
        np.testing.assert_allclose(
            coarse.values[each], fine.values[each][::4], rtol=1e-9, atol=1e-15, err_msg=str(each)
        )
    np.testing.assert_allclose(coarse.state.policy, fine.state.policy, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "queries"),
    [(METHOD, 2), (omwu(0.5, 0.3), 1), (nash_prox(0.3, 0.3, 7), 7), (nash_md(None, 0.3), 1)],
)
def test_queries_count_what_was_asked(method, queries):
    trace = run(method, GAME, num_steps=4, every=2)
    np.testing.assert_array_equal(trace.queries, queries * np.array([0, 2, 4]))


def test_the_key_drives_the_samples_and_defaults_to_key_zero():
    arguments = dict(num_steps=3, make_oracle=sampled(2))
    default = run(METHOD, GAME, **arguments).state.policy
    zero = run(METHOD, GAME, key=jax.random.key(0), **arguments).state.policy
    other = run(METHOD, GAME, key=jax.random.key(1), **arguments).state.policy
    np.testing.assert_array_equal(default, zero)
    assert bool((default != other).any())


# ---------------------------------------------------------------------------------- levels of vmap

BETAS = np.array([0.2, 0.3, 0.5])
STEPS = 1 / (BETAS + 0.5)
ONLY_BETA = games.Game(None, None, None, 0)


def test_one_level_over_games_keys_starts_and_equilibria():
    others = [GAME, GAME._replace(log_ref=START), games.with_beta(GAME, 0.3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *others)
    starts = jnp.stack([START, START[:, ::-1], GAME.log_ref])
    nashes = jnp.stack([LOG_NASH, START, LOG_NASH])
    keys = jax.random.split(jax.random.key(3), 3)
    arguments = dict(num_steps=4, measures=("duality_gap", "kl_to_nash"), make_oracle=sampled(3))
    axes = (Axes(game=0, key=0, start=0, log_nash=0),)
    together = run(METHOD, stacked, key=keys, start=starts, log_nash=nashes, axes=axes, **arguments)
    assert together.step.shape == together.queries.shape == (3, 5)
    for i, game in enumerate(others):
        alone = run(METHOD, game, key=keys[i], start=starts[i], log_nash=nashes[i], **arguments)
        for metric in ("duality_gap", "kl_to_nash"):
            np.testing.assert_allclose(together.of(metric)[i], alone.of(metric), rtol=1e-10)
        np.testing.assert_allclose(together.state.policy[i], alone.state.policy, rtol=0, atol=1e-13)


def test_two_levels_nest_outermost_first():
    batch = jax.vmap(egpo)(jnp.asarray(STEPS), jnp.asarray(BETAS))
    keys = jax.random.split(jax.random.key(4), 2)
    axes = (Axes(key=0), Axes(algorithm=0, game=ONLY_BETA))
    arguments = dict(num_steps=3, start=START, make_oracle=sampled(3))
    together = run(batch, games.with_beta(GAME, BETAS), key=keys, axes=axes, **arguments)
    assert together.of("duality_gap").shape == (2, 3, 4)
    for k in range(2):
        for b in range(3):
            alone = run(egpo(STEPS[b], BETAS[b]), games.with_beta(GAME, BETAS[b]), key=keys[k], **arguments)
            np.testing.assert_allclose(together.of("duality_gap")[k, b], alone.of("duality_gap"), rtol=1e-10)


def test_a_batch_of_games_starts_each_at_its_own_reference():
    others = [GAME, GAME._replace(log_ref=START)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *others)
    for axis in (0, games.Game(0, 0, 0, 0)):
        together = run(METHOD, stacked, num_steps=2, axes=(Axes(game=axis),))
        for i, game in enumerate(others):
            alone = run(METHOD, game, num_steps=2)
            np.testing.assert_allclose(together.of("duality_gap")[i], alone.of("duality_gap"), rtol=1e-10)


def test_axes_of_one_hyper_parameter_alone():
    batch = egpo(jnp.array([0.2, 0.8]), 0.3)
    together = run(batch, GAME, num_steps=3, axes=(Axes(algorithm=egpo(0, None)),))
    for i, step_size in enumerate((0.2, 0.8)):
        alone = run(egpo(step_size, 0.3), GAME, num_steps=3)
        np.testing.assert_allclose(together.of("duality_gap")[i], alone.of("duality_gap"), rtol=1e-10)


# ---------------------------------------------------------------------------------- cost


def optimised_program(method, game, log_nash, **arguments):
    """The compiled text of a run."""

    def call(method, game, log_nash):
        return run(method, game, log_nash=log_nash, start=log_nash, num_steps=50, **arguments)

    return jax.jit(call).lower(method, game, log_nash).compile().as_text()


def matrix_products(text):
    """Their number in each computation that has any, and whether it is the outermost one."""
    counts = []
    for computation in re.split(r"\n(?=\S)", text):
        products = len(re.findall(r"= \S+ dot\(", computation))
        if products:
            counts.append((computation.startswith("ENTRY"), products))
    return sorted(counts)


def test_the_recorded_gap_of_the_last_iterate_costs_no_matrix_product():
    # the loop's body asks two payoffs with or without a record; the last record needs one more, outside
    silent = optimised_program(METHOD, GAME, LOG_NASH, measures=())
    assert matrix_products(silent) == [(False, 2)]
    recorded = optimised_program(METHOD, GAME, LOG_NASH, measures=("duality_gap",))
    assert matrix_products(recorded) == [(False, 2), (True, 1)]


def test_a_game_axis_that_is_not_batched_makes_one_product_of_the_batch():
    batch = jax.vmap(egpo)(jnp.asarray(STEPS), jnp.asarray(BETAS))
    item = bank.known("uniform_skew")
    axes = (Axes(algorithm=0, game=ONLY_BETA),)
    many = games.with_beta(item.game, BETAS)
    text = optimised_program(batch, many, item.log_nash, measures=(), axes=axes)
    assert matrix_products(text) == [(False, 2)]
    assert "f64[3,5,5]" not in text, "the preference matrix is copied for every setting"


def test_equal_axes_share_a_compilation():
    def call(step_sizes):
        axes = (Axes(algorithm=egpo(0, None), game=games.Game(None, None, None, None)),)
        return run(egpo(jnp.array(step_sizes), 0.3), GAME, num_steps=3, axes=axes)

    call([0.1, 0.2])
    before = _jitted._cache_size()
    call([0.3, 0.4])
    assert _jitted._cache_size() == before


# ---------------------------------------------------------------------------------- warnings and errors


def test_a_step_size_outside_the_range_warns_and_the_run_goes_on():
    with pytest.warns(RangeWarning) as caught:
        trace = run(egpo(2.0, 0.3), GAME, num_steps=2)
    message = str(caught[0].message)
    assert message.startswith("step_size is 2, outside [0, 1.25], the range at beta = 0.3 that egpo.kl (")
    assert caught[0].filename == __file__
    assert trace.of("duality_gap").shape == (3,)
    batch = jax.vmap(egpo)(jnp.array([0.5, 1.9]), jnp.array([0.3, 0.3]))
    with pytest.warns(RangeWarning, match=r"step_size is 1\.9, outside"):
        run(batch, GAME, num_steps=2, axes=(Axes(algorithm=0),))


def test_steps_at_the_end_of_the_range_and_schedules_do_not_warn():
    run(egpo(1 / 0.8, 0.3), GAME, num_steps=1)
    run(nash_md(None, 0.3), GAME, num_steps=1)
    unregularised = games.with_beta(GAME, 0.0)
    run(omwu(0.5**0.5, 0.0), unregularised, num_steps=1)
    with pytest.warns(RangeWarning, match=r"omwu\.average"):
        run(omwu(0.9, 0.0), unregularised, num_steps=1)


def test_a_run_without_float64_says_so():
    with jax.enable_x64(False):
        game = games.make_game([[0.5, 0.9], [0.1, 0.5]], beta=0.3)
        with pytest.warns(UserWarning, match="float64 is off, so metrics below about 1e-6") as caught:
            run(METHOD, game, num_steps=1)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2.5}, r"num_steps is 2\.5, but it must be a whole number"),
        ({"num_steps": 4, "every": 0}, "every is 0"),
        ({"num_steps": 5, "every": 2}, "num_steps is 5, which is not a multiple of every = 2"),
        ({"num_steps": 1, "measures": ("gap",)}, "'gap' is not a metric; .*known are kl_to_nash"),
        ({"num_steps": 1, "measures": (Measure("duality_gap", "first"),)}, "'first' is not an iterate"),
        ({"num_steps": 1, "measures": ("kl_to_nash",)}, "kl_to_nash needs log_nash"),
        ({"num_steps": 1, "measures": ("span_to_nash",)}, "span_to_nash needs log_nash"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        run(METHOD, GAME, **arguments)
