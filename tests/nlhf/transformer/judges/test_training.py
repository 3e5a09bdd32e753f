"""With a judge of one number a token; the models have tests of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from planted_judges import SEEN, pairs, zeros_count

from nlhf import losses
from nlhf.errors import InputError
from nlhf.transformer.judges import training
from nlhf.transformer.judges.protocol import Judge
from nlhf.transformer.runs.guard import NonFiniteError

DATA = pairs(SEEN, zeros_count, 100)
PARAMS = {"read_out": jnp.zeros(8, jnp.float32)}
OPTIMISER = optax.adam(0.1)


def loss(params, comparisons):
    first, second = (params["read_out"][side.tokens].sum(-1) for side in comparisons[1:3])
    return losses.logistic(first, second, comparisons.prefer_first, beta=1.0).sum()


def train(key=1, params=PARAMS, data=DATA, num_steps=100):
    return training.train_judge(
        jax.random.key(key), params, Partial(loss), data, OPTIMISER, num_steps=num_steps, batch=8
    )


def test_a_run_is_a_function_of_its_key_and_compiles_once():
    before = training.step._cache_size()
    (one, values), (two, again), (_, other) = train(), train(), train(key=2)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, two))
    np.testing.assert_array_equal(values, again)
    assert values[0] == pytest.approx(np.log(2))
    assert values[-20:].mean() < 0.6 * np.log(2)
    assert np.argmax(one["read_out"]) == 0  # the token that the rule counts
    assert not np.array_equal(values[1:], other[1:])
    assert training.step._cache_size() == before + 1


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step():
    broken = {**PARAMS, "read_out": PARAMS["read_out"] + jnp.nan}
    with pytest.raises(NonFiniteError, match="the judge's loss is nan at step 0; lower the learning rate"):
        train(params=broken)


def test_labels_that_teach_nothing_are_refused():
    with pytest.raises(InputError, match="always wins"):
        train(data=DATA._replace(prefer_first=jnp.ones_like(DATA.prefer_first)))
    with pytest.raises(InputError, match="num_steps is 0"):
        train(num_steps=0)


def test_agreement_counts_labels_by_weight_and_ties_by_half():
    answers = jnp.asarray([0.9, 0.2, 0.5, 0.7], jnp.float32)
    judge = Judge(lambda given: given.log_prob, lambda first, second: first)
    data = jax.tree.map(lambda leaf: leaf[:4], DATA)
    data = data._replace(
        first=data.first._replace(log_prob=answers),
        prefer_first=jnp.asarray([1, 1, 0, 0.5], jnp.float32),
        weight=jnp.asarray([3, 1, 1, 1], jnp.float32),
    )
    # 3 agree, 1 does not, two ties
    for batch in (2, 512):
        assert training.agreement(judge, data, batch) == pytest.approx((3 + 0 + 0.5 + 0.5) / 6)
