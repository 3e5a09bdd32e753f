"""What every learner must do, whoever wrote it: one suite over ``LEARNERS`` and the rows of ``learners``."""

import functools
import inspect

import jax
import jax.numpy as jnp
import learners
import numpy as np
import optax
import pytest
import scipy.optimize

from nlhf import ALGORITHMS, LEARNERS, logspace
from nlhf.base import Calibration, Comparisons, Info, hyper
from nlhf.replay import buffer, latest
from tabular.oracle import exact, labelled, offline
from tabular.replay import counts
from tabular.runner import Axes, _jitted, run
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.finite_class import finite_class
from tabular.spaces.network import init_network, network_space
from tabular.spaces.simplex import simplex
from tabular.spaces.softmax import softmax_space

BANDIT = learners.BANDIT
START = logspace.normalise(jax.random.normal(jax.random.key(3), (2, 4)))
# every learner compiles a program a test: two of them stand for all in the default run
FAST = ("xpo", "rlhf")
EACH = pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in learners.NAMES],
)
PARAMETERS = {
    *("optimism", "beta", "replay", "calibration", "temperature", "bias", "mixture", "regularisation"),
    *("step_size", "preferred", "width", "uncertainty"),
}
STEPS = softmax_space(5, 0.1)
NUM_STEPS, NUM_DUELS = 4, 3
REPLAY = buffer(NUM_STEPS * NUM_DUELS)


def final(name, **arguments):
    return traced(name, **arguments).state


def traced(
    name, replay=REPLAY, make_space=STEPS, bandit=BANDIT, num_steps=NUM_STEPS, changes=None, **arguments
):
    defaults = {"key": jax.random.key(7), "start": START, "make_oracle": labelled(NUM_DUELS), "measures": ()}
    method = learners.make(name, replay, bandit, **(changes or {}))
    return run(method, bandit, num_steps=num_steps, make_space=make_space, **{**defaults, **arguments})


def structure(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def test_there_is_one_row_for_every_learner():
    assert list(learners.ROWS) == list(LEARNERS)
    assert not set(LEARNERS) & set(ALGORITHMS)


@EACH
def test_parameter_names(name):
    parameters = inspect.signature(LEARNERS[name]).parameters
    assert set(parameters) <= PARAMETERS
    assert set(learners.ROWS[name].hyper) | {"replay"} <= set(parameters)
    defaults = {key for key, each in parameters.items() if each.default is not inspect.Parameter.empty}
    assert defaults <= {"calibration"}, "no silent defaults"
    assert set(hyper(learners.make(name, REPLAY))) == set(parameters)


@EACH
def test_state_keeps_structure_and_counts_its_comparisons(name):
    method = learners.make(name, REPLAY)
    state = method.init(START)
    assert state.policy is START
    trace = traced(name)
    assert type(trace.state) is type(state)
    assert structure(trace.state) == structure(state)
    np.testing.assert_array_equal(trace.queries, NUM_DUELS * np.arange(NUM_STEPS + 1))
    assert float(trace.state.memory.comparisons.weight.sum()) == NUM_STEPS * NUM_DUELS
    assert int(trace.state.memory.appended) == NUM_STEPS * NUM_DUELS


@EACH
def test_same_key_same_bits_and_another_key_another_run(name):
    np.testing.assert_array_equal(final(name).policy, final(name).policy)
    other = final(name, key=jax.random.key(8)).policy
    assert np.abs(np.asarray(other) - np.asarray(final(name).policy)).max() > 1e-6


@EACH
def test_other_hyper_parameters_do_not_recompile(name):
    final(name)
    before = _jitted._cache_size()
    changed = {key: 0.8 * value for key, value in learners.ROWS[name].hyper.items()}
    final(name, changes=changed, key=jax.random.key(5), bandit=BANDIT._replace(beta=0.8 * BANDIT.beta))
    assert _jitted._cache_size() == before


@EACH
def test_vmap_over_seeds_equals_a_loop(name):
    keys = jax.random.split(jax.random.key(9), 3)
    together = final(name, key=keys, axes=(Axes(key=0),)).policy
    apart = jnp.stack([final(name, key=key).policy for key in keys])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-12)


@EACH
def test_counts_remember_what_a_list_remembers(name):
    listed, counted = final(name), final(name, replay=counts(2, 4))
    np.testing.assert_allclose(counted.policy, listed.policy, rtol=0, atol=1e-12)
    assert float(counted.memory.comparisons.weight.sum()) == NUM_STEPS * NUM_DUELS


@EACH
def test_log_policies_stay_normalised_and_finite(name):
    bandit = BANDIT._replace(
        log_ref=jnp.log(jnp.array([[1e-8, 0.5, 0.3, 0.2 - 1e-8], [0.97, 0.01, 0.01, 0.01]])),
        beta=jnp.array(0.02, float),  # not of weak type: the same program serves
    )
    changes = {"beta": 0.02} if "beta" in learners.ROWS[name].hyper else {}
    policy = final(name, bandit=bandit, changes=changes).policy
    assert bool(jnp.isfinite(policy).all())
    np.testing.assert_allclose(jax.scipy.special.logsumexp(policy, axis=-1), 0, atol=1e-12)


