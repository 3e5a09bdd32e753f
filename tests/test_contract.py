"""What every algorithm must do, whoever wrote it: one suite over ``ALGORITHMS`` and the rows of the bank."""

import inspect

import bank
import checks
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nlhf import ALGORITHMS, logspace
from nlhf.base import Comparisons, Info, hyper
from tabular import families, games
from tabular.metrics import METRICS
from tabular.oracle import exact, offline, sampled
from tabular.runner import Axes, _jitted, run
from tabular.spaces.network import init_network, network_space
from tabular.spaces.simplex import simplex
from tabular.traces import ITERATES

BETA = 0.3
PARAMETERS = {"step_size", "beta", "mixture", "period", "num_inner"}

# one start off the reference, so that nothing rests on their being equal
GAME = games.make_game(
    families.uniform_skew(jax.random.key(1), 4, 2),
    families.random_reference(jax.random.key(2), 4, 2),
    BETA,
    [0.6, 0.4],
)
START = logspace.normalise(jax.random.normal(jax.random.key(3), (2, 4)))
EACH = pytest.mark.parametrize("name", bank.NAMES)


def method_of(name, beta=BETA):
    changes = {"num_inner": 3} if name == "nash_prox" else {}
    return bank.make(name, beta, **changes)


def final_policy(name, game=GAME, start=START, num_steps=4, **arguments):
    trace = run(method_of(name), game, num_steps=num_steps, start=start, measures=(), **arguments)
    return trace.state.policy


def structure(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


def test_bank_has_one_row_for_every_algorithm():
    assert list(bank.ROWS) == list(ALGORITHMS)


@EACH
def test_parameter_names(name):
    parameters = inspect.signature(ALGORITHMS[name]).parameters
    assert set(parameters) <= PARAMETERS
    assert list(parameters)[:2] == ["step_size", "beta"]
    assert set(bank.ROWS[name].hyper(BETA)) == set(parameters)
    assert all(kind.default is inspect.Parameter.empty for kind in parameters.values()), "no silent defaults"
    assert set(hyper(method_of(name))) >= {"step_size", "beta"}


@EACH
def test_state_keeps_structure_shape_and_dtype(name):
    method = method_of(name)
    state = method.init(START)
    assert state.policy is START
    after, info = checks.one_step(method, GAME, jax.random.key(0), state)
    assert type(after) is type(state)
    assert structure(after) == structure(state)
    assert type(info) is Info
    expected = 3 if name == "nash_prox" else bank.ROWS[name].queries
    assert int(info.queries) == expected


@EACH
def test_single_precision_tables_stay_single_precision(name):
    # float32 arrays in a float64 session, under strict promotion
    game = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), GAME)
    state = method_of(name).init(START.astype(jnp.float32))
    after, _ = checks.one_step(method_of(name), game, jax.random.key(0), state)
    assert structure(after) == structure(state)
    double, _ = checks.one_step(method_of(name), GAME, jax.random.key(0), method_of(name).init(START))
    np.testing.assert_allclose(after.policy, double.policy, atol=3e-6)


@EACH
def test_runs_with_float64_off(name):
    with jax.enable_x64(False):
        game = games.make_game(
            families.uniform_skew(jax.random.key(1), 4, 2),
            families.random_reference(jax.random.key(2), 4, 2),
            BETA,
        )
        with pytest.warns(UserWarning, match="float64 is off"):
            trace = run(method_of(name), game, num_steps=4, measures=("duality_gap",))
        assert trace.state.policy.dtype == jnp.float32
        gap = trace.of("duality_gap")
        assert gap.dtype == jnp.float32
        assert bool(jnp.isfinite(gap).all())
        assert bool(gap[-1] < gap[0])


def noisy(game, log_prob):
    """The exact oracle with noise of its key: as much of a sampled oracle as an algorithm can see."""
    oracle = exact(game, log_prob)

    def payoff(key, policy):
        feedback = oracle.payoff(key, policy)
        noise = jax.random.uniform(key, feedback.preference.shape)
        return feedback._replace(preference=feedback.preference + 0.1 * noise)

    return oracle._replace(payoff=payoff)


@EACH
def test_same_key_same_bits(name):
    one = final_policy(name, make_oracle=noisy, key=jax.random.key(7))
    two = final_policy(name, make_oracle=noisy, key=jax.random.key(7))
    other = final_policy(name, make_oracle=noisy, key=jax.random.key(8))
    np.testing.assert_array_equal(one, two)
    assert np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-6


