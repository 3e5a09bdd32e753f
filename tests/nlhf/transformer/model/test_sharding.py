"""The table of places, and runs on meshes of forced devices, each in a process of its own."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from sharded_runs import assert_same_run, run_trainer

from nlhf.errors import InputError
from nlhf.replay import buffer
from nlhf.transformer.model import decoder, sharding
from nlhf.transformer.model.config import ModelConfig, preset
from nlhf.transformer.model.lora import init_adapters, lora
from nlhf.transformer.policy import LanguageModel
from nlhf.transformer.responses import Responses
from nlhf.transformer.space import start

ROOT = pathlib.Path(__file__).parents[4]
CONFIG = ModelConfig(
    vocabulary=8, width=16, layers=2, heads=4, kv_heads=2, head_width=4, hidden=32, context=8
)
MESHES = ("data=8", "data=2,fsdp=2,tensor=2", "fsdp=4,tensor=2")


class Device:
    """What a mesh needs to know of a device that is not there."""

    platform, device_kind = "none", "none"

    def __init__(self, number, process_index=0):
        self.id, self.process_index = number, process_index


def imagined(data, fsdp, tensor, processes=1):
    """A mesh of devices that are not there, in the order of their processes."""
    num = data * fsdp * tensor
    devices = [Device(number, number * processes // num) for number in range(num)]
    array = np.array(devices, object).reshape(data, fsdp, tensor)
    return Mesh(array, sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def spec_by_name(tree, mesh):
    placed = jax.tree_util.tree_leaves_with_path(sharding.shardings(tree, mesh))
    return {jax.tree_util.keystr(path): place.spec for path, place in placed}


# ---- meshes from text


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("data=2,fsdp=2,tensor=2", (2, 2, 2)),
        ("data=8", (8, 1, 1)),
        (" tensor = 2 , fsdp = 4 ", (1, 4, 2)),
    ],
)
def test_a_mesh_from_text(text, sizes):
    mesh = sharding.parse_mesh(text, [Device(number) for number in range(8)])
    assert tuple(mesh.shape[axis] for axis in ("data", "fsdp", "tensor")) == sizes
    assert mesh.axis_types == (AxisType.Auto,) * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data=2,model=4", ["'model'", "data, fsdp, tensor"]),
        ("data=2,data=4", ["names data twice"]),
        ("data=3,fsdp=2", ["3 x 2 x 1 = 6", "there are 8", "1, 2, 4, 8", "data=8"]),
        ("data=1.5", ["'1.5'", "whole number"]),
        ("data=-8", ["'-8'"]),
        ("data=0", ["'0'"]),
        ("data", ["data=''"]),
        ("8", ["'8'"]),
        ("data=99999999999999999999", ["whole number"]),
        ("", ["1 x 1 x 1 = 1", "there are 8"]),
    ],
)
def test_a_text_that_is_no_mesh(text, words):
    with pytest.raises(InputError) as caught:
        sharding.parse_mesh(text, [Device(number) for number in range(8)])
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


# ---- what does not divide


@pytest.mark.parametrize(
    ("sizes", "changes", "batch", "words"),
    [
        ((1, 1, 2), {"heads": 9, "kv_heads": 3}, 8, ["kv_heads is 3", "tensor=2", "tensor = 1"]),
        ((1, 1, 4), {}, 8, ["kv_heads is 2", "tensor=4", "tensor = 1, 2"]),
        ((1, 1, 2), {"hidden": 33}, 8, ["hidden is 33", "tensor = 1"]),
        ((1, 1, 2), {"vocabulary": 259}, 8, ["vocabulary is 259", "tensor = 1"]),
        ((1, 3, 1), {}, 9, ["width is 16", "fsdp=3", "fsdp = 1, 2, 4, 8, 16"]),
        ((2, 2, 1), {}, 9, ["batch is 9", "8 or 12", "1, 3, 9"]),
        ((8, 1, 1), {}, 3, ["batch is 3", "batch of 8,", "1, 3"]),
    ],
)
def test_a_mesh_that_does_not_divide_is_refused_with_what_does(sizes, changes, batch, words):
    config = ModelConfig(**{**vars(CONFIG), **changes})
    with pytest.raises(InputError) as caught:
        sharding.check_mesh(imagined(*sizes), config, batch)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mesh_that_divides_passes():
    for sizes in ((8, 1, 1), (2, 2, 2), (1, 4, 2)):
        sharding.check_mesh(imagined(*sizes), CONFIG, 8)
    sharding.check_mesh(imagined(3, 1, 1), CONFIG)  # no batch, no rule for it
    sharding.check_mesh(imagined(1, 1, 2), preset("tiny"), 1)


# ---- the table


def test_every_parameter_of_a_model_has_a_place():
    config = ModelConfig(**{**vars(CONFIG), "tied": False, "qkv_bias": True, "qk_norm": True})
    params = jax.eval_shape(lambda key: decoder.init(key, config), jax.random.key(0))
    found = spec_by_name(params, imagined(2, 2, 2))
    assert found == {
        "['embedding']": P("tensor", "fsdp"),
        "['final_norm']": P(),
        "['head']": P("fsdp", "tensor"),
        "['layers']['attention_norm']": P(),
        "['layers']['down']": P(None, "tensor", "fsdp"),
        "['layers']['gate_up']": P(None, "fsdp", None, "tensor"),
        "['layers']['key_norm']": P(),
        "['layers']['mlp_norm']": P(),
        "['layers']['out']": P(None, "tensor", None, None, "fsdp"),
        "['layers']['qkv']": P(None, "fsdp", "tensor"),
        "['layers']['qkv_bias']": P(None, "tensor"),
        "['layers']['query_norm']": P(),
    }


def shapes(function):
    return jax.eval_shape(function, jax.random.key(0))


def test_an_optimiser_keeps_its_moments_where_the_parameters_are():
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(1e-3)))
    mesh = imagined(2, 2, 2)
    trained = shapes(lambda key: start(LanguageModel(decoder.init(key, CONFIG), CONFIG), optimiser))
    found = spec_by_name(trained, mesh)
    matrices = {name: spec for name, spec in found.items() if name.startswith(".parameters")}
    for name, spec in matrices.items():
        tail = name.removeprefix(".parameters")
        moments = [other for path, other in found.items() if "optimiser" in path and path.endswith(tail)]
        assert moments == [spec, spec]
    counts = {name: spec for name, spec in found.items() if name.endswith("count")}
    assert len(counts) == 2
    assert set(counts.values()) == {P()}


def test_moments_of_another_shape_than_their_parameter_are_on_every_device():
    optimiser = optax.adafactor(1e-3, min_dim_size_to_factor=4)
    trained = shapes(lambda key: start(LanguageModel(decoder.init(key, CONFIG), CONFIG), optimiser))
    found = spec_by_name(trained, imagined(2, 2, 2))
    factored = {name: spec for name, spec in found.items() if ".v_row" in name or ".v_col" in name}
    assert factored
    assert set(factored.values()) == {P()}


def test_adapters_lie_beside_the_matrices_they_change():
    adapters = shapes(lambda key: init_adapters(key, decoder.init(key, CONFIG), lora(2)))
    assert spec_by_name(adapters, imagined(2, 2, 2)) == {
        "['qkv'][0]": P(None, "fsdp"),
        "['qkv'][1]": P(None, None, "tensor"),
        "['out'][0]": P(None, "tensor"),
        "['out'][1]": P(None, None, "fsdp"),
        "['gate_up'][0]": P(None, "fsdp"),
        "['gate_up'][1]": P(),
        "['down'][0]": P(None, "tensor"),
        "['down'][1]": P(None, None, "fsdp"),
    }


def test_a_memory_is_split_by_rows_and_what_does_not_divide_stays_whole():
    response = Responses(jnp.zeros(3, jnp.int32), jnp.zeros(2, jnp.int32), jnp.zeros(()))
    memory = jax.eval_shape(buffer(8, response).empty)
    found = spec_by_name(memory, imagined(2, 2, 2))
    assert found.pop(".appended") == P()
    assert set(found.values()) == {P(("data", "fsdp"))}
    assert set(spec_by_name(jax.eval_shape(buffer(6, response).empty), imagined(2, 2, 2)).values()) == {P()}


def test_axes_of_size_one_are_not_named():
    params = shapes(lambda key: decoder.init(key, CONFIG))
    assert set(spec_by_name(params, imagined(8, 1, 1)).values()) == {P()}


# ---- which process feeds what


@pytest.mark.parametrize(
    ("sizes", "processes", "parts"),
    [((8, 1, 1), 2, 2), ((2, 2, 2), 2, 2), ((1, 4, 2), 4, 4), ((2, 1, 4), 4, 2), ((1, 1, 8), 4, 1)],
)
def test_the_rows_that_a_process_feeds(monkeypatch, sizes, processes, parts):
    mesh = imagined(*sizes, processes=processes)
    found = []
    for process in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        found.append(sharding.share(mesh))
    assert found == [(process * parts // processes, parts) for process in range(processes)]


def test_a_batch_across_the_bounds_of_processes_is_refused(monkeypatch):
    mesh = imagined(3, 1, 4, processes=4)
    with pytest.raises(InputError, match="across the bounds of 4 processes"):
        sharding.share(mesh)


# ---- without a mesh, and on one device


def test_without_a_mesh_nothing_is_held_anywhere():
    array = jnp.ones((4, 4))
    assert sharding.constrain(array, "rows") is array
    tree = {"qkv": array}
    assert sharding.keep(tree) is tree
    assert sharding.row_parts(8) == 1


def test_a_copy_is_never_an_alias():
    mesh = sharding.parse_mesh("data=1", jax.devices()[:1])
    params, key = {"down": jnp.ones((1, 2, 2))}, jax.random.key(3)
    placed = sharding.place({"params": params, "key": key}, mesh)
    assert placed["params"]["down"].unsafe_buffer_pointer() != params["down"].unsafe_buffer_pointer()
    np.testing.assert_array_equal(jax.random.key_data(placed["key"]), jax.random.key_data(key))
    jax.jit(lambda tree: tree, donate_argnums=0)(placed["params"])
    np.testing.assert_array_equal(params["down"], np.ones((1, 2, 2)))


# ---- runs


EVERY_SIZE = """
import sys
sys.path.insert(0, sys.argv[1])
import jax
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_platforms", "cpu")
import numpy as np
from nlhf.errors import InputError
from nlhf.transformer.model import sharding
from nlhf.transformer.model.config import ModelConfig

