"""Stores: what comes back is what was saved, or is refused with a reason."""

import pathlib
import resource
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from damage import data_file, flip

from nlhf.errors import InputError
from nlhf.transformer.runs import checkpoint, digest, restore
from nlhf.transformer.runs.guard import NonFiniteError

ROOT = pathlib.Path(__file__).parents[4]
CONFIG = {"model": {"width": 8}, "steps": 3}


class State(NamedTuple):
    params: dict[str, Any]
    optimiser: Any
    key: jax.Array
    step: jax.Array
    memory: np.ndarray
    count: int
    rate: float
    nothing: None = None


def make_state(seed):
    weight = jnp.asarray(np.random.default_rng(seed).normal(size=(8, 8)), jnp.float32)
    params = {
        "weight": weight,
        "half": weight[0].astype(jnp.bfloat16),
        "odd/name. [1]": jnp.int32(seed),
        "flags": weight > 0,
        "none": jnp.zeros((0, 3), jnp.float32),
        "nested": {},
    }
    return State(
        params=params,
        optimiser=optax.adam(1e-3).init({"weight": weight}),
        key=jax.random.wrap_key_data(np.arange(6, dtype=np.uint32).reshape(3, 2) + np.uint32(seed)),
        step=jnp.zeros((), jnp.int64) + seed,
        memory=np.arange(3) + seed,
        count=seed,
        rate=seed / 7,
    )


def total(state):
    return digest.total(digest.state_digests(digest.named_leaves(state)))


def fill(folder, steps, **settings):
    with checkpoint.open_store(folder, config=CONFIG, **settings) as store:
        for step in steps:
            assert checkpoint.save(store, step, make_state(step), extra={"position": 10 * step})
    return folder


def resume(folder, template=None, config=CONFIG, **settings):
    with checkpoint.open_store(folder, config=config, **settings) as store:
        return checkpoint.resume(store, make_state(0) if template is None else template)


def test_a_state_comes_back_as_it_was(tmp_path):
    found = resume(fill(tmp_path, [1, 2]))
    assert (found.step, found.extra, found.damaged) == (2, {"position": 20}, ())
    assert total(found.state) == total(make_state(2))
    assert jax.tree.structure(found.state) == jax.tree.structure(make_state(0))
    for new, old in zip(jax.tree.leaves(found.state), jax.tree.leaves(make_state(2)), strict=True):
        assert type(new) is type(old)
        assert getattr(new, "dtype", None) == getattr(old, "dtype", None)


def test_an_empty_store_has_nothing(tmp_path):
    assert resume(tmp_path / "new" / "store") is None
    with pytest.raises(InputError, match="has no checkpoint; train first"):
        restore.read(tmp_path / "new" / "store", make_state(0))


def test_shapes_alone_are_a_template(tmp_path):
    template = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else leaf,
        make_state(0),
    )
    assert total(resume(fill(tmp_path, [4]), template).state) == total(make_state(4))


def test_the_newest_and_the_best_are_kept(tmp_path):
    best = checkpoint.Best("win", number=2)
    wins = {1: 0.1, 2: 0.9, 3: float("nan"), 4: 0.9, 5: 0.2, 6: 0.3, 7: 0.4}
    with checkpoint.open_store(tmp_path, keep=2, best=best) as store:
        for step in range(1, 5):
            checkpoint.save(store, step, make_state(step), metrics={"win": wins[step]})
    with checkpoint.open_store(tmp_path, keep=2, best=best) as store:  # the scores survive
        for step in range(5, 8):
            checkpoint.save(store, step, make_state(step), metrics={"win": wins[step]})
        checkpoint.wait(store)
        assert restore.find_steps(tmp_path) == [2, 4, 6, 7]
    assert sorted(path.name for path in (tmp_path / "digests").iterdir()) == [
        f"{n}.json" for n in (2, 4, 6, 7)
    ]


