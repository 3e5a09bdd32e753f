"""Damage in every file of a checkpoint: it is detected, or what is loaded is as it was saved."""

import itertools
import logging
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from damage import cut, data_file, flip

from nlhf.errors import InputError
from nlhf.transformer.runs import checkpoint, digest, restore


def make_state(step):
    weight = jnp.asarray(np.random.default_rng(step).normal(size=(150, 150)), jnp.float32)
    params = {"weight": weight, "half": weight[:5].astype(jnp.bfloat16), "count": jnp.int32(step)}
    return {"params": params, "optimiser": optax.adam(0.1).init(params), "key": jax.random.key(step)}


def total(state):
    return digest.total(digest.state_digests(digest.named_leaves(state)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "store"
    with checkpoint.open_store(folder) as store:
        for step in (1, 2):
            checkpoint.save(store, step, make_state(step), extra={"position": step})
    return folder


def parts(store):
    """Every file that belongs to the newest step."""
    inside = sorted(path.relative_to(store) for path in (store / "steps" / "2").rglob("*") if path.is_file())
    return [*map(str, inside), "digests/2.json"]


def survive(saved, folder, damage):
    """Damage a copy and resume; return whether it was detected. Whatever is loaded is as it was saved."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    damage(folder)
    with checkpoint.open_store(folder) as store:
        found = checkpoint.resume(store, make_state(0))
        assert total(found.state) == total(make_state(found.step)), "loaded as different"
        assert found.extra == {"position": found.step}
        detected = found.step == 1
        assert len(found.damaged) == detected
        assert (folder / "bad.2").exists() == detected
        assert checkpoint.save(store, 3, make_state(3))
    assert total(restore.read(folder, make_state(0)).state) == total(make_state(3))
    return detected


@pytest.mark.parametrize("damage", ["truncate", "delete"])
@pytest.mark.parametrize("part", ["the largest", "digests/2.json", "steps/2/state/_METADATA"])
def test_a_file_cut_or_lost_is_detected(saved, tmp_path, part, damage):
    name = str(data_file(saved, 2).relative_to(saved)) if part == "the largest" else part
    assert survive(saved, tmp_path / "copy", lambda folder: cut(folder / name, damage))


@pytest.mark.slow
def test_every_file_cut_or_lost_is_detected_or_harmless(saved, tmp_path):
    found = {}
    for damage in ("truncate", "delete"):
        for name in parts(saved):
            found[damage, name] = survive(saved, tmp_path / "copy", lambda f, n=name, d=damage: cut(f / n, d))
    print(
        f"{sum(found.values())} of {len(found)} detected, harmless: {[k for k, v in found.items() if not v]}"
    )
    assert found["truncate", str(data_file(saved, 2).relative_to(saved))]


def test_flipped_bits_are_detected(saved, tmp_path):
    rng = np.random.default_rng(2)
    for _ in range(4):
        assert survive(saved, tmp_path / "copy", lambda folder: flip(data_file(folder, 2), rng))


@pytest.mark.slow
def test_campaign_of_flipped_bits(saved, tmp_path):
    """40 bits in the array data, where Orbax notices none, and 40 in all files in turn."""
    rng = np.random.default_rng(0)
    names = parts(saved)
    largest = str(data_file(saved, 2).relative_to(saved))
    in_data = [survive(saved, tmp_path / "copy", lambda f: flip(f / largest, rng)) for _ in range(40)]
    in_turn = [
        survive(saved, tmp_path / "copy", lambda f, n=name: flip(f / n, rng))
        for name in itertools.islice(itertools.cycle(names), 40)
    ]
    print(
        f"array data: {sum(in_data)} of 40 detected; files in turn: {sum(in_turn)} of 40, the rest harmless"
    )
    assert all(in_data)


def test_all_steps_damaged_is_refused(saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    for step in (1, 2):
        flip(data_file(folder, step), np.random.default_rng(step))
    with (
        checkpoint.open_store(folder) as store,
        pytest.raises(InputError, match=r"no checkpoint is intact \(step 2: leaf .*; step 1: leaf "),
    ):
        checkpoint.resume(store, make_state(0))


def test_what_orbax_prints_is_dropped_and_what_others_print_is_not(caplog, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: seen.append(found.exc_value))

    class Fails:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            raise self.error

    with restore.Quiet():
        logging.getLogger("absl").error("stack trace of orbax/checkpoint")
        logging.getLogger("absl").error("another message")
        logging.getLogger("absl").warning("orbax warns")
        Fails(RuntimeError("Event loop is closed"))
        Fails(RuntimeError("another error"))
    logging.getLogger("absl").error("orbax after")
    assert [record.getMessage() for record in caplog.records] == [
        "another message",
        "orbax warns",
        "orbax after",
    ]
    assert [str(error) for error in seen] == ["another error"]
    assert restore.first_cause(ValueError("first\nsecond")) == "ValueError: first"


def test_an_error_is_told_by_its_cause():
    error = KeyError("incompatible handler")
    error.__cause__ = OSError("disk on fire")
    assert restore.first_cause(error) == "OSError: disk on fire"
