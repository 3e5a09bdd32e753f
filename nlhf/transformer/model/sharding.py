"""Where arrays lie on a mesh of devices: one table from what an axis means to the axes of the mesh.

The mesh has the axes ``data``, ``fsdp`` and ``tensor``. Rows of a batch are split over the first two,
parameters over the last two; the compiler inserts the communication (``jax.jit`` with ``NamedSharding``).
Under ``jax.set_mesh(mesh)`` the model, the sampler and the optimiser hold what they make to the same table;
without a mesh ``constrain`` and ``keep`` do nothing, so none of them needs one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from nlhf.base import Comparisons, check_whole
from nlhf.errors import InputError
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.responses import Responses

Array = jax.Array
AXES = ("data", "fsdp", "tensor")

# the table: what an axis of an array means, and which axes of the mesh split it; layers are never split,
# since the scan over them would fetch each from elsewhere
RULES: dict[str, tuple[str, ...]] = {
    "rows": ("data", "fsdp"),
    "width": ("fsdp",),
    "kv_heads": ("tensor",),
    "hidden": ("tensor",),
    "vocabulary": ("tensor",),
}
PARAMETERS: dict[str, tuple[str | None, ...]] = {
    "embedding": ("vocabulary", "width"),
    "head": ("width", "vocabulary"),
    "qkv": (None, "width", "kv_heads", None, None),
    "qkv_bias": (None, "kv_heads", None, None),
    "out": (None, "kv_heads", None, None, "width"),
    "gate_up": (None, "width", None, "hidden"),
    "down": (None, "hidden", "width"),
}
# of the two factors: heads come first among what ``qkv`` gives and ``out`` takes, so splitting the flat axis
# splits the heads; of ``gate_up`` the flat axis is (2, hidden), whose parts are not those of ``hidden``
ADAPTERS: dict[str, tuple[tuple[str | None, ...], ...]] = {
    "qkv": ((None, "width", None), (None, None, "kv_heads")),
    "out": ((None, "kv_heads", None), (None, None, "width")),
    "gate_up": ((None, "width", None), (None, None, None)),
    "down": ((None, "hidden", None), (None, None, "width")),
}
ROWS = (Comparisons, Responses)  # all leaves of these records have rows first


def parse_mesh(text: str, devices: Sequence[Any] | None = None) -> Mesh:
    """Make the mesh that a text such as ``data=2,fsdp=2,tensor=2`` describes.

    Args:
      text: sizes of the axes; an axis that is not named has size 1.
      devices: to lay out; by default those of all processes.

    Raises:
      InputError: if an axis is unknown or named twice, a size is no whole number, or their product is not the
        number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, size = (word.strip() for word in part.partition("="))
        if name not in AXES:
            raise InputError(f"mesh has the axis {name!r}, but its axes are {', '.join(AXES)}; rename it")
        if name in sizes:
            raise InputError(f"mesh names {name} twice; give each axis once")
        if not re.fullmatch(r"[1-9][0-9]{0,5}", size):
            raise InputError(
                f"mesh has {name}={size!r}, but the size of an axis is a whole number >= 1; "
                f"give {name}={len(devices)}, say"
            )
        sizes[name] = int(size)
    shape = tuple(sizes.get(name, 1) for name in AXES)
    if math.prod(shape) != len(devices):
        product = " x ".join(str(size) for size in shape)
        raise InputError(
            f"mesh {text!r} is of {product} = {math.prod(shape)} devices, but there are {len(devices)}; "
            f"take sizes of {_list(_divisors(len(devices)))} whose product is {len(devices)}, "
            f"e.g. data={len(devices)}"
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def check_mesh(mesh: Mesh, config: ModelConfig, batch: int | None = None) -> None:
    """Refuse a mesh that does not split the model and the batch into equal parts, before anything compiles.

    Args:
      batch: rows (prompts, pairs) of a step over all processes; ``None`` where there is none.

    Raises:
      InputError: naming the number, and the nearest that are valid.
    """
    for axis in ("tensor", "fsdp"):
        numbers = {
            name: getattr(config, name) for name in RULES if RULES[name] == (axis,) and hasattr(config, name)
        }
        size = mesh.shape[axis]
        for name, number in numbers.items():
            if number % size:
                raise InputError(
                    f"{name} is {number}, which {axis}={size} does not divide; this model allows {axis} = "
                    f"{_list(_divisors(math.gcd(*numbers.values())))}"
                )
    if batch is not None:
        _check_rows(mesh, check_whole("batch", batch))


def _check_rows(mesh: Mesh, rows: int) -> None:
    parts = num_row_parts(mesh)
    if rows % parts:
        near = [size for size in (rows - rows % parts, rows + parts - rows % parts) if size]
        raise InputError(
            f"batch is {rows}, but data={mesh.shape['data']} x fsdp={mesh.shape['fsdp']} splits it into "
            f"equal parts; give a batch of {' or '.join(map(str, near))}, or a mesh where data x fsdp is "
            f"one of {_list(_divisors(rows))}"
        )


def num_row_parts(mesh: Mesh | AbstractMesh) -> int:
    """Into how many parts a mesh splits the rows of a batch."""
    return math.prod(mesh.shape[axis] for axis in RULES["rows"])


def shardings(tree: Any, mesh: Mesh) -> Any:
    """Where each leaf of parameters, a policy or the whole state of an algorithm belongs.

    What is split is found by name: parameters of the model, adapters, and whatever an optimiser keeps under
    the same names in the same shape (Adam's moments); rows of comparisons (a learner's memory). The rest,
    e.g. norms and counts, is on every device. An axis that the mesh does not divide stays whole.

    Args:
      tree: nested arrays or ``jax.ShapeDtypeStruct``.

    Returns:
      A ``NamedSharding`` for each leaf.
    """
    return _map(lambda leaf, logical: _named(mesh, leaf, logical), tree)


def place(tree: Any, mesh: Mesh) -> Any:
    """Copy parameters, a policy or the state of an algorithm to where ``shardings`` says.

    With several processes each must give equal values (or arrays that lie on all of them already).

    Args:
      tree: nested arrays, typed keys and numbers.
    """
    return jax.tree.map(put, tree, shardings(tree, mesh))


def place_batch(tree: Any, mesh: Mesh) -> Any:
    """Split the rows of a batch over the devices; each process gives the part that ``share`` says.

    Args:
      tree: nested arrays ``[B, ...]``, of several processes ``[B / parts, ...]``.

    Raises:
      InputError: if the rows cannot be split into equal parts.
    """
    split = NamedSharding(mesh, PartitionSpec(RULES["rows"]))
    parts = share(mesh)[1]

    def put_rows(leaf: Any) -> Array:
        local = np.asarray(leaf)
        rows = len(local) * parts
        _check_rows(mesh, rows)
        return jax.make_array_from_process_local_data(split, local, (rows, *local.shape[1:]))

    return jax.tree.map(put_rows, tree)


def share(mesh: Mesh) -> tuple[int, int]:
    """Which part of the rows of a batch this process feeds, and into how many parts processes split them.

    They go to ``order.indices(process=, num_processes=)``. Processes whose devices differ in ``tensor`` alone
    feed the same part, so these are not always the process's own index and the number of processes.

    Raises:
      InputError: if the devices of the processes hold parts of different sizes, or parts that overlap.
    """
    owner = np.vectorize(lambda device: device.process_index)(mesh.devices)
    owner = owner.reshape(num_row_parts(mesh), -1)
    held = {int(process): tuple(np.flatnonzero((owner == process).any(1))) for process in np.unique(owner)}
    parts = sorted(set(held.values()))
    if sum(map(len, parts)) != len(owner) or len({len(part) for part in parts}) > 1:
        raise InputError(
            f"mesh {dict(mesh.shape)} splits a batch across the bounds of {len(held)} processes; "
            "let data x fsdp be a multiple or a divisor of their number"
        )
    return parts.index(held[jax.process_index()]), len(parts)


def constrain(array: Array, *logical: str | None) -> Array:
    """Hold an array to the table under ``jax.set_mesh``; without a mesh return it as it is.

    Args:
      *logical: what its axes mean, names in ``RULES`` or ``None``; axes beyond are not split.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return array
    return jax.lax.with_sharding_constraint(array, _spec(mesh.shape, array.shape, logical))


def row_parts(rows: int) -> int:
    """Into how many parts rows are split under ``jax.set_mesh``; 1 without a mesh, or if they cannot be."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = 1 if mesh.empty else num_row_parts(mesh)
    return parts if rows % parts == 0 else 1


def keep(tree: Any) -> Any:
    """Hold parameters, a policy or a state to the table under ``jax.set_mesh``; without a mesh do nothing.

    Left alone, the compiler may choose another place for what a step returns: then the next step compiles
    again, and parameters may end up whole on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return tree
    return _map(lambda leaf, logical: constrain(leaf, *logical), tree)


def put(leaf: Any, sharding: NamedSharding) -> Array:
    """Copy one array to where it belongs; never an alias, since a step may give its memory away."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = put(jax.random.key_data(leaf), NamedSharding(sharding.mesh, PartitionSpec()))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if jax.process_count() == 1 or (isinstance(leaf, jax.Array) and not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding, may_alias=False)
    # device_put would first compare the values of all processes, which costs a broadcast a leaf
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def _map(function: Any, tree: Any) -> Any:
    """Map leaves with what their axes mean."""

    def visit(path: tuple[Any, ...], node: Any) -> Any:
        if isinstance(node, ROWS):
            return jax.tree.map(lambda leaf: function(leaf, ("rows",)), node)
        return function(node, _logical(path, np.ndim(node)))

    return jax.tree_util.tree_map_with_path(visit, tree, is_leaf=lambda node: isinstance(node, ROWS))


def _logical(path: tuple[Any, ...], rank: int) -> tuple[str | None, ...]:
    """What the axes of a leaf mean, from the names on the way to it."""
    factor = path[-1].idx if path and isinstance(path[-1], jax.tree_util.SequenceKey) else None
    name = next((part.key for part in reversed(path[-2:]) if isinstance(part, jax.tree_util.DictKey)), None)
    if factor is not None:
        logical = ADAPTERS[name][factor] if name in ADAPTERS and factor < 2 else ()
    else:
        logical = PARAMETERS.get(str(name), ())
    return logical if len(logical) == rank else ()


def _named(mesh: Mesh, leaf: Any, logical: Sequence[str | None]) -> NamedSharding:
    return NamedSharding(mesh, _spec(mesh.shape, np.shape(leaf), logical))


def _spec(sizes: Any, shape: tuple[int, ...], logical: Sequence[str | None]) -> PartitionSpec:
    """As a compiled step returns it (no size of 1, no tail), so that the next step does not compile again."""
    axes: list[Any] = []
    for size, name in zip(shape, logical, strict=False):
        split = tuple(axis for axis in RULES.get(name or "", ()) if sizes[axis] > 1)
        parts = math.prod(sizes[axis] for axis in split)
        axes.append((split if len(split) > 1 else split[0]) if split and size % parts == 0 else None)
    while axes and axes[-1] is None:
        axes.pop()
    return PartitionSpec(*axes)


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