def test_a_step_is_saved_once(tmp_path):
    with checkpoint.open_store(fill(tmp_path, [3]), config=CONFIG) as store:
        assert checkpoint.save(store, 3, make_state(3)) is False
        with pytest.raises(RuntimeError, match=r"step 3 is in .* already, with other values"):
            checkpoint.save(store, 3, make_state(4))
        with pytest.raises(RuntimeError, match="step 2 is below step 3"):
            checkpoint.save(store, 2, make_state(2))
    assert total(resume(tmp_path).state) == total(make_state(3))


def test_a_save_that_orbax_declines_is_an_error(tmp_path, monkeypatch):
    with checkpoint.open_store(tmp_path) as store:
        monkeypatch.setattr(checkpoint.Store, "should_save", lambda *_, **__: False)
        with pytest.raises(RuntimeError, match=r"step 1 was not saved in .*: Orbax declined"):
            checkpoint.save(store, 1, make_state(1))


def test_nothing_that_is_not_finite_is_saved(tmp_path):
    state = make_state(2)
    bad = state._replace(params={**state.params, "weight": state.params["weight"].at[1, 2].set(jnp.inf)})
    with checkpoint.open_store(fill(tmp_path, [1]), config=CONFIG) as store:
        with pytest.raises(NonFiniteError, match="step 2: state leaf 'params/weight'"):
            checkpoint.save(store, 2, bad)
        assert restore.find_steps(tmp_path) == [1]
        assert [path.name for path in (tmp_path / "digests").iterdir()] == ["1.json"]


def test_values_given_away_after_the_save_do_not_matter(tmp_path):
    rng = np.random.default_rng(0)
    weight, memory = jnp.asarray(rng.normal(size=(2000, 500)), jnp.float32), np.ones(1_000_000)
    state = {"weight": weight, "memory": memory}
    before = total(state)
    double = jax.jit(lambda x: 2 * x, donate_argnums=0)
    with checkpoint.open_store(tmp_path) as store:
        checkpoint.save(store, 1, state)
        for _ in range(5):
            weight = double(weight)
        memory[:] = 7
        jax.block_until_ready(weight)
        checkpoint.wait(store)
        template = {"weight": jax.ShapeDtypeStruct((2000, 500), jnp.float32), "memory": memory}
        assert total(checkpoint.resume(store, template).state) == before


def test_other_settings_are_listed_and_nothing_is_moved(tmp_path):
    fill(tmp_path, [1])
    with pytest.raises(
        InputError, match=r"has other settings \(model.width was 8, now 16; steps was 3, now 4\)"
    ):
        resume(tmp_path, config={"model": {"width": 16}, "steps": 4})
    assert resume(tmp_path, config={"model": {"width": 16}, "steps": 4}, free=["steps", "model"]).step == 1
    assert not list(tmp_path.glob("bad.*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s._replace(memory=s.memory.astype(np.int32)),
            r"memory: int64\[3\] in the checkpoint, int32\[3\]",
        ),
        (lambda s: s._replace(key=s.key[:2]), r"key: key<fry>\[3\] in the checkpoint, key<fry>\[2\] here"),
        (lambda s: s._replace(nothing=1), r"nothing: absent in the checkpoint, int64\[\] here"),
        (lambda s: s._replace(optimiser=()), r"in 3 leaves \(optimiser/0/count: int32\[\] .*, absent here"),
    ],
)
def test_another_state_is_told_leaf_by_leaf_and_nothing_is_moved(tmp_path_factory, filled, change, message):
    with pytest.raises(InputError, match=message):
        resume(filled, change(make_state(0)))
    assert restore.find_steps(filled) == [1]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled"), [1])


def test_orbax_itself_loads_a_flipped_bit_silently(filled, tmp_path):
    """The control of all that follows: without our digests this damage has no message."""
    from orbax.checkpoint import v1

    array = jnp.asarray(np.random.default_rng(0).normal(size=(100, 100)))
    with checkpoint.open_store(tmp_path) as store:
        checkpoint.save(store, 1, {"x": array})
    flip(data_file(tmp_path, 1), np.random.default_rng(1))
    loaded = v1.load(tmp_path / "steps" / "1", {"x": array})["x"]
    assert np.sum(np.asarray(loaded != array)) >= 1
    with pytest.raises(
        InputError, match=r"no checkpoint is intact .step 1: leaf 'x' does not match its digest"
    ):
        restore.read(tmp_path, {"x": array})


