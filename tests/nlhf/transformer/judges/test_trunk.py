import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from planted_judges import CONFIG, TRUNK

from nlhf.errors import InputError
from nlhf.transformer.judges import trunk
from nlhf.transformer.model import decoder

TOKENS = jax.random.randint(jax.random.key(0), (trunk.ROWS + 3, 5), 0, 8)


def test_a_trunk_from_a_language_model_keeps_its_rows_and_drops_its_head():
    untied = dataclasses.replace(CONFIG, tied=False)
    given = {**TRUNK, "head": jnp.zeros((32, 8))}
    params = trunk.init(jax.random.key(2), untied, given, num_new=1)
    assert "head" not in params["trunk"]
    embedding = np.asarray(params["trunk"]["embedding"])
    np.testing.assert_array_equal(embedding[:8], given["embedding"])
    assert 0 < np.abs(embedding[8]).max() < 5 * np.abs(given["embedding"]).max()
    drawn = jax.eval_shape(lambda key: trunk.init(key, untied, num_new=1), jax.random.key(0))
    assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, params)


@pytest.fixture(scope="module")
def params():
    return {"trunk": TRUNK, "read_out": jax.random.normal(jax.random.key(2), (32,), jnp.float32)}


def test_the_number_read_is_the_hidden_state_at_its_place_times_the_read_out(params):
    place = jnp.arange(len(TOKENS)) % 5
    states = np.asarray(jax.jit(decoder.hidden, static_argnums=1)(params["trunk"], CONFIG, TOKENS))
    wanted = states[np.arange(len(TOKENS)), np.asarray(place)] @ np.asarray(params["read_out"])
    found = trunk.read_many(params, trunk.reader_config(CONFIG), TOKENS, place)  # more than a slice
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_trunk_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"shape \(4, 32\), but the config says \(8, 32\)"):
        trunk.init(jax.random.key(0), CONFIG, {"embedding": jnp.zeros((4, 32))})


def test_sequences_beyond_the_context_are_refused(params):
    with pytest.raises(InputError, match="have 17 tokens, but its context is 16"):
        trunk.read(params, CONFIG, jnp.zeros((1, 17), jnp.int32), jnp.zeros(1, int))
