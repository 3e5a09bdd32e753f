import dataclasses

import jax
import jax.numpy as jnp
import pytest

from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig, accumulation_dtype, num_parameters, preset

SMALL = preset("tiny")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": False},
        {"qkv_bias": True},
        {"qk_norm": True},
        {"heads": 8, "kv_heads": 1, "head_width": 6},
    ],
)
def test_parameters_are_counted_as_they_are_made(changes):
    changed = dataclasses.replace(SMALL, **changes)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), changed))
    assert num_parameters(changed) == sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"width": 2.5}, "width is 2.5"),
        ({"vocabulary": None}, "vocabulary is None"),
        ({"kv_heads": 3}, "kv_heads is 3, but it must divide heads, 4"),
        ({"head_width": 15}, "head_width is 15"),
        ({"rope_theta": 0.0}, "rope_theta is 0"),
        ({"norm_epsilon": float("nan")}, "norm_epsilon is nan"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
    ],
)
def test_sizes_that_make_no_model_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(InputError, match=r"'huge' is not a preset; known are tiny, small"):
        preset("huge")


def test_a_configuration_is_structure():
    assert hash(SMALL) == hash(preset("tiny"))
    assert isinstance(SMALL, ModelConfig)
    assert SMALL.group == 2


def test_norms_and_softmax_have_float32_at_least():
    kinds = ("bfloat16", "float32", "float64")
    assert [accumulation_dtype(dataclasses.replace(SMALL, dtype=kind).dtype) for kind in kinds] == [
        jnp.float32,
        jnp.float32,
        jnp.float64,
    ]
    assert accumulation_dtype(jnp.bfloat16) == jnp.float32
