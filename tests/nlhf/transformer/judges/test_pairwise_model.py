import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted_judges import CONFIG, HELD_OUT, SEEN, TRUNK, pairs, responses, rock_paper_scissors

from nlhf.base import Comparisons
from nlhf.datasets import minibatches
from nlhf.policies import Trained
from nlhf.transformer.judges import pairwise_model, training, trunk
from nlhf.transformer.judges.protocol import duel_preference
from nlhf.transformer.responses import Responses

OPTIMISER = optax.adam(1e-2)
START = pairwise_model.init(jax.random.key(0), CONFIG, TRUNK)
LOSS = pairwise_model.loss(CONFIG)
BATCH = 64
DATA = pairs(SEEN, rock_paper_scissors, 1500)
FIRST, SECOND = responses(np.resize(SEEN, (BATCH, 3))), responses(np.resize(HELD_OUT, (BATCH, 3)))


def agreement(params, data):
    return training.agreement(pairwise_model.judge(params, CONFIG), data, BATCH)


@pytest.fixture(scope="module")
def params():
    return training.train_judge(jax.random.key(1), START, LOSS, DATA, OPTIMISER, num_steps=100, batch=BATCH)[
        0
    ]


def test_it_learns_a_cycle_that_holds_for_unseen_strings(params):
    held_out = pairs(HELD_OUT, rock_paper_scissors)
    assert agreement(START, held_out) == 0.5  # before: no preference
    assert agreement(params, held_out) > 0.9  # of a reward model 2/3 at most, over all pairs
    triple = responses(np.resize([[1, 0, 4], [2, 2, 2], [0, 3, 1]], (BATCH, 3)))
    beaten = responses(np.resize([[0, 3, 1], [1, 0, 4], [2, 2, 2]], (BATCH, 3)))
    assert duel_preference(pairwise_model.judge(params, CONFIG), triple, beaten)[:3].min() > 0.5


def test_the_logit_is_odd_and_0_for_equal_responses(params):
    forth = pairwise_model.logit(params, CONFIG, FIRST, SECOND)
    np.testing.assert_allclose(forth, -pairwise_model.logit(params, CONFIG, SECOND, FIRST), atol=1e-5)
    np.testing.assert_allclose(pairwise_model.logit(params, CONFIG, FIRST, FIRST), 0, atol=1e-5)
    assert np.abs(np.asarray(forth)).max() > 1
    found = duel_preference(pairwise_model.judge(params, CONFIG), FIRST, SECOND)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.asarray(forth))), rtol=1e-5, atol=1e-7)


def test_padding_does_not_change_a_preference(params):
    def padded(given):
        return Responses(
            jnp.pad(given.prompt, ((0, 0), (2, 0)), constant_values=-1),
            jnp.pad(given.tokens, ((0, 0), (0, 3)), constant_values=-1),
            given.log_prob,
        )

    plain = pairwise_model.logit(params, CONFIG, FIRST, SECOND)
    found = pairwise_model.logit(params, CONFIG, padded(FIRST), padded(SECOND))
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)
    empty = padded(SECOND)._replace(tokens=jnp.full((BATCH, 6), -1, jnp.int32))
    assert np.isfinite(pairwise_model.logit(params, CONFIG, padded(FIRST), empty)).all()


def test_the_loss_is_the_cross_entropy_of_soft_labels_by_weight(monkeypatch):
    read = np.array([0.3, -1.0, 2.0, 0.1, 0.5, -0.7])
    monkeypatch.setattr(trunk, "read", lambda *_: jnp.asarray(read))
    label, weight = np.array([1.0, 0.2, 0.5]), np.array([1.0, 0.0, 2.0])
    one = responses(SEEN[:3])
    found = LOSS(START, Comparisons(jnp.zeros(3, int), one, one, jnp.asarray(label), jnp.asarray(weight)))
    margin = read[:3] - read[3:]
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(found, (weight * each).sum(), rtol=1e-12)


def test_a_step_is_taken_on_the_mean_loss_and_moves_every_parameter(params):
    data, key = minibatches(DATA, BATCH), jax.random.key(5)
    moved, value = training.step(key, Trained(params, OPTIMISER.init(params)), data, LOSS, OPTIMISER)
    batch = data.duel(key, None, None)
    margin = np.asarray(pairwise_model.logit(params, CONFIG, *batch[1:3]), float)
    label = np.asarray(batch.prefer_first, float)
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(value, each.mean(), rtol=1e-4, atol=1e-6)
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(moved.parameters), strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()
