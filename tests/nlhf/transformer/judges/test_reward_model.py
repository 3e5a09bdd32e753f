import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted_judges import (
    CONFIG,
    HELD_OUT,
    SEEN,
    TRUNK,
    pairs,
    responses,
    rock_paper_scissors,
    zeros_count,
)

from nlhf.base import Comparisons
from nlhf.datasets import minibatches
from nlhf.errors import InputError
from nlhf.policies import Trained
from nlhf.transformer.judges import reward_model, training, trunk
from nlhf.transformer.judges.protocol import duel_preference
from nlhf.transformer.responses import Responses

OPTIMISER = optax.adam(1e-2)
START = reward_model.init(jax.random.key(0), CONFIG, TRUNK)
LOSS = reward_model.loss(CONFIG)
BATCH = 64


def train(rule):
    data = pairs(SEEN, rule, 1500)
    return training.train_judge(jax.random.key(1), START, LOSS, data, OPTIMISER, num_steps=60, batch=BATCH)[0]


def agreement(params, data):
    return training.agreement(reward_model.judge(params, CONFIG), data, BATCH)


@pytest.fixture(scope="module")
def params():
    return train(zeros_count)


def test_it_learns_a_planted_reward_that_holds_for_unseen_strings(params):
    held_out = pairs(HELD_OUT, zeros_count, 6 * BATCH)
    assert agreement(START, held_out) == 0.5  # before: no preference
    assert agreement(params, held_out) > 0.95


def test_no_reward_follows_a_cycle(params):
    """Over all strings, every reward agrees with at most 2 of the 3 relations of a triple."""
    every = pairs(np.concatenate([SEEN, HELD_OUT]), rock_paper_scissors)
    for given in (train(rock_paper_scissors), params):
        assert agreement(given, every) <= 2 / 3 + 1e-9


def test_preferences_are_complementary_and_of_the_rewards(params):
    first, second = responses(np.resize(SEEN, (BATCH, 3))), responses(np.resize(HELD_OUT, (BATCH, 3)))
    judge = reward_model.judge(params, CONFIG)
    forth, back = (np.asarray(duel_preference(judge, *sides)) for sides in ((first, second), (second, first)))
    np.testing.assert_array_equal(forth + back, 1)
    margin = np.subtract(*(np.asarray(reward_model.reward(params, CONFIG, side)) for side in (first, second)))
    np.testing.assert_allclose(forth, 1 / (1 + np.exp(-margin)), rtol=1e-5, atol=1e-7)


def test_padding_does_not_change_a_reward_but_tokens_do(params):
    given = responses(np.resize(SEEN, (BATCH, 3)))
    padded = Responses(
        jnp.pad(given.prompt, ((0, 0), (2, 0)), constant_values=-1),
        jnp.pad(given.tokens, ((0, 0), (0, 3)), constant_values=-1),
        given.log_prob,
    )
    plain = reward_model.reward(params, CONFIG, given)
    np.testing.assert_allclose(reward_model.reward(params, CONFIG, padded), plain, rtol=1e-5, atol=1e-5)
    cut = padded._replace(tokens=padded.tokens.at[:, 2:].set(-1))
    assert np.abs(np.asarray(reward_model.reward(params, CONFIG, cut) - plain)).max() > 0.01
    empty = padded._replace(tokens=jnp.full_like(padded.tokens, -1))
    assert np.isfinite(reward_model.reward(params, CONFIG, empty)).all()


def test_the_loss_is_that_of_rewards_by_weight(monkeypatch):
    rewards = np.array([0.3, -1.0, 2.0, 0.1, 0.5, -0.7])
    monkeypatch.setattr(trunk, "read", lambda *_: jnp.asarray(rewards))
    label, weight = np.array([1.0, 0.2, 0.5]), np.array([1.0, 0.0, 2.0])
    one = responses(SEEN[:3])
    found = LOSS(START, Comparisons(jnp.zeros(3, int), one, one, jnp.asarray(label), jnp.asarray(weight)))
    margin = rewards[:3] - rewards[3:]
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(found, (weight * each).sum(), rtol=1e-12)


def test_a_step_is_taken_on_the_mean_loss_and_moves_every_parameter(params):
    data = minibatches(pairs(SEEN, zeros_count, 1500), BATCH)
    key = jax.random.key(5)
    trained = Trained(params, OPTIMISER.init(params))
    moved, value = training.step(key, trained, data, LOSS, OPTIMISER)
    batch = data.duel(key, None, None)
    margin = np.subtract(
        *(np.asarray(reward_model.reward(params, CONFIG, side), float) for side in batch[1:3])
    )
    label = np.asarray(batch.prefer_first, float)
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(value, each.mean(), rtol=1e-5)
    for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(moved.parameters), strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()


def test_rewards_that_are_not_finite_are_refused(params):
    broken = {**params, "read_out": params["read_out"] * jnp.nan}
    given = responses(np.resize(SEEN, (BATCH, 3)))
    with pytest.raises(InputError, match="the judge gives nan for pair 0"):
        duel_preference(reward_model.judge(broken, CONFIG), given, given)