def test_a_damaged_step_is_moved_and_the_one_before_used(tmp_path):
    fill(tmp_path, [1, 2, 3])
    flip(tmp_path / "digests" / "3.json", np.random.default_rng(0))
    (tmp_path / "steps" / "2" / "state" / "manifest.ocdbt").unlink()
    with checkpoint.open_store(tmp_path, config=CONFIG) as store:
        found = checkpoint.resume(store, make_state(0))
        assert found.step == 1
        assert total(found.state) == total(make_state(1))
        assert [line.split(":")[0] for line in found.damaged] == ["step 3", "step 2"]
        assert all("\n" not in line and len(line) < 220 for line in found.damaged)
        assert sorted(path.name for path in tmp_path.glob("bad.*")) == ["bad.2", "bad.3"]
        for step in (2, 3):  # which Orbax, left alone, would not save: it still knows of a step 3
            assert checkpoint.save(store, step, make_state(step))
    assert restore.find_steps(tmp_path) == [1, 2, 3]
    assert total(resume(tmp_path).state) == total(make_state(3))


def test_damage_twice_at_one_step_keeps_both(tmp_path):
    fill(tmp_path, [1])
    for _ in range(2):
        with checkpoint.open_store(tmp_path, config=CONFIG) as store:
            checkpoint.save(store, 2, make_state(2))
        (tmp_path / "digests" / "2.json").unlink()
        assert resume(tmp_path).damaged == ("step 2: it has no digest file",)
    assert sorted(path.name for path in tmp_path.glob("bad.*")) == ["bad.2", "bad.2.2"]


def test_when_all_are_damaged_nothing_starts_again_silently(tmp_path):
    fill(tmp_path, [1, 2])
    for step in (1, 2):
        (tmp_path / "digests" / f"{step}.json").write_bytes(b"{}")
    for _ in range(2):  # nothing is moved, so it is said again
        with pytest.raises(
            InputError, match=r"no checkpoint is intact .step 2: its digest.*; step 1: its digest"
        ):
            resume(tmp_path)
    assert restore.find_steps(tmp_path) == [1, 2]


def test_a_store_whose_only_steps_were_damaged_is_not_new(tmp_path):
    fill(tmp_path, [1])
    (tmp_path / "steps" / "1").rename(tmp_path / "bad.1")
    with pytest.raises(InputError, match=r"has no checkpoint but bad\.1, which were found damaged"):
        resume(tmp_path)


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    fill(tmp_path, [1])
    left = tmp_path / "steps" / "2.orbax-checkpoint-tmp"
    left.mkdir()
    (left / "data").write_bytes(b"x")
    (tmp_path / "digests" / "2.json").write_bytes(b"{}")
    (tmp_path / "digests" / ".2.json.tmp").write_bytes(b"{}")
    assert resume(tmp_path).step == 1
    assert not left.exists()
    assert [path.name for path in (tmp_path / "digests").iterdir()] == ["1.json"]


def test_damaged_metadata_of_an_old_step_does_not_stop_a_run(tmp_path):
    fill(tmp_path, [1, 2])
    (tmp_path / "steps" / "1" / "_CHECKPOINT_METADATA").write_bytes(b"\xff{")
    with checkpoint.open_store(tmp_path, config=CONFIG) as store:
        assert checkpoint.resume(store, make_state(0)).step == 2
        assert checkpoint.save(store, 3, make_state(3))
    assert resume(tmp_path).step == 3


def test_a_part_can_be_read_while_the_store_is_written(tmp_path):
    with checkpoint.open_store(tmp_path, config=CONFIG) as store:
        for step in (1, 2):
            checkpoint.save(store, step, make_state(step), extra={"position": step})
        checkpoint.wait(store)
        part = {"params": {"weight": make_state(0).params["weight"]}, "key": make_state(0).key}
        found = restore.read(tmp_path, part, step=1, partial=True)
        assert (found.step, found.extra) == (1, {"position": 1})
        np.testing.assert_array_equal(found.state["params"]["weight"], make_state(1).params["weight"])
        assert found.state["key"].dtype == make_state(0).key.dtype
        with pytest.raises(InputError, match="key: key<fry>"):
            restore.read(tmp_path, {"params": {}}, step=1)
        with pytest.raises(InputError, match="has no checkpoint of step 7"):
            restore.read(tmp_path, part, step=7, partial=True)


