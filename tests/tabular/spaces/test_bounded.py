import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from nlhf import InputError
from tabular.spaces.bounded import bounded_rewards, minimise_in_box, newton_direction

NUM, BOUND = 6, 1.5
MATRIX = np.random.default_rng(0).normal(size=(NUM, NUM))


def quartic(point, linear, curvature):
    """Convex for curvature > 0, with saddles for curvature < 0."""
    image = jnp.asarray(MATRIX) @ point
    return 0.05 * (image**4).sum() + 0.5 * curvature * (point**2).sum() + linear @ point


solve = jax.jit(
    jax.vmap(
        lambda start, linear, curvature: minimise_in_box(
            lambda point: quartic(point, linear, curvature), start, BOUND, 80, 1e-10
        )
    )
)
INSTANCES = 40
RNG = np.random.default_rng(1)
LINEAR = RNG.normal(size=(INSTANCES, NUM)) * 2
CURVATURE = np.concatenate([np.full(20, 0.5), np.full(20, -1.0)])
START = RNG.uniform(0, BOUND, (INSTANCES, NUM))
END = np.asarray(solve(jnp.asarray(START), jnp.asarray(LINEAR), jnp.asarray(CURVATURE)))


def test_ends_are_stationary_and_inside():
    slopes = jax.vmap(jax.grad(quartic))(jnp.asarray(END), jnp.asarray(LINEAR), jnp.asarray(CURVATURE))
    residual = np.abs(END - np.clip(END - np.asarray(slopes), 0, BOUND)).max(1)
    assert (END >= 0).all()
    assert (END <= BOUND).all()
    assert residual.max() <= 1e-8
    assert ((END == 0) | (END == BOUND)).any(), "no bound is active: the projection was not tried"
    assert ((END > 0) & (END < BOUND)).any()


def test_convex_instances_agree_with_scipy():
    for i in range(20):
        found = scipy.optimize.minimize(
            lambda x, i=i: float(0.05 * ((MATRIX @ x) ** 4).sum() + 0.25 * (x**2).sum() + LINEAR[i] @ x),
            START[i],
            method="L-BFGS-B",
            bounds=[(0, BOUND)] * NUM,
            options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 2000},
        )
        np.testing.assert_allclose(END[i], found.x, atol=2e-5)


def test_never_ends_above_its_start():
    before = jax.vmap(quartic)(jnp.asarray(START), jnp.asarray(LINEAR), jnp.asarray(CURVATURE))
    after = jax.vmap(quartic)(jnp.asarray(END), jnp.asarray(LINEAR), jnp.asarray(CURVATURE))
    assert (np.asarray(after) < np.asarray(before)).all()


def test_same_arguments_give_the_same_space():
    assert bounded_rewards(1.0) is bounded_rewards(1.0)


@pytest.mark.parametrize(
    "wrong", [{"bound": 0.0}, {"num_starts": 0}, {"max_steps": 0.5}, {"tolerance": -1.0}]
)
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        bounded_rewards(**{"bound": 1.0, **wrong})


def test_newton_direction_solves_where_the_curvature_is_positive():
    matrix = MATRIX @ MATRIX.T + 0.1 * np.eye(NUM)
    slope = RNG.normal(size=NUM)
    direction = newton_direction(jnp.asarray(matrix), jnp.asarray(slope))
    np.testing.assert_allclose(direction, -np.linalg.solve(matrix, slope), rtol=1e-8)


def test_newton_direction_ignores_what_the_hessian_does_not_see():
    ones = np.ones((NUM, NUM)) / NUM
    matrix = (np.eye(NUM) - ones) @ (MATRIX @ MATRIX.T) @ (np.eye(NUM) - ones)
    slope = RNG.normal(size=NUM)
    slope -= slope.mean()
    direction = newton_direction(jnp.asarray(matrix), jnp.asarray(slope))
    np.testing.assert_allclose(direction, -np.linalg.pinv(matrix) @ slope, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_newton_direction_descends_whatever_the_curvature():
    for _ in range(20):
        matrix = RNG.normal(size=(NUM, NUM))
        slope = RNG.normal(size=NUM)
        direction = np.asarray(newton_direction(jnp.asarray(matrix + matrix.T), jnp.asarray(slope)))
        assert direction @ slope < 0
        assert np.isfinite(direction).all()
