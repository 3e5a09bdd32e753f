"""Digests see dtype, shape and every bit; records refuse what was not written."""

import contextlib
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.runs import digest


def test_a_digest_is_that_of_text_and_bytes():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = hashlib.sha256(b"float32 [2, 3]\n" + array.tobytes()).hexdigest()
    assert digest.leaf_digest(array) == expected
    assert digest.leaf_digest(jnp.asarray(array)) == expected
    assert digest.leaf_digest(np.asfortranarray(array)) == expected
    assert digest.leaf_digest(array.astype(">f4").view(np.ndarray)) != expected  # dtype is part of it


def test_keys_have_digests_by_kind_and_value():
    digests = {
        digest.leaf_digest(key)
        for key in (jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg"))
    }
    assert len(digests) == 3
    assert digest.leaf_digest(jax.random.key(0)) != digest.leaf_digest(np.zeros(2, np.uint32))
    assert digest.signature(jax.random.split(jax.random.key(0))) == ("key<fry>", [2])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int32", "bool", "uint8", "float64"])
def test_every_bit_counts(dtype):
    array = np.zeros((2, 4), jnp.dtype(dtype))
    bits = array.view(np.uint8)
    before, after = digest.leaf_digest(array), set()
    for byte in range(bits.size):
        bits.reshape(-1)[byte] ^= 1
        after.add(digest.leaf_digest(array))
        bits.reshape(-1)[byte] ^= 1
    assert before == digest.leaf_digest(array)
    assert len(after) == bits.size
    assert before not in after


def test_shape_and_dtype_count():
    leaves = [
        np.zeros(4, np.int32),
        np.zeros((2, 2), np.int32),
        np.zeros(4, np.float32),
        np.zeros((0, 4)),
        0,
        0.0,
    ]
    assert len({digest.leaf_digest(leaf) for leaf in leaves}) == len(leaves)


def test_leaves_are_named_by_path():
    names = list(digest.named_leaves({"a": (1, {"b": 2.0}), "c": None, "d": jnp.ones(2)}))
    assert names == ["a/0", "a/1/b", "d"]
    assert list(digest.named_leaves(3)) == ["value"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [({"a/b": 1, "a": {"b": 2}}, "two leaves of the state are called 'a/b'"), ({"a": "text"}, "is a str")],
)
def test_ambiguous_or_foreign_leaves_are_refused(tree, message):
    with pytest.raises(InputError, match=message):
        digest.named_leaves(tree)


def test_objects_have_no_digest():
    with pytest.raises(InputError, match="type object has no digest"):
        digest.leaf_digest(np.array([None]))


def test_the_total_ignores_order_but_not_names():
    one, other = digest.state_digests({"a": 1, "b": 2.0}), digest.state_digests({"b": 2.0, "a": 1})
    assert digest.total(one) == digest.total(other)
    assert digest.total(one) != digest.total(digest.state_digests({"a": 1, "c": 2.0}))


def test_a_record_comes_back(tmp_path):
    path = tmp_path / "3.json"
    digest.write_record(path, {"step": 3, "extra": {"position": [1, 2.5, None]}})
    assert digest.read_record(path, 3)["extra"] == {"position": [1, 2.5, None]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["3.json"]


def test_a_record_is_refused_whatever_bit_is_flipped(tmp_path):
    path = tmp_path / "3.json"
    digest.write_record(path, {"step": 3, "extra": {}})
    content = path.read_bytes()
    intact = digest.read_record(path, 3)
    for place in range(len(content)):
        for bit in (1, 32):
            flipped = bytearray(content)
            flipped[place] ^= bit
            path.write_bytes(flipped)
            with contextlib.suppress(digest.DamagedError):
                assert digest.read_record(path, 3) == intact, "another record was accepted"


def test_absent_torn_and_foreign_records_are_refused(tmp_path):
    path = tmp_path / "3.json"
    with pytest.raises(digest.DamagedError, match="has no digest file"):
        digest.read_record(path, 3)
    digest.write_record(path, {"step": 3})
    with pytest.raises(digest.DamagedError, match="of step 3, format 1, not of step 4"):
        digest.read_record(path, 4)
    for content in (path.read_bytes()[:20], b"[]", b"\xff", b'{"record": 3, "sha256": ""}'):
        path.write_bytes(content)
        with pytest.raises(digest.DamagedError, match="its digest file"):
            digest.read_record(path, 3)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    digest.write_atomically(path, b"old")
    monkeypatch.setattr(
        "os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match="No space left"):
        digest.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_differences_are_listed_and_free_ones_are_not():
    stored = {"model": {"width": 64, "layers": 2}, "steps": 10, "seed": 0}
    now = {"model": {"width": 32, "layers": 2}, "steps": 20, "rate": (1, 2)}
    assert digest.differences(json.loads(json.dumps(stored)), now, ["steps"]) == [
        "model.width was 64, now 32",
        "rate was absent, now [1, 2]",
        "seed was 0, now absent",
    ]
    assert digest.differences(stored, now, ["steps", "model", "rate", "seed"]) == []