def test_a_writer_that_fails_is_told_and_the_last_good_step_stays(tmp_path):
    """A limit on the size of files: the failure happens in Orbax's threads, after ``save`` has returned."""
    rng = np.random.default_rng(0)
    states = [{"x": rng.normal(size=200_000)} for _ in range(3)]
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with checkpoint.open_store(tmp_path) as store:
        checkpoint.save(store, 1, states[0])
        checkpoint.wait(store)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, old[1]))
            checkpoint.save(store, 2, states[1])
            with pytest.raises(InputError, match="step 2 cannot be saved") as told:
                checkpoint.save(store, 3, states[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        message = str(told.value)
        assert str(tmp_path) in message
        assert "MB free); the last good step is 1; make room" in message
        assert "\n" not in message
        assert restore.find_steps(tmp_path) == [1]
        assert total(checkpoint.resume(store, states[0]).state) == total(states[0])
        assert checkpoint.save(store, 2, states[2])  # the same step, once there is room
    assert total(restore.read(tmp_path, states[0]).state) == total(states[2])


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    with checkpoint.open_store(fill(tmp_path, [1])) as store:

        def full(*_, **__):
            raise ValueError("RESOURCE_EXHAUSTED: Failed writing: No space left on device")

        monkeypatch.setattr(type(store.checkpointer), "save_async", full)
        with pytest.raises(InputError, match=r"step 2 cannot be saved \(the disk is full; \d+\.\d MB free\)"):
            checkpoint.save(store, 2, make_state(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: checkpoint.open_store(folder, keep=0), "keep"),
        (lambda folder: checkpoint.open_store(folder, best=checkpoint.Best("win", number=0)), "best.number"),
        (lambda folder: checkpoint.open_store("/proc/none/store"), "cannot be written"),
    ],
)
def test_bad_settings_are_refused(tmp_path, call, message):
    with pytest.raises(InputError, match=message):
        call(tmp_path)


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with checkpoint.open_store(tmp_path) as store:
        for extra in ({"x": float("nan")}, {"x": np.zeros(2)}):
            with pytest.raises(InputError, match="config and extra are what JSON can hold"):
                checkpoint.save(store, 1, make_state(1), extra=extra)
    assert list((tmp_path / "digests").iterdir()) == []


MESHES = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from nlhf.transformer.runs import checkpoint, digest

def place(shape, names, spec):
    mesh = jax.make_mesh(shape, names)
    put = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))
    keys = jax.random.split(jax.random.key(0), 8)
    return {"x": put(jnp.arange(64.0).reshape(8, 8), *spec), "keys": put(keys, spec[0]), "half": put(
        jnp.arange(8, dtype=jnp.bfloat16)), "n": 3}

first = place((4,), ("data",), ("data", None))
others = [place((2, 2), ("data", "tensor"), ("tensor", "data")), place((1,), ("data",), ("data", None))]
with checkpoint.open_store(sys.argv[1]) as store:
    checkpoint.save(store, 1, first)
    expected = digest.state_digests(digest.named_leaves(first))
    for other in [first, *others]:
        found = checkpoint.resume(store, jax.tree.map(lambda x: x, other)).state
        assert digest.state_digests(digest.named_leaves(found)) == expected
        for name in ("x", "keys", "half"):
            assert found[name].sharding == other[name].sharding, (found[name].sharding, other[name].sharding)
        np.testing.assert_array_equal(found["x"], np.arange(64.0).reshape(8, 8))
print("equal")
"""


def test_a_checkpoint_of_one_mesh_loads_on_another(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MESHES, str(tmp_path)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "equal", done.stderr[-3000:]
