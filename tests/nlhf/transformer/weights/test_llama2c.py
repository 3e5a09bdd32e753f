"""llama2.c files: offsets and rotary layout are judged by what the model says, not by shapes."""

import math
import struct

import jax
import numpy as np
import pytest
from parity import FORWARD

from nlhf.errors import InputError
from nlhf.transformer.weights.llama2c import read_llama2c
from nlhf.transformer.weights.load import load_model

SIZES = dict(width=8, hidden=12, layers=2, heads=4, kv_heads=2, vocabulary=11, context=6)


def write(path, seed=0, tied=True, **sizes):
    """A file of random arrays; returns them by llama2.c's names."""
    s = {**SIZES, **sizes}
    width, hidden, layers, vocabulary = s["width"], s["hidden"], s["layers"], s["vocabulary"]
    key = width // s["heads"] * s["kv_heads"]
    shapes = {
        "embedding": (vocabulary, width),
        "attention_norm": (layers, width),
        "wq": (layers, width, width),
        "wk": (layers, key, width),
        "wv": (layers, key, width),
        "wo": (layers, width, width),
        "mlp_norm": (layers, width),
        "w1": (layers, hidden, width),
        "w2": (layers, width, hidden),
        "w3": (layers, hidden, width),
        "final_norm": (width,),
        "tables": (s["context"], width // s["heads"]),
    }
    shapes |= {} if tied else {"head": (vocabulary, width)}
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    header = (
        width,
        hidden,
        layers,
        s["heads"],
        s["kv_heads"],
        vocabulary * (1 if tied else -1),
        s["context"],
    )
    path.write_bytes(struct.pack("<7i", *header) + b"".join(x.tobytes() for x in arrays.values()))
    return arrays


def forward(arrays, tokens, heads=4, kv_heads=2):
    """Numpy transcription of llama2.c: one token after the other, rotating neighbouring pairs."""

    def norm(x, weight):
        return x / math.sqrt((x**2).mean() + 1e-5) * weight

    a = {name: array.astype(np.float64) for name, array in arrays.items()}
    width = a["embedding"].shape[1]
    size = width // heads
    cache = [([], []) for _ in a["wq"]]
    logits = []
    for position, token in enumerate(tokens):
        x = a["embedding"][token]
        for layer, (keys, values) in enumerate(cache):
            h = norm(x, a["attention_norm"][layer])
            q, k, v = (a[name][layer] @ h for name in ("wq", "wk", "wv"))
            for vector in (q, k):
                for i in range(0, len(vector), 2):
                    angle = position * 10000.0 ** (-(i % size) / size)
                    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
                    vector[i : i + 2] = turn @ vector[i : i + 2]
            keys.append(k.reshape(kv_heads, size))
            values.append(v.reshape(kv_heads, size))
            parts = []
            for head in range(heads):
                other = head * kv_heads // heads
                own = q[head * size : (head + 1) * size]
                weights = np.exp([own @ key[other] / math.sqrt(size) for key in keys])
                parts.append(weights / weights.sum() @ np.stack([value[other] for value in values]))
            x = x + a["wo"][layer] @ np.concatenate(parts)
            h = norm(x, a["mlp_norm"][layer])
            gate = a["w1"][layer] @ h
            x = x + a["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (a["w3"][layer] @ h))
        logits.append(a.get("head", a["embedding"]) @ norm(x, a["final_norm"]))
    return np.stack(logits)


@pytest.mark.parametrize("tied", [True, False])
def test_a_random_file_says_what_the_transcription_of_llama2c_says(tmp_path, tied):
    arrays = write(tmp_path / "m.bin", tied=tied)
    params, config = load_model(tmp_path / "m.bin", dtype="float64")
    assert config.tied == tied
    tokens = np.array([1, 7, 3, 10, 0, 3])
    ours = FORWARD(params, config, tokens[None])[0]
    np.testing.assert_allclose(ours, forward(arrays, tokens), rtol=1e-10, atol=1e-10)


def test_the_published_small_model_says_what_its_reference_says(shared):
    folder = shared / "data/stories260k"
    params, config = load_model(folder / "stories260K.bin")
    with np.load(folder / "reference.npz") as reference, jax.default_matmul_precision("highest"):
        wanted = reference["token_logprob_0"]
        tokens = reference["tokens_0"][: len(wanted) + 1]
        logits = np.asarray(FORWARD(params, config, tokens[None])[0])
        assert np.abs(logits[reference["logit_positions_0"]] - reference["logits_0"]).max() <= 1e-4
        scores = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(tokens) - 1), tokens[1:]]
        assert np.abs(scores - wanted).max() <= 1e-4


@pytest.mark.parametrize("change", [-4, 4, -(28 + 4)])
def test_a_file_of_another_size_is_refused(tmp_path, change):
    path = tmp_path / "m.bin"
    write(path)
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + b"\0" * change)
    with pytest.raises(InputError, match=rf"holds {len(data) + change} bytes, but .* asks for {len(data)};"):
        load_model(path)


def test_a_header_of_huge_numbers_allocates_nothing(tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(struct.pack("<7i", 2**30, 2**30, 2**30, 4, 2, 2**30, 2**30) + b"\0" * 100)
    with pytest.raises(InputError, match="download it again"):
        load_model(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "0 bytes, less than the header"),
        (b"PK\x03\x04" + b"\0" * 100, "pickle"),
        (b"\x80\x02}q\0." + b"\0" * 100, "pickle"),
        (struct.pack("<2i", 0x616B3432, 1) + b"\0" * 300, "version 1, but only the legacy one"),
        (struct.pack("<7i", 8, 12, 2, 3, 2, 11, 6), "describes no model"),
        (struct.pack("<7i", 8, 12, -2, 4, 2, 11, 6), "describes no model"),
        (struct.pack("<7i", 8, 12, 2, 4, 2, 0, 6), "describes no model"),
        (struct.pack("<7i", 12, 12, 2, 4, 2, 11, 6), "describes no model"),  # heads of odd width
    ],
)
def test_what_is_no_legacy_file_is_refused_by_its_head(tmp_path, head, message):
    path = tmp_path / "m.bin"
    path.write_bytes(head)
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_shapes_are_known_before_anything_is_read(tmp_path):
    write(tmp_path / "m.bin")
    source, config = read_llama2c(tmp_path / "m.bin")
    assert len(source.shapes) == 2 + 9 * config.layers
    assert source.shapes["model.layers.1.mlp.down_proj.weight"] == (8, 12)
