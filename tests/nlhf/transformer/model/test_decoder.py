import ast
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny

import nlhf.transformer
from nlhf.transformer.model import decoder
from nlhf.transformer.model.attention import Cache, step_context
from nlhf.transformer.model.config import ModelConfig, preset

VARIANTS = {
    "plain": ModelConfig(17, 12, 2, 3, 3, 4, 10, 16, dtype="float64"),
    "all": ModelConfig(
        *(17, 12, 2, 4, 2, 6, 10, 16),
        dtype="float64",
        tied=False,
        qkv_bias=True,
        qk_norm=True,
        rope_theta=50.0,
    ),
}
RNG = np.random.default_rng(0)
PROMPT = jnp.asarray(RNG.integers(0, 17, (2, 5)), jnp.int32).at[0, :2].set(-1)
TOKENS = jnp.asarray(RNG.integers(0, 17, (2, 3, 4)), jnp.int32).at[1, 2, 2:].set(-1)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


@functools.cache
def parameters(name):
    return tiny.parameters(VARIANTS[name], 0, 0.4)


APPLY = jax.jit(decoder.apply, static_argnames="config")


@functools.cache
def reference(name):
    """States from which the responses are predicted, as logits of 6 plain sequences, ``[B, K, R, V]``."""
    rows = jnp.concatenate([jnp.broadcast_to(PROMPT[:, None], (2, 3, 5)), TOKENS], -1).reshape(6, 9)
    return np.asarray(APPLY(parameters(name), VARIANTS[name], rows)[:, 4:-1]).reshape(2, 3, 4, 17)


EACH = pytest.mark.parametrize("name", VARIANTS)
THERE = np.asarray(TOKENS) >= 0


@EACH
def test_branches_of_one_row_are_separate_sequences(name):
    config = VARIANTS[name]

    @jax.jit
    def branches(params):
        return decoder.logits(params, config, decoder.branch_hidden(params, config, PROMPT, TOKENS))

    np.testing.assert_allclose(branches(parameters(name))[THERE], reference(name)[THERE], atol=1e-12)


@EACH
def test_decoding_token_by_token_is_the_forward_pass(name):
    config, params = VARIANTS[name], parameters(name)

    @jax.jit
    def start(params):
        state, (keys, values) = decoder.prefill(params, config, PROMPT)
        zeros = jnp.zeros((6, config.kv_heads, 4, config.head_width))
        caches = [Cache((keys[i], values[i]), (zeros, zeros)) for i in range(config.layers)]
        return jnp.broadcast_to(state[:, None], (2, 3, config.width)), caches

    @jax.jit
    def advance(params, caches, token, index):
        context = step_context(config, PROMPT, 3, index)
        return decoder.decode(params, decoder.by_layer(params, config), config, caches, token, context)

    state, caches = start(params)
    for index in range(4):
        logits = decoder.logits(params, config, state)
        there = THERE[:, :, index]
        np.testing.assert_allclose(logits[there], reference(name)[:, :, index][there], atol=1e-12)
        state, caches = advance(params, caches, TOKENS[:, :, index], jnp.asarray(index))


@EACH
def test_padding_on_either_side_changes_nothing(name):
    config, params = VARIANTS[name], parameters(name)
    tokens = jnp.asarray(RNG.integers(0, 17, (2, 5)), jnp.int32)
    pad = jnp.full((2, 2), -1, jnp.int32)
    alone = APPLY(params, config, tokens)
    padded = APPLY(params, config, jnp.concatenate([pad, tokens, pad], -1))
    np.testing.assert_allclose(padded[:, 2:-2], alone, atol=1e-12)


@EACH
def test_no_token_sees_the_future_and_every_one_its_past(name):
    config, params = VARIANTS[name], parameters(name)
    tokens = jnp.asarray(RNG.integers(1, 17, (2, 9)), jnp.int32)
    moved = np.abs(APPLY(params, config, tokens.at[:, 4].set(0)) - APPLY(params, config, tokens)).max((0, 2))
    np.testing.assert_array_equal(moved[:4], 0.0)
    assert (moved[4:] > 1e-6).all()


def test_activations_computed_again_give_the_same_gradient():
    config = ModelConfig(**{**vars(VARIANTS["all"]), "layers": 8})
    params = decoder.init(jax.random.key(0), config)
    tokens = jnp.asarray(RNG.integers(0, 17, (8, 16)), jnp.int32)

    def gradient(remat):
        changed = ModelConfig(**{**vars(config), "remat": remat})
        return jax.jit(jax.grad(lambda params: (decoder.apply(params, changed, tokens) ** 2).sum()))

    assert tiny.relative_error(gradient(True)(params), gradient(False)(params)) < 1e-13
    sizes = [
        gradient(remat).lower(params).compile().memory_analysis().temp_size_in_bytes
        for remat in (True, False)
    ]
    assert sizes[0] < 0.8 * sizes[1]


def test_parameters_have_the_shapes_that_the_module_says():
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), VARIANTS["all"]))
    layers = {
        **{"attention_norm": (2, 12), "mlp_norm": (2, 12), "query_norm": (2, 6), "key_norm": (2, 6)},
        **{"qkv": (2, 12, 2, 4, 6), "qkv_bias": (2, 2, 4, 6), "out": (2, 2, 2, 6, 12)},
        **{"gate_up": (2, 12, 2, 10), "down": (2, 10, 12)},
    }
    expected = {"embedding": (17, 12), "final_norm": (12,), "head": (12, 17), "layers": layers}
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == expected
    plain = jax.eval_shape(lambda: decoder.init(jax.random.key(0), VARIANTS["plain"]))
    assert "head" not in plain
    assert not {"qkv_bias", "query_norm", "key_norm"} & set(plain["layers"])
    assert {leaf.dtype for leaf in jax.tree.leaves(plain)} == {jnp.dtype("float64")}


def test_initial_layers_differ_and_have_the_variance_of_their_inputs():
    params = jax.jit(decoder.init, static_argnums=1)(jax.random.key(0), preset("tiny"))
    qkv = np.asarray(params["layers"]["qkv"])
    assert qkv.dtype == np.float32
    assert np.abs(qkv[0] - qkv[1]).max() > 0.1
    np.testing.assert_allclose(qkv.std() * 8, 1.0, atol=0.05)
    np.testing.assert_allclose(np.asarray(params["layers"]["out"]).std() * 8, 1.0, atol=0.05)
    np.testing.assert_allclose(np.asarray(params["embedding"]).std(), 0.02, atol=1e-3)


def test_computation_in_bfloat16_has_logits_in_float32():
    config = ModelConfig(**{**vars(VARIANTS["all"]), "dtype": "bfloat16"})
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), parameters("all"))
    logits = APPLY(params, config, PROMPT)
    exact = APPLY(parameters("all"), VARIANTS["all"], PROMPT)
    assert logits.dtype == jnp.float32
    error = np.abs(np.asarray(logits, np.float64) - exact)[1].max()
    assert 1e-6 < error < 0.05 * np.abs(exact).max()


def test_only_the_model_knows_flax():
    folder = pathlib.Path(nlhf.transformer.__file__).parents[1]
    knowing = []
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            if any(name.split(".")[0] == "flax" for name in names):
                knowing.append(str(path.relative_to(folder)))
    assert knowing == ["transformer/model/decoder.py"]
