"""Learners keep the contract of ``nlhf.testing``, and fit what the numpy rows of ``learners`` say."""

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
from nlhf.testing import contract
from tabular.oracle import exact, labelled, offline
from tabular.runner import run
from tabular.spaces.bounded import bounded_rewards
from tabular.spaces.finite_class import finite_class
from tabular.spaces.network import init_network, network_space
from tabular.spaces.simplex import simplex
from tabular.spaces.softmax import softmax_space
from tabular.uncertainty import elliptic

BANDIT = learners.BANDIT
START = logspace.normalise(jax.random.normal(jax.random.key(3), (2, 4)))
# every learner compiles a program a test: two of them stand for all in the default run
FAST = ("xpo", "rlhf")
EACH = pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in learners.NAMES],
)
for name in LEARNERS:
    settings = {"uncertainty": elliptic(BANDIT)} if name == "kl_ucb" else {}
    suite = contract(name, **settings)
    globals()[f"Test_{name}"] = suite if name in FAST else pytest.mark.slow(suite)
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


def test_there_is_one_row_for_every_learner():
    assert list(learners.ROWS) == list(LEARNERS)
    assert not set(LEARNERS) & set(ALGORITHMS)


@EACH
def test_parameter_names(name):
    parameters = inspect.signature(LEARNERS[name]).parameters
    assert set(learners.ROWS[name].hyper) | {"replay"} <= set(parameters)
    defaults = {key for key, each in parameters.items() if each.default is not inspect.Parameter.empty}
    assert defaults <= {"calibration"}, "no silent defaults"
    assert set(hyper(learners.make(name, REPLAY))) == set(parameters)


@pytest.mark.slow
@EACH
@pytest.mark.filterwarnings("ignore:the game was made while float64 was off")
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
