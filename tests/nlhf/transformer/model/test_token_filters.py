import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from nlhf.transformer.model.token_filters import draw, weigh

SCORES = np.random.default_rng(0).normal(size=(6, 300)) * 3


def kept_by_sorting(probabilities, top_p):
    """The smallest set of the likeliest entries whose mass reaches ``top_p``, written as it is told."""
    order = np.argsort(-probabilities)
    num = int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1
    kept = np.zeros(probabilities.shape, bool)
    kept[order[:num]] = True
    return kept


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_weights_are_probabilities_up_to_a_constant(temperature):
    weights = np.asarray(weigh(jnp.asarray(SCORES), temperature))
    np.testing.assert_allclose(weights.max(-1), 1.0)
    np.testing.assert_allclose(
        weights / weights.sum(-1, keepdims=True), special.softmax(SCORES / temperature, axis=-1), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_the_mass(top_p, dtype):
    scores = jnp.asarray(SCORES, dtype)
    found = np.asarray(weigh(scores, 1.0, None, top_p)) > 0
    exact = special.softmax(np.asarray(scores, np.float64), axis=-1)
    np.testing.assert_array_equal(found, [kept_by_sorting(row, top_p) for row in exact])


@pytest.mark.parametrize("top_k", [1, 7, 299, 300, 1000])
def test_top_k_keeps_as_many(top_k):
    weights = np.asarray(weigh(jnp.asarray(SCORES), 1.0, top_k))
    assert ((weights > 0).sum(-1) == min(top_k, 300)).all()
    least = np.sort(SCORES, axis=-1)[:, -min(top_k, 300)]
    np.testing.assert_array_equal(weights > 0, least[:, None] <= SCORES)


def test_entries_equal_to_the_last_one_kept_are_kept():
    scores = jnp.array([[1.0, 3.0, 2.0, 2.0, 2.0, 0.0]])
    np.testing.assert_array_equal(weigh(scores, 1.0, 2) > 0, [[False, True, True, True, True, False]])
    np.testing.assert_array_equal(weigh(scores, 1.0, None, 0.6) > 0, [[False, True, True, True, True, False]])


def test_top_p_counts_the_mass_that_top_k_left():
    scores = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]]))
    # of 0.4 and 0.3 the first is 57 %: enough for a half, where of the whole it is not
    np.testing.assert_array_equal(weigh(scores, 1.0, 2, 0.5) > 0, [[True, False, False, False]])
    np.testing.assert_array_equal(weigh(scores, 1.0, None, 0.5) > 0, [[True, True, False, False]])


def test_a_top_p_of_one_keeps_what_no_sum_can_see():
    scores = jnp.array([[0.0, -60.0, -30.0]], jnp.float32)
    assert (weigh(scores, 1.0, None, 1.0) > 0).all()


def test_temperature_zero_leaves_the_likeliest():
    scores = jnp.array([[0.0, 1.0, 1.0 - 1e-7, -5.0]], jnp.float32)
    weights = weigh(scores, 0.0)
    np.testing.assert_array_equal(weights, [[0.0, 1.0, 0.0, 0.0]])
    assert int(draw(jnp.zeros((1, 2), jnp.float32), jnp.array([[0.0, 1.0, 1.0]]))[0]) == 1


def grid(size):
    """Uniforms in the middle of ``size`` by ``size`` squares."""
    middle = (np.arange(size) + 0.5) / size
    return jnp.asarray(np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2), jnp.float32)


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 37, 258])
def test_draws_divide_the_square_as_the_probabilities_do(vocabulary):
    weights = np.random.default_rng(1).random(vocabulary)
    weights[::5] *= vocabulary < 4
    found = np.asarray(jax.vmap(draw, (0, None))(grid(300), jnp.asarray(weights)))
    shares = np.bincount(found, minlength=vocabulary) / found.size
    # each of the two choices is off by half a square at either side
    np.testing.assert_allclose(np.cumsum(shares), np.cumsum(weights) / weights.sum(), atol=2 / 300)
    assert (shares[weights == 0] == 0).all()


def test_rare_tokens_of_a_large_vocabulary_come_as_often_as_they_should():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=150_000) * 2
    logits[77] = 14.0
    weights = np.exp(logits - 14.0)
    exact = weights / weights.sum()
    num = 20_000
    uniform = jnp.asarray(rng.random((num, 2)), jnp.float32)
    found = np.asarray(jax.vmap(draw, (0, None))(uniform, jnp.asarray(weights, jnp.float32)))
    # 30 groups of about equal mass, by rank: from the one likely token to the rarest third
    order = np.argsort(-exact)
    group = np.empty(order.size, int)
    group[order] = np.minimum((np.cumsum(exact[order]) * 30).astype(int), 29)
    expected = np.bincount(group, weights=exact, minlength=30) * num
    counts = np.bincount(group[found], minlength=30)
    seen = expected > 5
    assert (
        stats.chisquare(counts[seen], expected[seen] * counts[seen].sum() / expected[seen].sum()).pvalue
        > 1e-3
    )
    shifted = np.roll(counts[seen], 1)
    assert stats.chisquare(shifted, expected[seen] * shifted.sum() / expected[seen].sum()).pvalue < 1e-6
    quarter = np.arange(exact.size) // 37_500  # of the vocabulary: nothing is lost at its end
    counts = np.bincount(quarter[found], minlength=4)
    assert stats.chisquare(counts, np.bincount(quarter, weights=exact) * num).pvalue > 1e-3


def test_what_has_no_weight_is_never_drawn():
    rng = np.random.default_rng(3)
    weights = rng.random(2_000) * (rng.random(2_000) < 0.02)
    weights[-60:] = 0
    edge = np.float32(1) - np.float32(2) ** -24
    cumulative = np.cumsum(weights) / weights.sum()
    uniform = np.stack([np.r_[0, edge, cumulative[cumulative < 1]]] * 2, -1).astype(np.float32)
    uniform = np.concatenate([uniform, uniform * [[1, 0]], uniform * [[1, 0]] + [[0, edge]]]).clip(0, edge)
    found = jax.vmap(draw, (0, None))(jnp.asarray(uniform, jnp.float32), jnp.asarray(weights, jnp.float32))
    assert (weights[np.asarray(found)] > 0).all()
