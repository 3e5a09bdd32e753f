import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from planted_judges import CONFIG, HELD_OUT, SEEN, all_pairs, responses, rock_paper_scissors, zeros_count

from nlhf.errors import InputError
from nlhf.transformer.judges import reward_model, training
from nlhf.transformer.judges.protocol import duel_preference
from nlhf.transformer.responses import Responses

OPTIMISER = optax.adam(1e-2)
START = reward_model.init(jax.random.key(0), CONFIG)
LOSS = reward_model.loss(CONFIG)


def train(rule, num_steps):
    data = all_pairs(SEEN, rule)
    return training.train_judge(
        jax.random.key(1), START, LOSS, data, OPTIMISER, num_steps=num_steps, batch=64
    )


@pytest.fixture(scope="module")
def params():
    return train(zeros_count, 80)[0]


def test_it_learns_a_planted_reward_that_holds_for_unseen_strings(params):
    held_out = all_pairs(HELD_OUT, zeros_count)
    assert training.agreement(reward_model.judge(START, CONFIG), held_out) == 0.5  # before: no preference
    judge = reward_model.judge(params, CONFIG)
    assert training.agreement(judge, held_out) > 0.95
    found = duel_preference(judge, held_out.first, held_out.second)
    assert np.abs(np.asarray(found - held_out.prefer_first)).mean() < 0.1


def test_no_reward_follows_a_cycle(params):
    """Over all strings with a class each, every reward agrees with at most 2 of 3 relations of a triple."""
    learned, _ = train(rock_paper_scissors, 80)
    every = all_pairs(np.concatenate([SEEN, HELD_OUT]), rock_paper_scissors)
    for given in (learned, params):
        assert training.agreement(reward_model.judge(given, CONFIG), every) <= 2 / 3 + 1e-9


def test_preferences_are_complementary_and_of_the_rewards(params):
    first, second = responses(SEEN[:20]), responses(SEEN[20:40])
    judge = reward_model.judge(params, CONFIG)
    forth, back = (np.asarray(duel_preference(judge, *sides)) for sides in ((first, second), (second, first)))
    np.testing.assert_array_equal(forth + back, 1)
    margin = np.subtract(*(np.asarray(reward_model.reward(params, CONFIG, side)) for side in (first, second)))
    np.testing.assert_allclose(forth, 1 / (1 + np.exp(-margin)), rtol=1e-5, atol=1e-7)


def test_padding_does_not_change_a_reward_but_tokens_do(params):
    given = responses(SEEN[:8])
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


def test_the_loss_is_that_of_the_rewards_and_its_gradient_finite(params):
    data = jax.tree.map(lambda leaf: leaf[:6], all_pairs(SEEN, zeros_count))
    data = data._replace(weight=jnp.asarray([1, 1, 0, 1, 2, 1], jnp.float32))
    value, gradient = jax.jit(jax.value_and_grad(LOSS))(params, data)
    margin, label = (
        np.subtract(*(np.asarray(reward_model.reward(params, CONFIG, side), float) for side in data[1:3])),
        np.asarray(data.prefer_first, float),
    )
    each = label * np.log1p(np.exp(-margin)) + (1 - label) * np.log1p(np.exp(margin))
    np.testing.assert_allclose(value, (each * np.asarray(data.weight)).sum(), rtol=1e-5)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


def test_rewards_that_are_not_finite_are_refused(params):
    broken = {**params, "read_out": params["read_out"] * jnp.nan}
    with pytest.raises(InputError, match="the judge gives nan for pair 0"):
        duel_preference(reward_model.judge(broken, CONFIG), responses(SEEN[:2]), responses(SEEN[2:4]))
