"""The regularised solver against 50-digit arithmetic, closed forms, planted games and published tables."""

import itertools

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.logspace import kl, normalise
from tabular import make_game, nash, rational, solution

KINDS = ("random", "tournament", "bradley_terry", "cyclic", "low_rank")
REFERENCE_SCALES = (0.0, 1.0, 8.0)  # 8: log-range of 40 and more, masses far below 1e-8
BETAS = (1e-3, 1e-2, 0.1, 1.0, 10.0)

solve = jax.jit(nash.solve_regularised)
solve_batch = jax.jit(jax.vmap(nash.solve_regularised))
exploitability = jax.jit(nash.exploitability)


def draw_preference(rng: np.random.Generator, size: int, kind: str) -> np.ndarray:
    score, x, y = rng.normal(size=(3, size))
    ahead = np.subtract.outer(np.arange(size), np.arange(size)) % size
    logit = {
        "random": lambda: np.log(1 / rng.random((size, size)) - 1),
        "tournament": lambda: np.inf * rng.choice([-1.0, 1.0], (size, size)),
        "bradley_terry": lambda: 2 * np.subtract.outer(score, score),
        "cyclic": lambda: np.select([2 * ahead < size, 2 * ahead > size], [np.inf, -np.inf], 0.0),
        "low_rank": lambda: 4 * (np.outer(x, y) - np.outer(y, x)),
    }[kind]()
    upper = np.triu(1 / (1 + np.exp(-logit)), 1)
    return upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(size)


