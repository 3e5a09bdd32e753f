"""GGUF files: judged by logits, since the rotary layout of Llamas differs from that of the others."""

import struct
import sys

import gguf
import golden_models
import jax
import numpy as np
import parity
import pytest

from nlhf.errors import InputError
from nlhf.transformer.weights.gguf import read_gguf
from nlhf.transformer.weights.load import load_model

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(path, name, kind=None, change=None, **extra):
    """A golden model as llama.cpp's converter writes it: rows of queries and keys interleaved for Llamas."""
    s = golden_models.SETTINGS[name]
    family = s["model_type"]
    size = s.get("head_dim", s["hidden_size"] // s["num_attention_heads"])
    writer = gguf.GGUFWriter(path, family)
    writer.add_context_length(s["max_position_embeddings"])
    writer.add_embedding_length(s["hidden_size"])
    writer.add_block_count(s["num_hidden_layers"])
    writer.add_feed_forward_length(s["intermediate_size"])
    writer.add_head_count(s["num_attention_heads"])
    writer.add_head_count_kv(s["num_key_value_heads"])
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_layer_norm_rms_eps(s["rms_norm_eps"])
    writer.add_rope_freq_base(s["rope_theta"])
    for key, value in extra.items():
        setting = f"{family}.{key.replace('__', '.')}"
        writer.add_string(setting, value) if isinstance(value, str) else writer.add_uint32(setting, value)
    tensors = golden_models.tensors(name)
    for key, value in (change(tensors) if change else tensors).items():
        if family == "llama" and ("q_proj" in key or "k_proj" in key):
            # row j of a head goes to place 2j, row j + size/2 to place 2j + 1
            order = np.concatenate([np.array([j, j + size // 2]) for j in range(size // 2)])
            value = np.concatenate([head[order] for head in np.split(value, len(value) // size)])
        for ours, theirs in NAMES.items():
            key = key.replace(ours, theirs)
        if kind is not None and value.ndim == 2 and value.shape[1] % 32 == 0:
            writer.add_tensor(key, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_each_family_is_the_model_that_transformers_has(tmp_path, name):
    params, config = load_model(write(tmp_path / "m.gguf", name))
    folder_params, folder_config = load_model(golden_models.write(tmp_path / "folder", name))
    assert config == folder_config
    for path, value in jax.tree.leaves_with_path(folder_params):
        own = params
        for key in path:
            own = own[key.key]
        np.testing.assert_array_equal(own, value, err_msg=str(path))


def test_the_folder_it_is_compared_with_has_the_layout_of_transformers(tmp_path):
    params, config = load_model(write(tmp_path / "m.gguf", "llama"))
    assert max(parity.differences("llama", params, config).values()) <= 1e-5


@pytest.mark.parametrize(
    ("folder", "file", "bar"),
    [("stories260k", "stories260K-f32.gguf", 1e-4), ("stories15m", "stories15M-q8_0.gguf", 0.4)],
)
def test_published_files_say_what_their_references_say(shared, folder, file, bar):
    params, config = load_model(shared / "data" / folder / file)
    with np.load(shared / "data" / folder / "reference.npz") as reference:
        scores, rows = reference["token_logprob_0"], reference["logit_positions_0"]
        wanted, tokens = reference["logits_0"], reference["tokens_0"][: len(scores) + 1]
    with jax.default_matmul_precision("highest"):
        logits = parity.FORWARD(params, config, tokens[None])[0]
    assert np.abs(np.asarray(logits)[rows] - wanted).max() <= bar
    own = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(tokens) - 1), tokens[1:]]
    assert np.abs(own[: len(scores)] - scores).max() <= bar


@pytest.mark.parametrize(
    ("kind", "steps"), [("F16", 2048), ("BF16", 256), ("Q8_0", 254), ("Q5_1", 31), ("Q4_1", 15), ("Q4_0", 8)]
)
def test_quantised_weights_are_within_a_step_of_the_true_ones(tmp_path, kind, steps):
    path = write(tmp_path / "m.gguf", "llama", gguf.GGMLQuantizationType[kind])
    true = golden_models.tensors("llama")["model.embed_tokens.weight"]
    found = np.asarray(load_model(path)[0]["embedding"])
    blocks, differences = (x.reshape(-1, 32) for x in (true, np.abs(found - true)))
    step = (blocks.max(1) - blocks.min(1)).clip(np.abs(blocks).max(1)) / steps
    assert (differences.max(1) <= 1.02 * step).all()
    assert differences.max() > 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"rope__scaling__type": "yarn"}, "rope.scaling.type is 'yarn'"),
        ({"expert_count": 4}, "expert_count is 4"),
        ({"rope__dimension_count": 4}, "rope.dimension_count is 4"),
        ({"attention__sliding_window": 128}, "sliding_window is 128"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(tmp_path, extra, message):
    with pytest.raises(InputError, match=message):
        load_model(write(tmp_path / "m.gguf", "llama", **extra))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "rope_freqs.weight": np.ones(4, np.float32)}, "rope_freqs.weight"),
        (
            lambda t: {**t, "model.norm.weight": np.ones(31, np.float32)},
            r"model.norm.weight has shape \[31\], but the configuration asks for \[32\]",
        ),
        (
            lambda t: {key: value for key, value in t.items() if key != "model.norm.weight"},
            r"model.norm.weight is missing \(expected shape \[32\]",
        ),
        (lambda t: {**t, "other.weight": np.ones(3, np.float32)}, "other.weight of shape .* is not expected"),
    ],
)
def test_wrong_tensors_are_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_model(write(tmp_path / "m.gguf", "llama", change=change))


def test_another_architecture_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_tensor("a", np.ones(3, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match="architecture is 'gemma3'"):
        read_gguf(path)


@pytest.mark.parametrize("tensors", [0, 1, 2**60])
@pytest.mark.parametrize("settings", [0, 1, 2**60])
def test_a_header_that_promises_what_is_not_there_is_refused(tmp_path, tensors, settings):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, settings) + b"\0" * 8)
    with pytest.raises(InputError):
        load_model(path)


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 200, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = write(tmp_path / "m.gguf", "llama")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"m\.gguf: "):
        load_model(path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"install 'nlhf\[gguf\]"):
        read_gguf(tmp_path / "m.gguf")
