"""What a checkpoint should hold, leaf by leaf: SHA-256 digests in a small file of their own.

The array format of Orbax has no checksum: a flipped bit loads as another value, without a message. So each
checkpoint has a record beside it, written before the checkpoint is complete (a record without a checkpoint
is harmless, the reverse is not), which also carries the settings and the position in the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from nlhf.errors import InputError
from nlhf.transformer.runs.guard import leaf_path

KINDS = "biufcV"  # extension types such as bfloat16 are of kind V
FORMAT = 1


class DamagedError(Exception):
    """A record or a checkpoint that is not what was written; the message says why in a few words."""


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a state by path.

    Args:
      tree: arrays (NumPy, JAX, PRNG keys), shapes (``jax.ShapeDtypeStruct``), Python numbers, nested.

    Raises:
      InputError: if two leaves have one path, or a leaf is no array or number.
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = leaf_path(path)
        if name in leaves:
            raise InputError(f"two leaves of the state are called {name!r}; rename a key, without '/'")
        if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
            raise InputError(
                f"leaf {name!r} is a {type(leaf).__name__}, but a state holds arrays and numbers; put text "
                "into extra"
            )
        leaves[name] = leaf
    return leaves


def signature(leaf: Any) -> tuple[str, list[int]]:
    """Return dtype (``key<fry>`` and the like for PRNG keys) and shape of a leaf."""
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return str(leaf.dtype), list(leaf.shape)


def gather(leaf: Any) -> np.ndarray:
    """Return a leaf as one array of this host, PRNG keys as their integers.

    Args:
      leaf: an array, sharded or not, or a number. For an array spread over several processes, all must call.
    """
    if isinstance(leaf, jax.Array):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if leaf.is_fully_addressable:
            return np.asarray(leaf)
        if leaf.is_fully_replicated:
            return np.asarray(leaf.addressable_data(0))
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def leaf_digest(leaf: Any) -> str:
    """Return the SHA-256 of a leaf: dtype and shape as text, then the bytes in C order, little-endian.

    Raises:
      InputError: if the dtype has no bytes of its own, such as Python objects.
    """
    dtype, shape = signature(leaf)
    array = gather(leaf)
    if array.dtype.kind not in KINDS or array.dtype.hasobject:
        raise InputError(f"an array of type {array.dtype} has no digest; use numbers")
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{dtype} {shape}\n".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def state_digests(leaves: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return ``[dtype, shape, SHA-256]`` for each leaf of ``named_leaves``."""
    return {name: [*signature(leaf), leaf_digest(leaf)] for name, leaf in leaves.items()}


def total(digests: Mapping[str, Any]) -> str:
    """Return one SHA-256 for a whole state.

    Args:
      digests: what ``state_digests`` returned; their order does not matter.
    """
    return hashlib.sha256(canonical(dict(digests))).hexdigest()


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces; NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it to the disk, rename it.

    Raises:
      OSError: if it cannot be written; then the old file, if any, is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_record(path: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Write a record with its own SHA-256, atomically.

    Args:
      record: what JSON can hold, without NaN.

    Raises:
      OSError: if it cannot be written.
    """
    body = {**record, "format": FORMAT}
    digest = hashlib.sha256(canonical(body)).hexdigest()
    write_atomically(path, canonical({"record": body, "sha256": digest}) + b"\n")


def read_record(path: pathlib.Path, step: int) -> dict[str, Any]:
    """Read the record of a step.

    Raises:
      DamagedError: if it is absent, unreadable, of another step or format, or not what was written.
    """
    try:
        outer = json.loads(path.read_bytes())
        record = outer["record"]
        intact = hashlib.sha256(canonical(record)).hexdigest() == outer["sha256"]
    except FileNotFoundError:
        raise DamagedError("it has no digest file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DamagedError("its digest file cannot be read") from None
    if not intact:
        raise DamagedError("its digest file does not match its own digest")
    if record.get("format") != FORMAT or record.get("step") != step:
        raise DamagedError(
            f"its digest file is of step {record.get('step')}, format {record.get('format')}, not of step "
            f"{step}, format {FORMAT}"
        )
    return record


def differences(stored: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Return one line for each setting that differs.

    Args:
      stored: settings of the checkpoint, nested.
      now: settings of this run, nested.
      free: names (dotted for nested ones) that may differ, with all below them.
    """

    def flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
        if any(name == entry or name.startswith(f"{entry}.") for entry in free):
            return
        if isinstance(value, Mapping):
            for key in value:
                yield from flat(value[key], f"{name}.{key}" if name else str(key))
        else:
            yield name, json.dumps(value)

    old, new = dict(flat(stored, "")), dict(flat(json.loads(canonical(now)), ""))
    return [
        f"{name} was {old.get(name, 'absent')[:60]}, now {new.get(name, 'absent')[:60]}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
