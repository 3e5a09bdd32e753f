"""NumPy files that are damaged, lying or dangerous are refused, and nothing in them is run."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from preference_files import (
    MATRIX,
    NAMES,
    write,
)

from nlhf.errors import InputError
from tabular.preferences import load_preferences


def npy_header(text):
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x93NUMPY", "is not a readable NumPy file"),
        (b"garbage", "is not a readable NumPy file"),
        (pickle.dumps(MATRIX), "is not a readable NumPy file"),
        (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}"), "never unpickled"),
        (
            npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (400000, 400000)}"),
            "more than 5000 actions need",
        ),
        (npy_header("{'descr': '<U0', 'fortran_order': False, 'shape': (9000000000,)}"), "more than 5000"),
        (npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4)}"), "claims the shape"),
        (
            npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}") + b"12345678",
            "cut off: 8 of 32",
        ),
        (npy_header("__import__('os').getcwd()"), "is not a readable NumPy file"),
        (npy_header("(" * 200), "is not a readable NumPy file"),
        (b"\x93NUMPY\x03\x00\x00\x00\x00\x00", "version"),
    ],
)
def test_damaged_npy(tmp_path, data, message):
    path = write(tmp_path, "g.npy", data)
    with pytest.raises(InputError, match=message) as caught:
        load_preferences(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": MATRIX}, r"holds \['x'\], but a game needs an array P or preference"),
        ({"P": MATRIX[:2]}, r"P: has the shape \(2, 3\), .*; save"),
        ({"P": MATRIX.astype(complex)}, "P: has the type complex128"),
        ({"P": np.array([["a", "b"]] * 2)}, "P: has the type <U1"),
        ({"P": MATRIX[:1, :1]}, "P: found 1 action"),
        ({"P": MATRIX, "names": ["a", "b"]}, "2 names for a matrix of 3 actions"),
        ({"P": MATRIX, "names": ["a", "b", "a"]}, "names: the name 'a' stands at positions 1 and 3"),
        ({"P": MATRIX, "names": [1, 2, 3]}, "names are a vector of strings"),
        ({"P": MATRIX, "names": np.array([b"\xff", b"a", b"b"])}, "names: is not valid Unicode"),
        ({"wins": np.eye(2)}, "or both wins and games"),
        ({"wins": np.eye(2), "games": np.ones((2, 2))}, "exceed the games|not 0"),
        (
            {"wins": [[0, 2], [1, 0]], "games": [[0, 2], [2, 0]]},
            r"wins\[0, 1\] = 2.0 and its mirror .*; correct",
        ),
        ({"wins": np.zeros((2, 2)), "games": np.ones((3, 3))}, r"but games \(3, 3\); save both"),
        ({"wins": np.zeros((2, 2)), "games": np.zeros((2, 2))}, "every count is 0"),
        ({"wins": [[0, 2], [1, 0]], "games": [[0, 3], [4, 0]]}, r"games\[0, 1\] = 3.0 differs .*; save"),
        ({"wins": [[0, -2], [1, 0]], "games": [[0, 3], [3, 0]]}, r"wins\[0, 1\] = -2.0 is not a count; save"),
        ({"wins": [[0, np.nan], [1, 0]], "games": [[0, 3], [3, 0]]}, r"wins\[0, 1\] = nan"),
        (
            {"P": MATRIX, "wins": np.zeros((2, 2)), "games": np.zeros((2, 2))},
            r"shape \(3, 3\), but the counts",
        ),
    ],
)
def test_wrong_arrays_in_npz(tmp_path, arrays, message):
    path = tmp_path / "g.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_preferences(path)
    assert str(caught.value).startswith(str(path))


def test_object_arrays_and_broken_archives(tmp_path):
    path = tmp_path / "g.npz"
    np.savez(path, P=np.array([[0.5, None], [None, 0.5]]))
    with pytest.raises(InputError, match="P: holds Python objects, which are never unpickled"):
        load_preferences(path)
    np.savez(path, P=MATRIX, items=NAMES)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="is empty" if cut == 0 else "not a readable NumPy file"):
            load_preferences(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("P.npy", b"garbage")
    with pytest.raises(InputError, match="P: is not a readable NumPy file"):
        load_preferences(path)
