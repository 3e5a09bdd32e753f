"""Hugging Face folders: parity with transformers for every family, and what is refused."""

import dataclasses
import json

import golden_models
import numpy as np
import parity
import pytest
from safetensors.numpy import load_file, save_file

from nlhf.errors import InputError
from nlhf.transformer.weights.huggingface import model_config
from nlhf.transformer.weights.layout import half_split
from nlhf.transformer.weights.load import load_model

BAR, VISIBLE = 1e-5, 1e-3


@pytest.mark.parametrize("name", golden_models.SETTINGS)
def test_logits_are_those_of_transformers(tmp_path, name):
    params, config = load_model(golden_models.write(tmp_path / name, name))
    found = parity.differences(name, params, config)
    assert max(found.values()) <= BAR, found
    assert golden_models.LONG >= 500


@pytest.mark.parametrize("name", golden_models.SETTINGS)
def test_the_wrong_rotary_layout_would_be_seen(tmp_path, name):
    size = golden_models.SETTINGS[name].get("head_dim", 8)

    def interleaved(tensors):
        return {
            key: half_split(value, size) if "q_proj" in key or "k_proj" in key else value
            for key, value in tensors.items()
        }

    params, config = load_model(golden_models.write(tmp_path / name, name, interleaved))
    assert parity.differences(name, params, config)["long"] > VISIBLE


def test_dropped_norms_of_queries_and_keys_would_be_seen(tmp_path):
    params, config = load_model(golden_models.write(tmp_path / "m", "qwen3"))
    without = dataclasses.replace(config, qk_norm=False)
    assert parity.differences("qwen3", params, without)["long"] > VISIBLE


def test_dropped_biases_would_be_seen(tmp_path):
    params, config = load_model(golden_models.write(tmp_path / "m", "qwen2"))
    params["layers"]["qkv_bias"] *= 0
    assert parity.differences("qwen2", params, config)["long"] > VISIBLE


@pytest.mark.slow
def test_another_base_of_the_rotary_frequencies_would_be_seen(tmp_path):
    folder = golden_models.write(tmp_path / "m", "llama")
    edit(folder, rope_parameters=None, rope_theta=20000.0)
    params, config = load_model(folder)
    found = parity.differences("llama", params, config)
    assert found["long"] > VISIBLE
    assert found["long"] > 3 * found["short"]  # why one of the inputs is long


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def small(**changes):
    settings = {**golden_models.SETTINGS["llama"], **changes}
    return {key: value for key, value in settings.items() if value != "gone"}


def test_settings_of_transformers_4_and_5_are_one_configuration():
    old = small(rope_theta=5e5, rope_scaling=None)
    new = small(rope_theta="gone", rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    assert model_config(old, "x") == model_config(new, "x")
    assert model_config(old, "x").rope_theta == 5e5


def test_settings_that_a_file_leaves_out_have_the_values_of_transformers():
    config = model_config(
        small(rope_theta="gone", rms_norm_eps="gone", num_key_value_heads="gone", tie_word_embeddings="gone"),
        "x",
    )
    assert (config.rope_theta, config.norm_epsilon, config.kv_heads, config.tied) == (1e4, 1e-6, 4, False)
    assert model_config(small(model_type="qwen3"), "x").head_width == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gemma3_text"}, "model_type is 'gemma3_text'"),
        ({"model_type": "gone"}, "model_type is None"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope type of rope_scaling is 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope type of rope_scaling is 'linear'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters is 'yarn'"),
        ({"rope_parameters": {"full_attention": {}}}, "full_attention of rope_parameters"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is '0.5'"),
        ({"attention_bias": True}, "attention_bias is 'True'"),
        ({"mlp_bias": True}, "mlp_bias is 'True'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window is 'True'"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types is 'sliding_attention'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"auto_map": {"AutoModelForCausalLM": "own.Model"}}, "auto_map"),
        ({"hidden_size": "gone"}, "hidden_size is missing"),
        ({"hidden_size": "32"}, "hidden_size is '32', but it must be a positive whole number"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 5}, "num_attention_heads is 5, which does not divide hidden_size 32"),
        ({"num_key_value_heads": 3}, "kv_heads is 3"),
        ({"rms_norm_eps": "NaN"}, "rms_norm_eps is 'NaN'"),
        ({"rope_theta": float("nan")}, "rope_theta is nan"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(changes, message):
    with pytest.raises(InputError, match=message):
        model_config(small(**changes), "config.json")


@pytest.fixture
def folder(tmp_path):
    return golden_models.write(tmp_path / "m", "llama")


def change(folder, **tensors):
    """Replace tensors; dots in names are written as two underscores, None takes one out."""
    made = load_file(folder / "model.safetensors") | {
        name.replace("__", "."): value for name, value in tensors.items()
    }
    save_file(
        {name: value for name, value in made.items() if value is not None}, folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model__norm__weight", None, r"model.norm.weight is missing \(expected shape \[32\], found none"),
        (
            "model__layers__1__mlp__up_proj__weight",
            np.zeros((48, 31), np.float32),
            r"layers.1.mlp.up_proj.weight has shape \[48, 31\], but the configuration asks for \[48, 32\]",
        ),
        ("extra__weight", np.zeros(3, np.float32), r"extra.weight of shape \[3\] is not expected"),
        (
            "model__norm__weight",
            np.zeros(32, np.int8),
            "model.norm.weight is I8, but only F64, F32, F16, BF16",
        ),
        (
            "model__norm__weight",
            np.full(32, np.nan, np.float32),
            "model.norm.weight holds NaN or infinities",
        ),
    ],
)
def test_wrong_tensors_are_named_with_their_shapes(folder, name, value, message):
    change(folder, **{name: value})
    with pytest.raises(InputError, match=message):
        load_model(folder)


def test_tables_that_older_files_carry_are_passed_over(folder):
    change(folder, model__layers__0__self_attn__rotary_emb__inv_freq=np.ones(4, np.float32))
    load_model(folder)


def test_a_configuration_of_absurd_size_is_refused_before_anything_is_allocated(folder):
    edit(folder, vocab_size=10**15, num_hidden_layers=10**15)
    with pytest.raises(InputError, match=r"embed_tokens.weight has shape \[96, 32\].*1000000000000000"):
        load_model(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0",
        b"\xff" * 8,
        (10**12).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"\xff\xfe{}",
    ],
    ids=["empty", "8 bytes", "8 bytes of ones", "1 TB", "a list", "no text"],
)
def test_hostile_safetensors_are_refused(folder, data):
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="no intact safetensors file"):
        load_model(folder)


