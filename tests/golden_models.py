"""Small random models of each family, from a seed: the same numbers for `make_goldens.py` and for the tests.

Stored are what transformers says of them (`goldens/NAME.npz`) and the configuration as it writes it
(`goldens/NAME.json`). Nothing here knows our code or transformers.
"""

import pathlib
import shutil
import zlib

import numpy as np

GOLDENS = pathlib.Path(__file__).parent / "goldens"

_COMMON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}

# every family differs from the others in base and epsilon too, so that a default in their place shows
SETTINGS = {
    "llama": {
        **_COMMON,
        "model_type": "llama",
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    },
    "smollm": {
        **_COMMON,
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "num_attention_heads": 6,
        "hidden_size": 48,
    },
    "qwen2": {
        **_COMMON,
        "model_type": "qwen2",
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
    },
    "qwen3": {
        **_COMMON,
        "model_type": "qwen3",
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6,
        "rope_theta": 500000.0,
        "head_dim": 16,
    },
}
LONG, SHORT, PADDED = 520, 12, 16  # tokens of the inputs; the padded ones have 5 and 1 missing on the left
MISSING = (5, 1)
SHOWN = np.r_[0:32, 32:456:16, 456:LONG]  # positions of the long input whose logits are stored


def shapes(name):
    """Every tensor of a model as transformers names and shapes it."""
    s = SETTINGS[name]
    width, hidden, vocabulary = s["hidden_size"], s["intermediate_size"], s["vocab_size"]
    size = s.get("head_dim", width // s["num_attention_heads"])
    query, key = s["num_attention_heads"] * size, s["num_key_value_heads"] * size
    layer = {
        "self_attn.q_proj.weight": (query, width),
        "self_attn.k_proj.weight": (key, width),
        "self_attn.v_proj.weight": (key, width),
        "self_attn.o_proj.weight": (width, query),
        "mlp.gate_proj.weight": (hidden, width),
        "mlp.up_proj.weight": (hidden, width),
        "mlp.down_proj.weight": (width, hidden),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    if s["model_type"] == "qwen2":
        biases = {"q": query, "k": key, "v": key}
        layer |= {f"self_attn.{letter}_proj.bias": (rows,) for letter, rows in biases.items()}
    if s["model_type"] == "qwen3":
        layer |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
    every = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for index in range(s["num_hidden_layers"]):
        every |= {f"model.layers.{index}.{kind}": shape for kind, shape in layer.items()}
    return every if s["tie_word_embeddings"] else {**every, "lm_head.weight": (vocabulary, width)}


def tensors(name):
    """Random weights: each tensor from a seed of its own, logits of about 0.6 and attention not uniform."""
    made = {}
    for key, shape in shapes(name).items():
        draw = np.random.default_rng(zlib.crc32(f"{name} {key}".encode())).standard_normal(shape)
        if "norm" in key:
            value = 1 + 0.3 * draw
        elif key.endswith("bias"):
            value = 0.3 * draw
        elif "embed" in key or "lm_head" in key:
            value = 0.1 * draw
        else:
            value = draw / np.sqrt(shape[1])
        made[key] = value.astype(np.float32)
    return made


def inputs(name):
    """Token ids: `short [3, 12]`, `padded [2, 16]` (-1 on the left) and `long [1, 520]`."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    vocabulary = SETTINGS[name]["vocab_size"]
    made = {
        kind: rng.integers(0, vocabulary, shape).astype(np.int32)
        for kind, shape in {"short": (3, SHORT), "padded": (2, PADDED), "long": (1, LONG)}.items()
    }
    for row, missing in zip(made["padded"], MISSING, strict=True):
        row[:missing] = -1
    return made


def write(folder, name, change=None):
    """Make a folder as `save_pretrained` does; `change` may alter the tensors."""
    from safetensors.numpy import save_file

    made = tensors(name)
    folder.mkdir()
    shutil.copyfile(GOLDENS / f"{name}.json", folder / "config.json")
    save_file(change(made) if change else made, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