@EACH
def test_other_hyper_parameters_do_not_recompile(name):
    final_policy(name)
    before = _jitted._cache_size()
    other = games.with_beta(GAME, 0.25)
    run(method_of(name, 0.25), other, num_steps=4, start=START, measures=(), key=jax.random.key(5))
    assert _jitted._cache_size() == before


@EACH
def test_vmap_over_seeds_equals_a_loop(name):
    keys = jax.random.split(jax.random.key(9), 3)
    together = final_policy(name, make_oracle=noisy, key=keys, axes=(Axes(key=0),))
    apart = jnp.stack([final_policy(name, make_oracle=noisy, key=key) for key in keys])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-12)


@EACH
def test_vmap_over_algorithms_equals_a_loop(name):
    betas = np.array([0.2, 0.3, 0.5])
    settings = [{**bank.ROWS[name].hyper(beta)} for beta in betas]
    fixed = {"num_inner": 3} if name == "nash_prox" else {}
    traced = {key: jnp.array([s[key] for s in settings], float) for key in settings[0] if key not in fixed}
    batch = jax.vmap(lambda values: ALGORITHMS[name](**values, **fixed))(traced)
    axes = (Axes(algorithm=0, game=games.Game(None, None, None, 0)),)
    arguments = {"num_steps": 4, "start": START, "measures": ()}
    together = run(batch, games.with_beta(GAME, betas), axes=axes, **arguments)
    for i, setting in enumerate(settings):
        alone = run(ALGORITHMS[name](**{**setting, **fixed}), games.with_beta(GAME, betas[i]), **arguments)
        np.testing.assert_allclose(together.state.policy[i], alone.state.policy, rtol=0, atol=1e-12)


@EACH
def test_relabelling_actions_relabels_the_result(name):
    order = jnp.array([2, 0, 3, 1])
    relabelled = GAME._replace(
        advantage=GAME.advantage[:, order][:, :, order], log_ref=GAME.log_ref[:, order]
    )
    one = final_policy(name)[:, order]
    two = final_policy(name, game=relabelled, start=START[:, order])
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-13)


def shifted_oracle(game, log_prob):
    oracle = exact(game, log_prob)

    def payoff(key, policy):
        feedback = oracle.payoff(key, policy)
        return feedback._replace(preference=feedback.preference + jnp.array([[0.5], [-3.0]]))

    return oracle._replace(payoff=payoff)


def shifted_space(game):
    space = simplex(game)

    def project(policy, target, feedback):
        return space.project(policy + jnp.array([[2.0], [-1.0]]), target, feedback)

    return space._replace(project=project)


@EACH
def test_constants_added_to_payoffs_and_logits_change_nothing(name):
    shifted = final_policy(name, make_oracle=shifted_oracle, make_space=shifted_space)
    np.testing.assert_allclose(shifted, final_policy(name), rtol=0, atol=1e-13)


LONG = {"num_steps": 60, "measures": ("duality_gap", "exploitability_original", "kl_to_reference")}


def assert_normalised(log_policy):
    assert not np.isnan(log_policy).any()
    total = jax.scipy.special.logsumexp(jnp.asarray(log_policy), axis=-1)
    np.testing.assert_allclose(
        total, 0, atol=1e-13 * max(1, np.abs(log_policy[np.isfinite(log_policy)]).max())
    )


@EACH
def test_log_policies_stay_normalised_and_finite_at_extremes(name):
    # a reference with mass 1e-8 on the strongest action, beta = 1e-3: logits of hundreds of nats
    log_ref = jnp.log(jnp.array([[1e-8, 0.5, 0.3, 0.2 - 1e-8], [0.97, 0.01, 0.01, 0.01]]))
    matrix = families.tournament(jax.random.key(4), 4, 2)
    game = games.make_game(matrix, log_ref, 1e-3)
    trace = run(method_of(name, 1e-3), game, start=START, **LONG)
    policy = np.asarray(trace.state.policy)
    assert np.isfinite(policy).all()
    assert_normalised(policy)
    for values in trace.values.values():
        assert np.isfinite(values).all()
        assert (np.asarray(values) >= -1e-15).all()


