import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny
from scipy import special

from nlhf.transformer.model import decoder
from nlhf.transformer.model.likelihood import log_prob, token_log_prob
from nlhf.transformer.responses import Responses

CONFIG = tiny.config(3)
PARAMS, OTHER = tiny.parameters(CONFIG, 0), tiny.parameters(CONFIG, 1)
STRINGS = tiny.responses(3, (0, 2))
SHORT = 2 * CONFIG.vocabulary  # logits of two positions at a time; 162 do not divide into fours


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def next_scores(params):
    """Logits ``[B, A, T, V]`` before each token, from plain sequences."""
    rows = jnp.concatenate([STRINGS.prompt, STRINGS.tokens], -1)
    return decoder.apply(params, CONFIG, rows.reshape(-1, 4))[:, :-1].reshape(2, 27, 3, 3)


def by_hand(*scores):
    """Log-probability of each token from logits that were added up already."""
    logs = special.log_softmax(np.asarray(sum(scores)), axis=-1)
    return np.take_along_axis(logs, np.asarray(STRINGS.tokens)[..., None], -1)[..., 0]


SCORES = jax.jit(next_scores)


def test_rows_of_branches_have_the_log_probabilities_of_plain_sequences():
    found = token_log_prob(((PARAMS, 1.0),), CONFIG, STRINGS)
    np.testing.assert_allclose(found, by_hand(SCORES(PARAMS)), atol=1e-12)
    np.testing.assert_allclose(log_prob(PARAMS, CONFIG, STRINGS), found.sum(-1), atol=1e-12)
    np.testing.assert_allclose(special.logsumexp(found.sum(-1), axis=-1), 0.0, atol=1e-12)


def test_a_mixture_is_normalised_token_by_token():
    found = token_log_prob(((PARAMS, 0.3), (OTHER, 0.9)), CONFIG, STRINGS)
    np.testing.assert_allclose(found, by_hand(0.3 * SCORES(PARAMS), 0.9 * SCORES(OTHER)), atol=1e-12)
    np.testing.assert_allclose(special.logsumexp(found.sum(-1), axis=-1), 0.0, atol=1e-12)


def test_weights_of_one_and_zero_leave_one_policy():
    alone = token_log_prob(((OTHER, 1.0),), CONFIG, STRINGS)
    np.testing.assert_array_equal(token_log_prob(((PARAMS, 0.0), (OTHER, 1.0)), CONFIG, STRINGS), alone)


def test_chunks_change_neither_value_nor_gradient():
    def total(params, chunk):
        values = log_prob(params, CONFIG, STRINGS, chunk=chunk)
        return (values * jnp.arange(27.0)[None]).sum()

    whole, chunked = (
        jax.jit(jax.value_and_grad(lambda params, chunk=chunk: total(params, chunk)))(PARAMS)
        for chunk in (1 << 20, SHORT)
    )
    assert tiny.relative_error(chunked, whole) < 1e-13


def test_padding_has_log_probability_zero_and_changes_no_other_token():
    cut = STRINGS.tokens.at[:, 5, 1:].set(-1)
    found = token_log_prob(((PARAMS, 1.0),), CONFIG, STRINGS._replace(tokens=cut))
    expected = by_hand(SCORES(PARAMS))
    expected[:, 5, 1:] = 0
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_logits_are_held_a_chunk_at_a_time():
    rows = Responses(jnp.zeros((2, 3, 1), jnp.int32), jnp.zeros((2, 3, 3), jnp.int32), jnp.zeros((2, 3)))

    def shapes(chunk):
        return str(jax.make_jaxpr(lambda rows: log_prob(PARAMS, CONFIG, rows, chunk=chunk))(rows))

    assert "f64[18,3]" in shapes(1 << 20)
    assert "f64[18,3]" not in shapes(SHORT)
