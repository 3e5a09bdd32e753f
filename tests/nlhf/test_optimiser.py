import jax
import jax.numpy as jnp
import optax

from nlhf.optimiser import apply


def test_a_step_works_under_strict_promotion_and_moves_downhill():
    optimiser = optax.adam(optax.linear_schedule(0.1, 0.0, 10))
    point, state = jnp.ones(3), optimiser.init(jnp.ones(3))
    with jax.numpy_dtype_promotion("strict"):
        for _ in range(3):
            point, state = apply(optimiser, 2 * point, state, point)
    assert point.dtype == jnp.ones(3).dtype
    assert bool((point < 0.8).all())
