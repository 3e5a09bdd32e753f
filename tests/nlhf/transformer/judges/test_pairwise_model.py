import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted_judges import CONFIG, HELD_OUT, SEEN, all_pairs, responses, rock_paper_scissors

from nlhf.transformer.judges import pairwise_model, training
from nlhf.transformer.judges.protocol import duel_preference, preferences
from nlhf.transformer.responses import Responses

OPTIMISER = optax.adam(1e-2)
START = pairwise_model.init(jax.random.key(0), CONFIG)
LOSS = pairwise_model.loss(CONFIG)


@pytest.fixture(scope="module")
def params():
    data = all_pairs(SEEN, rock_paper_scissors)
    return training.train_judge(jax.random.key(1), START, LOSS, data, OPTIMISER, num_steps=150, batch=64)[0]


def test_it_learns_a_cycle_that_holds_for_unseen_strings(params):
    held_out = all_pairs(HELD_OUT, rock_paper_scissors)
    assert training.agreement(pairwise_model.judge(START, CONFIG), held_out) == 0.5  # before: no preference
    assert training.agreement(pairwise_model.judge(params, CONFIG), held_out) > 0.9  # a reward: <= 2/3
    one_each = jnp.asarray([[[0, 3, 1], [1, 0, 4], [2, 2, 2]]], jnp.int32)
    given = Responses(jnp.full((1, 3, 1), 7, jnp.int32), one_each, jnp.zeros((1, 3), jnp.float32))
    table = np.asarray(preferences(pairwise_model.judge(params, CONFIG), given))[0]
    assert min(table[1, 0], table[2, 1], table[0, 2]) > 0.5


def test_the_logit_is_odd_and_0_for_equal_responses(params):
    first, second = responses(SEEN[:20]), responses(SEEN[20:40])
    forth = pairwise_model.logit(params, CONFIG, first, second)
    np.testing.assert_allclose(forth, -pairwise_model.logit(params, CONFIG, second, first), atol=1e-5)
    np.testing.assert_allclose(pairwise_model.logit(params, CONFIG, first, first), 0, atol=1e-5)
    assert np.abs(np.asarray(forth)).max() > 1
    found = duel_preference(pairwise_model.judge(params, CONFIG), first, second)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.asarray(forth))), rtol=1e-5, atol=1e-7)


def test_padding_does_not_change_a_preference(params):
    first, second = responses(SEEN[:20]), responses(SEEN[20:40])

    def padded(given):
        return Responses(
            jnp.pad(given.prompt, ((0, 0), (2, 0)), constant_values=-1),
            jnp.pad(given.tokens, ((0, 0), (0, 3)), constant_values=-1),
            given.log_prob,
        )

    plain = pairwise_model.logit(params, CONFIG, first, second)
    found = pairwise_model.logit(params, CONFIG, padded(first), padded(second))
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
    empty = padded(second)._replace(tokens=jnp.full((20, 6), -1, jnp.int32))
    assert np.isfinite(pairwise_model.logit(params, CONFIG, padded(first), empty)).all()


def test_the_loss_is_the_cross_entropy_of_soft_labels_and_its_gradient_finite(params):
    data = jax.tree.map(lambda leaf: leaf[:20], all_pairs(SEEN, rock_paper_scissors))
    data = data._replace(prefer_first=jnp.linspace(0.1, 0.9, 20, dtype=jnp.float32))
    value, gradient = jax.jit(jax.value_and_grad(LOSS))(params, data)
    margin = np.asarray(pairwise_model.logit(params, CONFIG, *data[1:3]), float)
    label = np.asarray(data.prefer_first, float)
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(value, each.sum(), rtol=1e-5)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
