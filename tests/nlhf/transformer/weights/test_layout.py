"""Fusing and splitting of tensors, entry by entry."""

import dataclasses

import jax
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.layout import Source, assemble, expected_shapes, half_split, take_apart

CONFIG = ModelConfig(
    vocabulary=5,
    width=6,
    layers=2,
    heads=4,
    kv_heads=2,
    head_width=4,
    hidden=3,
    context=8,
    tied=False,
    qkv_bias=True,
    qk_norm=True,
)


def source(config=CONFIG, **settings):
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_shapes(config)}
    return tensors, Source("x", {k: v.shape for k, v in tensors.items()}, tensors.__getitem__, **settings)


def test_every_entry_is_where_the_model_looks_for_it():
    tensors, given = source()
    params = assemble(given, CONFIG)
    wanted = jax.eval_shape(lambda: decoder.init(jax.random.key(0), CONFIG))
    assert jax.tree.map(lambda a, b: a.shape == b.shape, params, wanted)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, wanted)
    layer, layers = "model.layers.1.", params["layers"]
    for head in range(4):  # query head h reads key head h // 2
        for entry in range(4):
            row = tensors[layer + "self_attn.q_proj.weight"][4 * head + entry]
            np.testing.assert_array_equal(layers["qkv"][1, :, head // 2, head % 2, entry], row)
            bias = tensors[layer + "self_attn.q_proj.bias"][4 * head + entry]
            assert layers["qkv_bias"][1, head // 2, head % 2, entry] == bias
            column = tensors[layer + "self_attn.o_proj.weight"][:, 4 * head + entry]
            np.testing.assert_array_equal(layers["out"][1, head // 2, head % 2, entry], column)
    for place, letter in ((2, "k"), (3, "v")):
        rows = tensors[layer + f"self_attn.{letter}_proj.weight"].reshape(2, 4, 6)
        np.testing.assert_array_equal(np.moveaxis(layers["qkv"][1, :, :, place], 0, -1), rows)
    np.testing.assert_array_equal(layers["gate_up"][1, :, 0].T, tensors[layer + "mlp.gate_proj.weight"])
    np.testing.assert_array_equal(layers["gate_up"][1, :, 1].T, tensors[layer + "mlp.up_proj.weight"])
    np.testing.assert_array_equal(layers["down"][1].T, tensors[layer + "mlp.down_proj.weight"])
    np.testing.assert_array_equal(params["head"].T, tensors["lm_head.weight"])


def test_interleaved_pairs_are_reordered_for_queries_and_keys_alone():
    tensors, given = source(interleaved=True)
    _, plain = source()
    turned, left = assemble(given, CONFIG)["layers"], assemble(plain, CONFIG)["layers"]
    np.testing.assert_array_equal(turned["qkv"][..., :3, [0, 2, 1, 3]], left["qkv"][..., :3, :])
    np.testing.assert_array_equal(turned["qkv"][..., 3, :], left["qkv"][..., 3, :])
    np.testing.assert_array_equal(turned["out"], left["out"])
    first = tensors["model.layers.0.self_attn.k_proj.weight"][:4]
    np.testing.assert_array_equal(half_split(first, 4), first[[0, 2, 1, 3]])


def test_taking_apart_undoes_assembling():
    tensors, given = source()
    again = take_apart(assemble(given, CONFIG), CONFIG)
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
        assert again[name].flags["C_CONTIGUOUS"]


def test_nothing_is_read_before_all_shapes_are_right():
    def read(_name):
        raise AssertionError("read")

    _, given = source()
    wrong = given._replace(shapes={**given.shapes, "lm_head.weight": (5, 7)}, read=read)
    with pytest.raises(InputError, match=r"lm_head.weight has shape \[5, 7\], .* asks for \[5, 6\]"):
        assemble(wrong, CONFIG)


def test_float64_without_64_bit_numbers_is_refused():
    _, given = source()
    with jax.enable_x64(False), pytest.raises(InputError, match="JAX_ENABLE_X64"):
        assemble(given, dataclasses.replace(CONFIG, dtype="float64"))