@EACH
def test_excluded_actions_keep_mass_exactly_zero(name):
    log_ref = logspace.normalise(GAME.log_ref.at[0, 1].set(-jnp.inf))
    game = GAME._replace(log_ref=log_ref)
    start = logspace.normalise(START.at[0, 1].set(-jnp.inf))
    trace = run(method_of(name), game, start=start, **LONG)
    policy = np.asarray(trace.state.policy)
    assert policy[0, 1] == -np.inf
    assert np.isfinite(np.delete(policy[0], 1)).all()
    assert_normalised(policy)
    assert all(np.isfinite(values).all() for values in trace.values.values())
    # the rest is the game without the action
    kept = jnp.array([0, 2, 3])
    smaller = games.Game(game.advantage[:1, kept][:, :, kept], game.log_ref[:1, kept], jnp.ones(1), game.beta)
    alone = run(method_of(name), smaller, num_steps=60, start=start[:1, kept], measures=())
    np.testing.assert_allclose(policy[0, [0, 2, 3]], alone.state.policy[0], rtol=0, atol=1e-13)


@EACH
def test_claims_have_a_source_a_metric_and_evaluate(name):
    item = bank.known("uniform_skew")
    methods = [(bank.make(name, 0.2), bank.ROWS[name].hyper(0.2))]
    if name == "nash_md":
        methods.append((bank.make(name, 0.2, step_size=None), {"step_size": None, "beta": 0.2}))
    if bank.ROWS[name].linear:
        assert any(c.metric == "kl_to_nash" and c.rate_kind == "linear" for c in methods[0][0].claims)
    for method, settings in methods:
        names = [claim.name for claim in method.claims]
        assert len(set(names)) == len(names)
        for claim in method.claims:
            constants = bank.constants(settings, item)
            if not claim.regularised:
                constants = constants._replace(beta=0.0)
            assert claim.name.startswith(name)
            assert claim.source
            assert claim.statement
            assert claim.metric in METRICS
            assert claim.iterate in ITERATES
            bound = np.asarray(claim.bound(np.array([0.0, 1.0, 10.0, 100.0]), constants))
            assert not np.isnan(bound).any()
            assert (bound[1:] > 0).all()
            assert (np.diff(bound) <= 0).all()
            assert claim.status in ("theorem", "derived", "empirical")
            assert claim.rate_kind in ("linear", "power", "none")
            assert (claim.rate is None) == (claim.rate_kind == "none")
            if claim.rate is not None:
                assert float(claim.rate(constants)) > 0
            low, high = claim.step_size_range(np.asarray(0.2 if claim.regularised else 0.0))
            assert 0 <= float(low) < float(high)
            if settings["step_size"] is not None and claim.regularised:
                assert float(low) <= settings["step_size"] <= float(high) * (1 + 1e-12)


def comparisons_of(game):
    count = 60
    keys = jax.random.split(jax.random.key(11), 4)
    context = jax.random.randint(keys[0], (count,), 0, 2)
    first, second = (jax.random.randint(key, (count,), 0, 4) for key in keys[1:3])
    label = jax.random.bernoulli(keys[3], game.preference[context, first, second]).astype(float)
    return Comparisons(context, first, second, label, jnp.ones(count))


NETWORK = network_space(2, 0.05, optax.sgd)
OFFLINE = offline(comparisons_of(GAME))


WORLDS = {
    "simplex-exact": (simplex, exact),
    "simplex-sampled": (simplex, sampled(3)),
    "simplex-offline": (simplex, OFFLINE),
    "network-exact": (NETWORK, exact),
    "network-sampled": (NETWORK, sampled(3)),
    "network-offline": (NETWORK, OFFLINE),
}


@EACH
@pytest.mark.parametrize("world", WORLDS)
def test_works_unchanged_in_every_world(name, world):
    make_space, make_oracle = WORLDS[world]
    start = START if make_space is simplex else init_network(jax.random.key(12), 2, 4, width=3)
    method = method_of(name)
    space = make_space(GAME)
    oracle = make_oracle(GAME, space.log_prob)
    state = method.init(start)
    with jax.disable_jit():  # operations of shapes that all algorithms share: cheaper than 32 programs
        # two steps: the first optimistic one only extrapolates
        between, _ = method.step(jax.random.key(12), state, oracle, space)
        after, info = method.step(jax.random.key(13), between, oracle, space)
    assert structure(after) == structure(state)
    assert int(info.queries) > 0
    log_policy = np.asarray(space.log_prob(after.policy))
    assert log_policy.shape == (2, 4)
    assert_normalised(log_policy)
    moved = np.abs(log_policy - np.asarray(space.log_prob(start))).max()
    assert moved > 1e-6
