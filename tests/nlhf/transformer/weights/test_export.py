"""Folders that we write: the same bits back, whole or absent; `make_goldens.py --check` reads them."""

import json
import os

import golden_models
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from nlhf.errors import InputError
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.weights.export import save_model
from nlhf.transformer.weights.load import load_model


def sizes(**changes):
    small = dict(vocabulary=11, width=8, layers=2, heads=4, kv_heads=2, head_width=4, hidden=6, context=16)
    return ModelConfig(**{**small, **changes})


def random_parameters(config, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: decoder.init(jax.random.key(0), config))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), dtype), shapes)


@pytest.mark.parametrize("name", golden_models.SETTINGS)
def test_a_folder_that_is_read_and_written_has_the_tensors_of_the_first(tmp_path, name):
    params, config = load_model(golden_models.write(tmp_path / "first", name))
    save_model(tmp_path / "second", params, config)
    written = load_file(tmp_path / "second/model.safetensors")
    true = golden_models.tensors(name)
    assert written.keys() == true.keys()
    for key, value in true.items():
        assert written[key].tobytes() == value.tobytes(), key
    settings = json.loads((tmp_path / "second/config.json").read_text())
    wanted = json.loads((golden_models.GOLDENS / f"{name}.json").read_text())
    shared_keys = settings.keys() & wanted.keys() - {"transformers_version"}
    ours = ("bos_token_id", "eos_token_id")
    assert {k: settings[k] for k in shared_keys if k not in ours} == {
        k: wanted[k] for k in shared_keys if k not in ours
    }


@pytest.mark.parametrize(
    "config",
    [sizes(), sizes(tied=False, kv_heads=4), sizes(qkv_bias=True), sizes(qk_norm=True, tied=False)],
    ids=["llama", "untied", "qwen2", "qwen3"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_written_is_read_bit_by_bit(tmp_path, config, dtype):
    params = random_parameters(config, dtype)
    save_model(tmp_path / "m", params, config)
    again, config_again = load_model(tmp_path / "m", dtype=dtype)
    assert (config_again.width, config_again.tied, config_again.qk_norm) == (8, config.tied, config.qk_norm)
    assert jax.tree.structure(params) == jax.tree.structure(again)
    for first, second in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True):
        assert first.dtype == second.dtype
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def test_bfloat16_parameters_are_written_as_such(tmp_path):
    params = random_parameters(sizes(), jnp.bfloat16)
    save_model(tmp_path / "m", params, sizes())
    assert json.loads((tmp_path / "m/config.json").read_text())["dtype"] == "bfloat16"
    again, _ = load_model(tmp_path / "m")
    np.testing.assert_array_equal(again["layers"]["down"], params["layers"]["down"].astype(jnp.float32))


def test_tokens_and_files_travel_along(tmp_path):
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    folder = save_model(
        tmp_path / "a/m", random_parameters(sizes()), sizes(), begin=1, end=2, copies=[tokenizer]
    )
    settings = json.loads((folder / "config.json").read_text())
    assert (settings["bos_token_id"], settings["eos_token_id"]) == (1, 2)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert os.listdir(folder.parent) == ["m"]


def test_nothing_is_replaced(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    save_model(folder, random_parameters(sizes()), sizes())  # an empty one is as good as none
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="already exists and is not empty"):
        save_model(folder, random_parameters(sizes(), seed=1), sizes())
    assert (folder / "model.safetensors").read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="already exists"):
        save_model(tmp_path / "link", random_parameters(sizes()), sizes())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    params = random_parameters(sizes())
    with pytest.raises(InputError, match="cannot be written"):
        save_model(tmp_path / "m", params, sizes(), copies=[tmp_path / "missing.json"])

    def full(*_arguments, **_settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(InputError, match=r"No space left on device; [\d,]+ bytes free, [\d,]+ needed"):
        save_model(tmp_path / "m", params, sizes())
    assert os.listdir(tmp_path) == []


def test_models_that_no_family_has_are_refused(tmp_path):
    both = sizes(qkv_bias=True, qk_norm=True)
    with pytest.raises(InputError, match="no Hugging Face family has both"):
        save_model(tmp_path / "m", random_parameters(both), both)
    with pytest.raises(InputError, match="parameter head has shape None"):
        save_model(tmp_path / "m", random_parameters(sizes()), sizes(tied=False))
    with pytest.raises(InputError, match=r"two files of the name config\.json"):
        save_model(tmp_path / "m", random_parameters(sizes()), sizes(), copies=["x/config.json"])
    assert os.listdir(tmp_path) == []
