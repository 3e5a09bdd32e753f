"""NaN and infinities are found and named; divergence is told once."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.runs.guard import NonFiniteError, Watch, check_finite, watch_divergence

TREE = {
    "policy": (jnp.ones(3, jnp.bfloat16), np.zeros((2, 2))),
    "count": jnp.int32(3),
    "key": jax.random.key(0),
    "rate": 0.5,
    "empty": jnp.zeros((0, 2), jnp.float32),
}


def test_a_finite_tree_passes():
    check_finite(TREE, 1)
    check_finite({}, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_bad_leaf_and_the_step_are_named(value):
    second = np.zeros((2, 2))
    second[1, 0] = value
    tree = {**TREE, "policy": (TREE["policy"][0], second), "rate": value}
    with pytest.raises(NonFiniteError, match=r"step 7: state leaf 'policy/1' and 1 more of 4 leaves") as told:
        check_finite(tree, 7)
    assert isinstance(told.value, ArithmeticError)


def test_a_bad_entry_in_half_precision_is_found():
    bad = TREE["policy"][0].at[2].set(jnp.nan)
    with pytest.raises(NonFiniteError, match="gradient leaf 'value' is not finite"):
        check_finite(bad, 0, "gradient")


def test_a_loss_that_runs_away_is_told_once():
    watch, told = Watch(), []
    for loss in (0.7, 0.5, 400.0, 501.0, 600.0, 0.6, math.nan):
        watch, lines = watch_divergence(watch, loss)
        told.append(len(lines))
    assert told == [0, 0, 0, 1, 0, 0, 1]
    assert watch.best == 0.5


def test_a_lucky_batch_is_no_yardstick():
    watch, _ = watch_divergence(Watch(), 1e-12)
    assert watch_divergence(watch, 0.9)[1] == ()
    assert watch_divergence(watch, 1.1)[1]


def test_the_divergence_has_a_limit():
    watch, lines = watch_divergence(Watch(), 1.0, 12.0, limit=10.0)
    assert lines == ("the KL to the reference is 12 nats, above the limit 10",)
    watch, lines = watch_divergence(watch, 1.0, 13.0, limit=10.0)
    assert lines == ()
    watch, lines = watch_divergence(watch, 1.0, math.nan, limit=10.0)
    assert watch.active == ("divergence",)
    watch, _ = watch_divergence(watch, 1.0, 3.0, limit=10.0)
    assert watch.active == ()
    assert watch_divergence(watch, 1.0, 11.0, limit=10.0)[1]


def test_senseless_limits_are_refused():
    with pytest.raises(InputError, match="take factor > 1"):
        watch_divergence(Watch(), 1.0, factor=1.0)
