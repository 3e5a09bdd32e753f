"""Against value iteration in numpy, and against what the values must satisfy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from tabular.mdps.families import gridworld, layered, random_mdp, token_tree
from tabular.mdps.mdp import make_mdp
from tabular.mdps.values import hard_values, log_ratio, occupancy, policy_values, soft_values

# one shape, so that each function is compiled once
SIZE = (13, 3)
soft, hard = jax.jit(soft_values), jax.jit(hard_values)
evaluate, visits = jax.jit(policy_values), jax.jit(occupancy)


@functools.cache
def mdps():
    tree = token_tree(jax.random.key(3), 3, 3, beta=0.4)  # 13 prefixes and an end
    table = np.asarray(tree.transition)
    return {
        "random": random_mdp(jax.random.key(0), *SIZE, beta=0.05),
        "patient": random_mdp(jax.random.key(1), *SIZE, discount=0.999, beta=0.3),
        "certain": random_mdp(jax.random.key(2), *SIZE, deterministic=True, beta=2.0),
        "layers": layered(jax.random.key(4), 3, 4, 3, deterministic=False, beta=0.2),
        "excluded": make_mdp(
            table[:13, :, :13] + np.eye(13)[:, None] * table[:13, :, 13:],
            np.asarray(tree.reward)[:13],
            log_ref=np.log(np.where(np.arange(3) == 1, 0.0, 0.5) + np.zeros(SIZE)),
            discount=0.8,
            beta=0.5,
        ),
    }


def iterate(mdp, beta, sweeps):
    """Value iteration, as slow as the discount is large."""
    v = np.zeros(mdp.num_states)
    allowed = np.isfinite(mdp.log_ref)
    with np.errstate(divide="ignore"):
        for _ in range(sweeps):
            q = np.asarray(mdp.reward) + float(mdp.discount) * np.asarray(mdp.transition) @ v
            if beta:
                v = beta * logsumexp(np.asarray(mdp.log_ref) + q / beta, axis=-1)
            else:
                v = np.where(allowed, q, -np.inf).max(-1)
            v = np.where(mdp.terminal, 0.0, v)
    return v


@pytest.fixture(autouse=True, scope="module")
def _quiet_logs():
    with np.errstate(divide="ignore"):
        yield


@pytest.mark.parametrize("name", ["random", "certain", "layers", "excluded", "patient"])
def test_optima_are_those_of_value_iteration(name):
    mdp = mdps()[name]
    sweeps = 30_000 if name == "patient" else 400
    for found, beta in ((soft(mdp), float(mdp.beta)), (hard(mdp), 0.0)):
        expected = iterate(mdp, beta, sweeps)
        np.testing.assert_allclose(found.v, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["random", "patient", "layers", "excluded"])
def test_the_soft_optimum_is_its_policys_value_and_solves_its_equation_to_rounding(name):
    mdp = mdps()[name]
    best = soft(mdp)
    scale = 1 + np.abs(best.v).max()
    again = evaluate(mdp, best.log_policy)
    # the condition of the linear solve is 1 / (1 - discount)
    room = 1e-12 if name == "patient" else 1e-14
    np.testing.assert_allclose(again.v / scale, best.v / scale, atol=room)
    ratio = mdp.beta * log_ratio(mdp, best.log_policy)
    allowed = np.isfinite(mdp.log_ref)
    np.testing.assert_allclose(np.where(allowed, best.advantage - ratio, 0.0) / scale, 0, atol=1e-14)
    np.testing.assert_allclose(np.exp(best.log_policy).sum(-1), 1, rtol=1e-13)
    worse = evaluate(mdp, mdp.reference)
    assert (np.asarray(worse.v) <= np.asarray(best.v) + 1e-12 * scale).all()


@pytest.mark.parametrize("name", ["random", "patient", "layers", "excluded"])
def test_values_are_sums_over_visits(name):
    mdp = mdps()[name]
    policy = soft(mdp).log_policy
    each = jnp.where(jnp.isneginf(policy), 0.0, mdp.reward - mdp.beta * log_ratio(mdp, policy))
    np.testing.assert_allclose(
        (visits(mdp, policy) * each).sum(), mdp.initial @ evaluate(mdp, policy).v, rtol=1e-11
    )


def test_ties_are_kept():
    mdp = mdps()["random"]
    twin = mdp._replace(
        reward=mdp.reward.at[:, 1].set(mdp.reward[:, 0]),
        transition=mdp.transition.at[:, 1].set(mdp.transition[:, 0]),
    )
    best = hard(twin)
    np.testing.assert_array_equal(best.optimal[:, 0], best.optimal[:, 1])
    assert best.optimal[:, 0].any()
    np.testing.assert_allclose(
        evaluate(twin._replace(beta=jnp.zeros(())), best.log_policy).v, best.v, rtol=1e-12
    )
    np.testing.assert_allclose(np.where(best.optimal, best.advantage, 0.0), 0.0, atol=1e-12)


def test_a_grid_without_discount_is_worth_the_distance_to_its_goal_and_none_where_wandering_pays():
    mdp = gridworld("s..g", discount=1.0, beta=0.01)
    np.testing.assert_allclose(jax.jit(hard_values)(mdp).v, [7.0, 8.0, 9.0, 0.0], rtol=1e-14)
    solve = jax.jit(soft_values)
    np.testing.assert_allclose(solve(mdp).v, [7.0, 8.0, 9.0, 0.0], atol=1e-2)
    # with β log 4 > 1 every further step earns more entropy than it costs: there is no optimum
    assert jnp.isnan(solve(mdp._replace(beta=jnp.asarray(2.0))).v).any()


def test_mass_outside_the_reference_has_no_regularised_value():
    mdp = mdps()["excluded"]
    uniform = jnp.full(SIZE, -jnp.log(3.0))
    assert jnp.isnan(evaluate(mdp, uniform).v).all()
    assert jnp.isfinite(evaluate(mdp._replace(beta=jnp.zeros(())), uniform).v).all()


@pytest.mark.slow
def test_a_batch_of_mdps_is_solved_at_once():
    betas = jnp.array([0.05, 0.5, 5.0])
    batch = jax.vmap(lambda key, beta: random_mdp(key, 4, 3, beta=beta))(
        jax.random.split(jax.random.key(5), 3), betas
    )
    found = jax.jit(jax.vmap(soft_values))(batch)
    for row in range(3):
        one = jax.tree.map(lambda leaf, row=row: leaf[row], batch)
        np.testing.assert_allclose(found.v[row], iterate(one, float(betas[row]), 400), rtol=1e-11)
