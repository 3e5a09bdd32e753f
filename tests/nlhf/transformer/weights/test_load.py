"""One entry for all kinds of checkpoints; a corrupted copy of a published file is told apart."""

import shutil
import warnings

import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.weights.load import KNOWN, KnownFileWarning, check_known, load_model


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.PKL", "model.pickle", "model.ckpt"])
def test_pickles_are_refused_by_name_before_they_are_looked_for(tmp_path, name):
    with pytest.raises(InputError, match="is a pickle by its name"):
        load_model(tmp_path / name)


def test_other_files_are_refused_with_what_is_read(tmp_path):
    with pytest.raises(InputError, match=r"is not there; give a Hugging Face folder .*\.gguf .*\.bin"):
        load_model(tmp_path / "nothing")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match="is no checkpoint that is read here; give a Hugging Face folder"):
        load_model(tmp_path / "model.onnx")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"without config\.json; give the folder"):
        load_model(tmp_path / "model.safetensors")


def test_the_shared_files_are_those_of_the_table(shared):
    assert check_known(shared / "data/stories260k/stories260K.bin")
    assert check_known(shared / "data/stories260k/stories260K-f32.gguf")
    assert check_known(shared / "data/stories15m/stories15M-q8_0.gguf")
    assert all(len(digest) == 64 for _, digest in KNOWN.values())


def test_a_copy_with_permuted_weights_is_told_apart(shared, tmp_path):
    whole = shared / "data/stories260k/stories260K.bin"
    data = whole.read_bytes()
    weights = np.frombuffer(data, np.float32, offset=28)
    copy = tmp_path / "stories260K.bin"
    copy.write_bytes(data[:28] + np.random.default_rng(0).permutation(weights).tobytes())
    assert copy.stat().st_size == whole.stat().st_size
    with pytest.warns(KnownFileWarning, match="has the name and size of a published file, but SHA-256"):
        params, config = load_model(copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        true, same = load_model(whole)
    assert config == same  # nothing but the weights says that they differ
    assert not np.array_equal(params["embedding"], true["embedding"])


def test_files_of_other_names_or_sizes_are_ones_own(shared, tmp_path):
    copy = tmp_path / "mine.bin"
    shutil.copyfile(shared / "data/stories260k/stories260K.bin", copy)
    assert not check_known(copy)
    short = tmp_path / "stories260K.bin"
    short.write_bytes(b"x")
    assert not check_known(short)