config = ModelConfig(vocabulary=8, width=24, layers=1, heads=4, kv_heads=2, head_width=4, hidden=8, context=8)
for devices in range(1, 9):
    for data in range(1, 9):
        text = f"data={data},fsdp={devices // data}"
        try:
            mesh = sharding.parse_mesh(text, jax.devices()[:devices])
        except InputError as error:
            assert data * (devices // data) != devices, error
            continue
        for batch in range(1, 18):
            whole = np.arange(batch * 3).reshape(batch, 3)
            fits = batch % devices == 0 and 24 % (devices // data) == 0
            try:
                sharding.check_mesh(mesh, config, batch)
            except InputError as error:
                assert not fits and "\\n" not in str(error), error
                try:
                    sharding.place_batch(whole, mesh)
                    assert batch % devices == 0
                except InputError:
                    assert batch % devices
                continue
            assert fits, (text, batch)
            placed = sharding.place_batch(whole, mesh)
            assert placed.addressable_shards[0].data.shape == (batch // devices, 3)
            np.testing.assert_array_equal(placed, whole)
print("all sizes")
"""


def test_every_number_of_devices_and_rows_runs_or_is_refused_in_our_words():
    command = [sys.executable, "-W", "error", "-c", EVERY_SIZE, str(ROOT)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.stdout == "all sizes\n", ended.stderr[-3000:]


def test_a_run_on_a_mesh_draws_the_same_and_ends_the_same(tmp_path):
    mesh = "data=2,fsdp=2,tensor=2"
    found = run_trainer(tmp_path / "out.npz", "--mesh", "none", "--mesh", mesh, "--quick", timeout=400)
    assert_same_run(found[mesh], found["none"])


@pytest.mark.slow
@pytest.mark.parametrize("words", [("egpo",), ("xpo",), ("egpo", "--lora")], ids=" ".join)
def test_twenty_steps_on_every_mesh_are_those_of_one_device(tmp_path, words):
    meshes = [word for mesh in MESHES for word in ("--mesh", mesh)]
    found = run_trainer(tmp_path / "out.npz", "--mesh", "none", *meshes, "--algorithm", *words)
    for mesh in MESHES:
        assert_same_run(found[mesh], found["none"])


@pytest.mark.slow
def test_what_is_left_between_meshes_is_rounding(tmp_path):
    mesh = "data=2,fsdp=2,tensor=2"
    found = run_trainer(tmp_path / "out.npz", "--mesh", "none", "--mesh", mesh, "--quick", "--x64")
    assert_same_run(found[mesh], found["none"], tolerance=1e-12)


@pytest.mark.slow
def test_a_checkpoint_of_one_mesh_goes_on_on_another(tmp_path):
    folder = tmp_path / "store"
    mesh, others = "data=2,fsdp=2,tensor=2", ("fsdp=4,tensor=2", "data=8", "none")
    words = [word for other in (mesh, *others) for word in ("--mesh", other)]
    run_trainer(tmp_path / "first.npz", "--mesh", mesh, "--save", folder, "--quick", "--algorithm", "xpo")
    later = run_trainer(tmp_path / "out.npz", *words, "--resume", folder, "--quick", "--algorithm", "xpo")
    for other in others:
        np.testing.assert_array_equal(later[other]["loaded"], later[mesh]["loaded"])
        assert_same_run(later[other], later[mesh])