@EACH
def test_excluded_actions_keep_mass_exactly_zero(name):
    excluded = {
        "bandit": BANDIT._replace(log_ref=logspace.normalise(BANDIT.log_ref.at[0, 1].set(-jnp.inf))),
        "start": logspace.normalise(START.at[0, 1].set(-jnp.inf)),
    }
    policy = np.asarray(final(name, **excluded).policy)
    assert policy[0, 1] == -np.inf
    assert np.isfinite(np.delete(policy.ravel(), 1)).all()


@pytest.mark.slow
@EACH
def test_single_precision_tables_stay_single_precision(name):
    bandit = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), BANDIT)
    data = data_of(ROWS)
    data = data._replace(prefer_first=data.prefer_first.astype(jnp.float32), weight=jnp.ones(40, jnp.float32))
    start, source = START.astype(jnp.float32), offline(data)
    state = final(name, replay=latest(data), bandit=bandit, start=start, make_oracle=source)
    assert state.policy.dtype == jnp.float32
    assert bool(jnp.isfinite(state.policy).all())


def data_of(rows):
    context, first, second, label = (jnp.asarray(column) for column in rows)
    return Comparisons(context, first, second, label, jnp.ones(len(rows[0])))


ROWS = learners.rows_of(jax.random.key(1))
BOUND = 1.3
BOX = bounded_rewards(BOUND)
PRIOR = jnp.log(jnp.array([[0.2, 0.3, 0.4, 0.1], [0.4, 0.3, 0.2, 0.1]]))


@functools.partial(jax.jit, static_argnames=("make_space",))
def one_step(method, data, start, make_space):
    """One step on a fixed data set, off the oracle's order."""
    space = make_space(BANDIT)
    oracle = exact(BANDIT, space.log_prob)._replace(duel=lambda key, policy, opponent: data)
    return method.step(jax.random.key(0), method.init(start), oracle, space)


@EACH
def test_a_step_minimises_the_objective_of_the_box_as_scipy_does(name):
    """In the class of bounded rewards, where every objective has a minimum."""
    row, data = learners.ROWS[name], data_of(ROWS)
    # inside the box: the warm start must not be the answer
    start = logspace.normalise(BANDIT.log_ref + jax.random.uniform(jax.random.key(4), (2, 4)) / learners.BETA)
    state, info = one_step(learners.make(name, latest(data)), data, start, BOX)
    assert type(info) is Info
    assert int(info.queries) == len(ROWS[0])
    fitted = np.asarray(getattr(state, row.fitted))
    log_ref = np.asarray(BANDIT.log_ref)
    world = learners.World(np.asarray(BANDIT.context_prob), np.exp(log_ref), np.exp(np.asarray(start)))

    def objective(flat):
        logits = log_ref + flat.reshape(2, 4) / learners.BETA
        log_policy = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return row.objective(log_policy - log_ref, ROWS, world, **row.hyper)

    best = np.inf
    rng = np.random.default_rng(0)
    for _ in range(8):
        found = scipy.optimize.minimize(
            objective,
            rng.uniform(0, BOUND, 8),
            method="L-BFGS-B",
            bounds=[(0, BOUND)] * 8,
            options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9},
        )
        best = min(best, found.fun)
    implicit = learners.BETA * (fitted - log_ref)
    implicit = implicit - implicit.min(-1, keepdims=True)
    assert implicit.max() <= BOUND + 1e-9
    ours = objective(implicit.ravel())
    assert objective(rng.uniform(0, BOUND, 8)) > best + 1e-2, "a flat objective tests nothing"
    assert ours <= best + (1e-7 if row.smooth else 0.02) * (1 + abs(best))


WORLDS = {
    "simplex": simplex,
    "bounded": BOX,
    "finite": finite_class(np.random.default_rng(0).uniform(0, 1, (9, 2, 4))),
    "softmax": STEPS,
    "network": network_space(2, 0.05, optax.sgd),
}


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("world", ["finite", "softmax", "network"])
@pytest.mark.parametrize("source", ["online", "offline"])
def test_works_unchanged_in_every_world(name, world, source):
    assert_works(name, world, source)


def test_works_in_a_network_and_in_a_class():
    assert_works("xpo", "network", "online")
    assert_works("dpo", "finite", "offline")


def assert_works(name, world, source):
    data = data_of(ROWS)
    arguments = {"make_space": WORLDS[world], "num_steps": 2}
    arguments["start"] = init_network(jax.random.key(1), 2, 4) if world == "network" else START
    if source == "offline":
        arguments |= {"make_oracle": offline(data), "replay": latest(data)}
    state = final(name, **arguments)
    space = WORLDS[world](BANDIT)
    before, after = (np.asarray(space.log_prob(policy)) for policy in (arguments["start"], state.policy))
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() > 1e-9


def test_a_fit_with_no_comparison_follows_the_calibration_alone():
    empty = data_of(ROWS)._replace(weight=jnp.zeros(len(ROWS[0])))
    space = BOX(BANDIT)

    def fit(weight):
        ends = Calibration(space.reference, weight)
        return space.fit(jax.random.key(0), START, lambda first, second, label: first, empty, ends)

    away, towards = jax.jit(fit)(0.5), jax.jit(fit)(-0.5)
    assert float(logspace.kl(space.reference, away).sum()) > 0.05
    np.testing.assert_allclose(towards, space.reference, atol=1e-6)
