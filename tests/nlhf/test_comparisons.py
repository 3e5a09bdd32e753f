import jax.numpy as jnp
import numpy as np

from nlhf.base import Comparisons
from nlhf.comparisons import clean, rows_at

ROWS = Comparisons(
    context=jnp.arange(4),
    first=jnp.array([1.0, jnp.nan, 3.0, jnp.inf]),
    second={"states": jnp.full((4, 2), 7)},
    prefer_first=jnp.array([1.0, 0.0, 0.0, jnp.nan]),
    weight=jnp.array([2.0, 0.0, 1.0, 0.0]),
)


def test_rows_without_weight_become_zeros_and_the_others_stay():
    cleaned = clean(ROWS)
    np.testing.assert_array_equal(cleaned.first, [1, 0, 3, 0])
    np.testing.assert_array_equal(cleaned.second["states"], [[7, 7], [0, 0], [7, 7], [0, 0]])
    np.testing.assert_array_equal(cleaned.prefer_first, [1, 0, 0, 0])
    assert clean(ROWS, jnp.float32).first.dtype == jnp.float32
    assert clean(ROWS, jnp.float32).context.dtype == ROWS.context.dtype


def test_draws_fall_on_rows_in_proportion_to_their_weight():
    upper = jnp.cumsum(ROWS.weight)
    drawn = rows_at(ROWS, upper, jnp.array([0.0, 1.9, 2.0, 2.9, 3.0]), jnp.asarray(2))
    np.testing.assert_array_equal(drawn.context, [0, 0, 2, 2, 2])
