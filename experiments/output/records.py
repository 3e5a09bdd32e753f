"""Results as JSON and back: frozen dataclasses, named tuples and arrays, float64 to the last bit.

JSON has no NaN and no infinities. Here NaN is ``null`` and an infinity the string ``"inf"`` or ``"-inf"``;
the bare tokens that Python's parser would accept are refused. An array is ``{"dtype", "shape", "data"}`` with
its entries in one flat list.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlhf.errors import InputError

ARRAY_KINDS = "biufU"
ARRAY_KEYS = frozenset({"dtype", "shape", "data"})


def encode(value: Any) -> Any:
    """Turn a record into what JSON can hold.

    Args:
      value: dataclasses, named tuples, dictionaries with text keys, sequences, arrays, numbers, text, paths,
        ``None``, nested.

    Raises:
      TypeError: on anything else.

    >>> encode({"gap": np.array([1.0, np.nan])})
    {'gap': {'dtype': 'float64', 'shape': [2], 'data': [1.0, None]}}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None if math.isnan(value) else str(float(value))
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: encode(entry) for name, entry in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys of JSON objects are text, but these are {list(value)[:3]}")
        return {key: encode(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [encode(entry) for entry in value]
    if isinstance(value, np.generic):
        return encode(value.item())
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind not in ARRAY_KINDS:
            raise TypeError(f"an array of type {array.dtype} has no form in JSON")
        data = [encode(entry) for entry in array.ravel().tolist()]
        return {"dtype": str(array.dtype), "shape": list(array.shape), "data": data}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def decode(annotation: Any, data: Any, place: str = "result") -> Any:
    """Turn what ``encode`` made back into a value of the annotated type.

    Args:
      annotation: the type: a dataclass or named tuple, ``np.ndarray``, ``dict[str, X]``, ``tuple[X, ...]``,
        ``list[X]``, ``X | None``, ``float``, ``int``, ``bool``, ``str``, ``Any``. In ``float | None`` a NaN
        comes back as ``None``.
      data: parsed JSON.
      place: where in the file, for messages.

    Raises:
      InputError: if the data do not have that type.

    >>> decode(np.ndarray, encode(np.array([0.1, np.inf])))
    array([0.1, inf])
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return decode(arguments[0], data, place)
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        return decode(next(a for a in arguments if a is not type(None)), data, place)
    if isinstance(data, dict) and data.keys() == ARRAY_KEYS:
        return _array(data, place)
    if annotation is Any:
        return data
    if origin in (dict, Mapping):
        _expect(data, dict, place)
        return {key: decode(arguments[1], entry, f"{place}.{key}") for key, entry in data.items()}
    if origin in (tuple, list, Sequence):
        _expect(data, list, place)
        fixed = origin is tuple and arguments[-1] is not Ellipsis
        kinds = arguments if fixed else arguments[:1] * len(data)
        if len(kinds) != len(data):
            raise InputError(f"{place} has {len(data)} entries, not {len(kinds)}; run the figure again")
        entries = [decode(kinds[i], data[i], f"{place}[{i}]") for i in range(len(data))]
        return entries if origin is list else tuple(entries)
    if dataclasses.is_dataclass(annotation) or hasattr(annotation, "_fields"):
        return _record(annotation, data, place)
    return _scalar(annotation, data, place)


def dumps(record: Mapping[str, Any]) -> str:
    """Write a record as JSON, one line for each of its entries, never with a NaN or Infinity token."""
    entries = ((json.dumps(key), json.dumps(encode(entry), allow_nan=False)) for key, entry in record.items())
    return "{\n" + ",\n".join(f"{key}: {entry}" for key, entry in entries) + "\n}\n"


def loads(text: str, place: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Args:
      text: the JSON.
      place: file name for the message.

    Raises:
      InputError: if it is not one JSON object, or holds a NaN or Infinity token.
    """

    def refuse(token: str) -> float:
        raise InputError(f"{place}: holds the token {token}, which is not JSON; write null")

    try:
        data = json.loads(text, parse_constant=refuse)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: is not JSON ({error}); remove it, or write it again") from None
    _expect(data, dict, place)
    return data


def _array(data: dict[str, Any], place: str) -> np.ndarray:
    try:
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        if dtype.kind not in ARRAY_KINDS:
            raise ValueError(f"type {dtype}")
        flat = [_number(entry) for entry in data["data"]] if dtype.kind == "f" else data["data"]
        return np.array(flat, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{place}: is not an array ({error}); run the figure again") from None


def _number(entry: Any) -> float:
    if entry is None:
        return math.nan
    if isinstance(entry, str) and entry not in ("inf", "-inf"):
        raise ValueError(f"{entry[:20]!r} is not a number")
    return float(entry)


def _record(kind: Any, data: Any, place: str) -> Any:
    _expect(data, dict, place)
    hints = typing.get_type_hints(kind)
    plain = dataclasses.is_dataclass(kind)
    wanted = [field.name for field in dataclasses.fields(kind)] if plain else list(kind._fields)
    if set(wanted) != data.keys():
        different = sorted(set(wanted) ^ data.keys())
        raise InputError(f"{place}: differs from {kind.__name__} in {different}; run the figure again")
    return kind(**{name: decode(hints[name], data[name], f"{place}.{name}") for name in wanted})


def _scalar(kind: Any, data: Any, place: str) -> Any:
    if kind is float:
        if data is None or data in ("inf", "-inf") or type(data) in (int, float):
            return _number(data)
    elif kind in (bool, str) or kind is int:
        if type(data) is kind:
            return data
    elif isinstance(kind, type) and issubclass(kind, pathlib.PurePath) and isinstance(data, str):
        return kind(data)
    elif typing.get_origin(kind) is typing.Literal and data in typing.get_args(kind):
        return data
    name = getattr(kind, "__name__", str(kind))
    raise InputError(f"{place}: is {str(data)[:40]!r}, not of type {name}; run the figure again")


def _expect(data: Any, kind: type, place: str) -> None:
    if not isinstance(data, kind):
        wanted = "an object" if kind is dict else "a list"
        raise InputError(f"{place}: is {type(data).__name__}, not {wanted}; write it again")
