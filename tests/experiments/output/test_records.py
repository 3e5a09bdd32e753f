import dataclasses
import math
import pathlib
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.output import records
from nlhf.errors import InputError


class Point(NamedTuple):
    x: float
    name: str | None


@dataclasses.dataclass(frozen=True)
class Everything:
    array: np.ndarray
    curves: dict[str, np.ndarray]
    points: tuple[Point, ...]
    pair: tuple[int, bool]
    rows: list[float]
    path: pathlib.Path
    kind: Literal["linear", "power"]
    anything: Any


VALUE = Everything(
    array=np.array([[0.1, np.nan], [np.inf, -np.inf]]),
    curves={"egpo": np.arange(3), "omwu": np.array([True, False])},
    points=(Point(1 / 3, None), Point(-math.inf, "b")),
    pair=(3, True),
    rows=[1.0, 2.0],
    path=pathlib.Path("a/b"),
    kind="power",
    anything={"free": [1, "two", None]},
)


def there_and_back(kind, value):
    return records.decode(kind, records.loads(records.dumps({"value": value}), "test")["value"])


def test_everything_survives():
    found = there_and_back(Everything, VALUE)
    np.testing.assert_array_equal(found.array, VALUE.array)
    np.testing.assert_array_equal(found.curves["egpo"], [0, 1, 2])
    assert found.curves["omwu"].dtype == bool
    assert found.points == VALUE.points
    assert (found.pair, found.rows, found.path, found.kind) == (VALUE.pair, VALUE.rows, VALUE.path, "power")
    assert found.anything == VALUE.anything


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_subnormal=True), max_size=8))
def test_float64_survives_to_the_last_bit(values):
    array = np.array(values, np.float64)
    found = there_and_back(np.ndarray, array)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, array)  # NaN equals NaN here, whatever its payload
    np.testing.assert_array_equal(np.signbit(found[~np.isnan(array)]), np.signbit(array[~np.isnan(array)]))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool, "<U3"])
def test_shapes_and_types_survive(shape, dtype):
    array = np.ones(shape).astype(dtype)
    found = there_and_back(np.ndarray, array)
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(found, array)


def test_jax_arrays_and_numpy_scalars_are_plain_numbers():
    assert records.encode(jnp.arange(2.0)) == {"dtype": "float64", "shape": [2], "data": [0.0, 1.0]}
    assert records.encode([np.float32(0.1), np.int8(3), np.bool_(True)]) == [float(np.float32(0.1)), 3, True]


def test_text_never_holds_tokens_that_json_lacks():
    text = records.dumps({"value": VALUE, "score": math.nan, "most": [math.inf]})
    for token in ("NaN", "Infinity"):
        assert token not in text
    assert records.loads(text, "test")["score"] is None


@pytest.mark.parametrize("value", [1j, np.array([1j]), {1: 2}, object(), np.array([object()])])
def test_what_has_no_form_is_a_fault_of_the_caller(value):
    with pytest.raises(TypeError):
        records.encode(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "token NaN"),
        ('{"a": -Infinity}', "token -Infinity"),
        ('{"a": 1', "not JSON"),
        ("[1]", "list, not an object"),
        ("[" * 100_000, "not JSON"),
        ("", "not JSON"),
    ],
)
def test_bad_text_is_refused(text, says):
    with pytest.raises(InputError, match=f"result.json: .*{says}"):
        records.loads(text, "result.json")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (float, "1.0"),
        (float, True),
        (int, 1.5),
        (int, True),
        (bool, 1),
        (str, 3),
        (tuple[int, int], [1]),
        (list[int], {"a": 1}),
        (dict[str, int], [1]),
        (Point, {"x": 1.0}),
        (Point, {"x": 1.0, "name": "a", "more": 1}),
        (Literal["linear"], "cubic"),
        (np.ndarray, [1, 2]),
        (np.ndarray, {"dtype": "float64", "shape": [3], "data": [1.0]}),
        (np.ndarray, {"dtype": "float64", "shape": [1], "data": ["one"]}),
        (np.ndarray, {"dtype": "object", "shape": [1], "data": [1.0]}),
        (np.ndarray, {"dtype": "no such", "shape": [1], "data": [1.0]}),
    ],
)
def test_data_of_another_type_are_refused(kind, data):
    with pytest.raises(InputError, match="result"):
        records.decode(kind, data)