def test_a_truncated_file_is_refused(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])
    with pytest.raises(InputError, match="no intact safetensors file"):
        load_model(folder)


def test_a_pickle_of_the_right_name_is_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickles can run code and are never opened"):
        load_model(folder)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\udcff"])
def test_a_configuration_that_is_no_object_is_refused(folder, text):
    (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=r"config.json: is not (JSON|a JSON object)"):
        load_model(folder)


def test_a_folder_without_configuration_or_weights_says_so(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has neither model.safetensors nor"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config.json: cannot be read"):
        load_model(folder)


def shard(folder):
    """Split the weights in two; returns the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    table = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(table.values()):
        save_file({name: tensors[name] for name in tensors if table[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return index


def test_shards_give_the_parameters_of_one_file(folder):
    params, config = load_model(folder)
    shard(folder)
    again, config_again = load_model(folder)
    assert config == config_again
    same(params, again)


def same(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            same(first[name], second[name])
    else:
        assert first.dtype == second.dtype
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model-00003-of-00003.safetensors", "is not there, but model.safetensors.index.json names it"),
        ("../secret.safetensors", "no plain name"),
        ("/etc/passwd", "no plain name"),
        ("model.bin", "no plain name"),
    ],
)
def test_an_index_names_only_files_beside_it(folder, name, message):
    index = shard(folder)
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": name}}))
    with pytest.raises(InputError, match=message):
        load_model(folder)


def test_a_tied_model_may_repeat_its_embedding_but_not_hold_another_head(tmp_path):
    folder = golden_models.write(tmp_path / "m", "smollm")
    embedding = golden_models.tensors("smollm")["model.embed_tokens.weight"]
    change(folder, lm_head__weight=embedding)
    params, _ = load_model(folder)
    assert "head" not in params
    change(folder, lm_head__weight=embedding + np.float32(1))
    with pytest.raises(InputError, match=r"lm_head.weight of shape \[96, 48\] is not the embedding"):
        load_model(folder)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_half_and_double_precision_are_read_exactly(folder, kind):
    import ml_dtypes

    dtype = np.dtype(getattr(ml_dtypes, kind, None) or kind)
    value = golden_models.tensors("llama")["model.norm.weight"].astype(dtype)
    change(folder, model__norm__weight=value)
    params, config = load_model(folder, dtype="float64")
    assert config.dtype == "float64"
    np.testing.assert_array_equal(params["final_norm"], value.astype(np.float64))
    assert load_model(folder, dtype="bfloat16")[0]["final_norm"].dtype == np.float32