def draw_game(seed: int, size: int, kind: str = "random", scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng([size, seed])
    preference = draw_preference(rng, size, kind)
    return jnp.asarray(preference), normalise(jnp.asarray(scale * rng.normal(size=size)))


def precise_log_policy(preference: np.ndarray, log_ref: np.ndarray, beta: float) -> np.ndarray:
    """Log-policy by undamped Newton in 50 digits on the payoffs u = (P - 1/2) softmax(log_ref + u / β)."""
    size = len(log_ref)
    with mpmath.workdps(50):
        centred = mpmath.matrix(preference.tolist()) - mpmath.ones(size) / 2
        payoff = mpmath.zeros(size, 1)
        # a slow path in β keeps the plain iteration inside its basin
        for temperature in [*np.geomspace(4, beta, 160)[:-1], *[beta] * 8]:
            logits = mpmath.matrix(log_ref.tolist()) + payoff / mpmath.mpf(temperature)
            mass = logits.apply(mpmath.exp)
            policy = mass / mpmath.fsum(mass)
            gap = payoff - centred * policy
            spread = mpmath.diag(policy) - policy * policy.T
            payoff -= mpmath.lu_solve(mpmath.eye(size) - centred * spread / mpmath.mpf(temperature), gap)
        assert mpmath.norm(gap, mpmath.inf) < mpmath.mpf(10) ** -40
        return np.array([float(mpmath.log(share)) for share in policy])


@pytest.mark.parametrize("size", [2, 3, 10, 51])
def test_residual_is_at_rounding_level_over_the_bank(size):
    cases = itertools.product(range(4 if size <= 10 else 1), KINDS, REFERENCE_SCALES)
    games = zip(*(draw_game(seed, size, kind, scale) for seed, kind, scale in cases), strict=True)
    preference, log_ref = map(jnp.stack, games)
    for beta in BETAS:
        solution = solve_batch(preference, log_ref, jnp.full(len(log_ref), beta))
        assert solution.residual.max() < 3e-15
        # against max(1, |log π|) alone, rounding log π to float64 leaves about 1e-16 / β
        terms = np.maximum(np.maximum(1, np.abs(log_ref).max(-1)), 0.5 / beta)
        size_of_policy = np.maximum(1, np.abs(solution.log_policy).max(-1))
        assert (solution.residual * terms / size_of_policy).max() < 1e-13
        assert ((solution.exploitability >= 0) & (solution.exploitability < 1e-27)).all()
        np.testing.assert_allclose(np.exp(solution.log_policy).sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize(("kind", "beta"), list(itertools.product(KINDS, (1.0, 0.05, 0.003))))
def test_agrees_with_fifty_digits(kind, beta):
    preference, log_ref = draw_game(3, 4, kind, scale=3.0)
    want = precise_log_policy(np.asarray(preference), np.asarray(log_ref), beta)
    got = np.asarray(solve(preference, log_ref, jnp.asarray(beta)).log_policy)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_agrees_with_the_equilibria_of_real_preference_data(shared):
    files = sorted((shared / "data" / "games").glob("*.npz"))
    assert len(files) == 10
    largest = 43  # one shape compiles once; actions beyond a game's own have no reference mass
    for file in files:
        with np.load(file) as table:
            size = len(table["P"])
            preference = np.pad(table["P"], (0, largest - size), constant_values=0.5)
            log_ref = np.where(np.arange(largest) < size, -np.log(size), -np.inf)
            for beta in (1.0, 0.1, 0.01):
                policy = np.exp(solution.solve(make_game(preference, log_ref, beta)).log_policy[0])
                np.testing.assert_allclose(policy[:size], table[f"qre_uniform_tau{beta}"], atol=1e-12)
                np.testing.assert_array_equal(policy[size:], 0)


@pytest.mark.parametrize("beta", BETAS)
def test_additive_preferences_have_a_closed_form(beta):
    score = jnp.asarray(np.random.default_rng(0).uniform(size=10))
    _, log_ref = draw_game(0, 10, scale=4.0)
    preference = 0.5 + (score[:, None] - score[None, :]) / 2
    want = normalise(log_ref + score / (2 * beta))
    got = solve(preference, log_ref, jnp.asarray(beta)).log_policy
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


PLANTED = [(10, 1.0), (10, 1e-3), (200, 1e-3), (1000, 1e-2), pytest.param(1000, 1e-3, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("size", "beta"), PLANTED)
def test_recovers_a_planted_equilibrium(size, beta):
    """Choose π*, then the reference that makes it the equilibrium; masses range over many decades."""
    preference, planted = draw_game(5, size, "random", scale=3.0)
    log_ref = normalise(planted - (preference - 0.5) @ jnp.exp(planted) / beta)
    solution = solve(preference, log_ref, jnp.asarray(beta))
    assert solution.residual < 3e-15
    # the reference itself is rounded at |log_ref| <= 1/β, hence an answer known to 1e-15/β
    np.testing.assert_allclose(solution.log_policy, planted, atol=1e-14 + 1e-15 / beta)


def test_large_beta_gives_the_reference():
    preference, log_ref = draw_game(1, 10, "tournament", scale=4.0)
    for beta in (10.0, 1e3, 1e6):
        assert np.abs(solve(preference, log_ref, jnp.asarray(beta)).log_policy - log_ref).max() <= 1 / beta


@pytest.mark.parametrize("kind", KINDS)
def test_small_beta_approaches_the_original_game(kind):
    preference, log_ref = draw_game(2, 5, kind, scale=0.0)
    for beta in (1e-2, 1e-3, 1e-5):
        log_policy = solve(preference, log_ref, jnp.asarray(beta)).log_policy
        advantage = (preference - 0.5) @ jnp.exp(log_policy)
        # per action, the bias of regularisation: (P π*)_i - 1/2 <= β log(1/ref_i) - β KL(π*, ref)
        assert (advantage <= beta * (-log_ref - kl(log_policy, log_ref)) + 1e-15).all()
    answer = rational.solve_exact(preference)
    if answer.unique:
        np.testing.assert_allclose(np.exp(log_policy), answer.policy, atol=1e-3)


@pytest.mark.parametrize(("kind", "beta"), list(itertools.product(KINDS, (0.02, 0.3, 3.0))))
def test_identities_of_the_equilibrium(kind, beta):
    """Strong monotonicity and the certificate, at policies far from the equilibrium."""
    preference, log_ref = draw_game(7, 10, kind, scale=2.0)
    log_nash = solve(preference, log_ref, jnp.asarray(beta)).log_policy
    rng = np.random.default_rng(7)
    for _ in range(5):
        log_policy, other = normalise(jnp.asarray(2 * rng.normal(size=(2, 10))))
        policy = jnp.exp(log_policy)
        gap = exploitability(preference, log_ref, jnp.asarray(beta), log_policy)
        logits = log_ref + (preference - 0.5) @ policy / beta
        closed = beta * (jax.scipy.special.logsumexp(logits) + kl(log_policy, log_ref))
        np.testing.assert_allclose(gap, closed, rtol=1e-12)
        lower = beta * kl(log_policy, log_nash)
        assert lower <= gap * (1 + 1e-12)
        assert gap <= (lower + kl(log_nash, log_policy) / (4 * beta)) * (1 + 1e-12)
        win = jnp.exp(log_nash) @ preference @ policy - beta * kl(log_nash, log_ref)
        np.testing.assert_allclose(win + beta * kl(log_policy, log_ref) - 0.5, lower, rtol=1e-10)
        move = policy - jnp.exp(other)
        product = (beta * (log_policy - other) - preference @ move) @ move
        symmetric_kl = kl(log_policy, other) + kl(other, log_policy)
        np.testing.assert_allclose(product, beta * symmetric_kl, rtol=1e-11)


def test_a_perturbed_policy_fails_every_certificate():
    preference, log_ref = draw_game(0, 5)
    beta = jnp.asarray(0.05)
    solution = solve(preference, log_ref, beta)
    moved = normalise(solution.log_policy + 1e-9 * jnp.arange(5.0))
    other_beta = solve(preference, log_ref, beta * (1 + 1e-9)).log_policy
    other_game = solve(preference.T, log_ref, beta).log_policy
    for log_policy in (moved, other_beta, other_game):
        assert nash.relative_residual(preference, log_ref, beta, log_policy) > 1e-12
        gap = exploitability(preference, log_ref, beta, log_policy)
        assert gap > 1e6 * solution.exploitability
        assert gap >= beta * kl(log_policy, solution.log_policy)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    data=st.lists(st.integers(-4, 4), min_size=10, max_size=10),
    logits=st.lists(st.floats(-30, 0), min_size=5, max_size=5),
    beta=st.floats(1e-3, 10),
    order=st.permutations(range(5)),
)
def test_degenerate_games_are_solved_and_relabelling_relabels(data, logits, beta, order):
    centred = np.zeros((5, 5))
    centred[np.triu_indices(5, 1)] = np.array(data) / 8
    preference, log_ref = jnp.asarray(0.5 + centred - centred.T), normalise(jnp.asarray(logits))
    order = np.array(order)
    solution = solve(preference, log_ref, jnp.asarray(beta))
    relabelled = solve(preference[order][:, order], log_ref[order], jnp.asarray(beta))
    assert solution.residual < 3e-15
    assert 0 <= solution.exploitability < 1e-27
    np.testing.assert_allclose(relabelled.log_policy, solution.log_policy[order], rtol=1e-10, atol=1e-10)


def test_actions_without_reference_mass_leave_the_game():
    preference, log_ref = draw_game(4, 10)
    kept, small = np.array([0, 2, 3, 7, 8]), normalise(log_ref[:5])
    masked = jnp.full(10, -jnp.inf).at[kept].set(small)
    for beta in BETAS:
        got = solve(preference, masked, jnp.asarray(beta))
        want = solve(preference[kept][:, kept], small, jnp.asarray(beta))
        np.testing.assert_allclose(got.log_policy[kept], want.log_policy, rtol=1e-11, atol=1e-13)
        assert np.isneginf(np.delete(got.log_policy, kept)).all()
        assert got.residual < 3e-15
        assert got.exploitability < 1e-27


def test_vmap_equals_a_loop_and_one_trace_serves_every_beta():
    preference, log_ref = draw_game(0, 10)
    betas = jnp.geomspace(1e-3, 10, 7)
    chex.clear_trace_counter()
    once = jax.jit(chex.assert_max_traces(nash.solve_regularised, n=1))
    loop = [once(preference, log_ref, beta) for beta in betas]
    batch = jax.jit(jax.vmap(nash.solve_regularised, (None, None, 0)))(preference, log_ref, betas)
    for i, single in enumerate(loop):
        np.testing.assert_allclose(batch.log_policy[i], single.log_policy, rtol=1e-11, atol=1e-12)
    assert batch.residual.max() < 3e-15
