"""Adapters: of no effect at first, low rank, and the base never changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny

from nlhf.errors import InputError
from nlhf.transformer.model.lora import MATRICES, Lora, init_adapters, lora, merge

CONFIG = tiny.config(2, width=6, layers=3, hidden=5)
BASE = tiny.parameters(CONFIG, 0)


def test_fresh_adapters_change_nothing():
    settings = lora(2)
    fresh = jax.jit(lambda key: merge(BASE, init_adapters(key, BASE, settings), settings))
    merged = fresh(jax.random.key(0))
    assert jax.tree.structure(merged) == jax.tree.structure(BASE)
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(BASE), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", MATRICES)
def test_a_change_is_the_scaled_product_of_the_factors_layer_by_layer(name):
    settings = lora(2, scale=3.0, matrices=(name,))
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: init_adapters(key, BASE, settings), jax.random.key(0))
    adapters = jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), shapes)
    merged = merge(BASE, adapters, settings)
    a, b = (np.asarray(leaf) for leaf in adapters[name])
    before, after = np.asarray(BASE["layers"][name]), np.asarray(merged["layers"][name])
    for layer in range(3):
        change = 1.5 * (a[layer] @ b[layer])
        np.testing.assert_allclose((after - before)[layer].reshape(change.shape), change, rtol=0, atol=1e-12)
        assert np.linalg.matrix_rank(change) == 2
    for other in set(BASE["layers"]) - {name}:
        assert merged["layers"][other] is BASE["layers"][other]
    assert merged["embedding"] is BASE["embedding"]


def test_factors_have_the_axes_that_a_matrix_reads_and_writes():
    adapters = jax.eval_shape(lambda key: init_adapters(key, BASE, lora(3)), jax.random.key(0))
    shapes = {name: (a.shape, b.shape) for name, (a, b) in adapters.items()}
    assert shapes == {
        "qkv": ((3, 6, 3), (3, 3, 8)),  # one key head, two queries, key and value, of width 2
        "out": ((3, 4, 3), (3, 3, 6)),
        "gate_up": ((3, 6, 3), (3, 3, 10)),
        "down": ((3, 5, 3), (3, 3, 6)),
    }
    drawn = init_adapters(jax.random.key(0), BASE, lora(200, matrices=("qkv", "gate_up")))
    qkv, gate_up = (np.asarray(drawn[name][0]) for name in ("qkv", "gate_up"))
    assert abs(np.std(gate_up) * np.sqrt(6) - 1) < 0.05
    # different matrices draw from different keys
    assert np.abs(qkv - gate_up).max() > 0.1


def test_settings():
    assert lora(4) == Lora(4, 8.0, ("qkv", "out", "gate_up", "down"))
    for bad, message in (
        ({"rank": 0}, "rank is 0"),
        ({"rank": 2, "scale": 0.0}, "scale is 0"),
        ({"rank": 2, "matrices": ()}, "give some of them"),
        ({"rank": 2, "matrices": ("embedding",)}, "adapters are for qkv, out, gate_up, down"),
    ):
        with pytest.raises(InputError, match=message):
            lora(**bad)
