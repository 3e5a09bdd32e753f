"""Whatever the bytes: a file is refused with one line, or the table is valid."""

import gzip
import io
import json
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from preference_files import (
    EARLIER,
    EARLIER_GRAPH,
    GRAPH,
    LABELS,
    MATRIX,
    NAMED_CSV,
    NAMES,
    PRESENT,
    WINNERS,
)

from nlhf.errors import InputError
from tabular.preferences import load_preferences


def archive_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def array_bytes(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


VALID = {
    ".csv": [
        NAMED_CSV.encode(),
        WINNERS.encode(),
        b"first,second,prefer_first\na,b,0.5\n",
        b"0.5,1\n0,0.5\n",
    ],
    ".jsonl": [LABELS.encode()],
    ".toi": [PRESENT.encode(), EARLIER.encode()],
    ".soc": [PRESENT.replace("{2, 3}", "2,3").encode()],
    ".wmd": [GRAPH.encode(), EARLIER_GRAPH.encode()],
    ".npy": [array_bytes(MATRIX), array_bytes(MATRIX.astype(np.float32))],
    ".npz": [
        archive_bytes(P=MATRIX, items=NAMES),
        archive_bytes(wins=np.array([[0, 3], [1, 0]]), games=np.array([[0, 6], [6, 0]])),
    ],
    ".csv.gz": [gzip.compress(NAMED_CSV.encode(), mtime=0)],
}
ALPHABET = [
    b"0",
    b"1",
    b".",
    b",",
    b"\n",
    b'"',
    b"{",
    b"}",
    b":",
    b"-",
    b"e",
    b"nan",
    b"\xff",
    b"\x00",
    b"\r",
    b"[",
]


def load_or_refuse(path):
    """Load a file that may be anything: the table if it is valid, None if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*it was symmetrised", category=UserWarning)
        refusal = ""
        try:
            table = load_preferences(path)
        except InputError as error:
            refusal = str(error)
    if refusal:
        assert len(refusal.splitlines()) == 1
        assert refusal.startswith(str(path))
        return None
    preference = table.preference
    assert preference.dtype == np.float64
    assert preference.shape == (len(table.names),) * 2
    assert len(set(table.names)) == len(table.names) >= 2
    assert ((preference >= 0) & (preference <= 1)).all()
    assert np.abs(preference + preference.T - 1).max() <= 1e-9
    assert 0 <= table.completeness <= 1
    if table.counts is not None:
        assert table.counts.shape == preference.shape
        assert (table.counts >= 0).all()
    return table


@pytest.mark.parametrize("kind", VALID)
def test_the_unmutated_files_load(tmp_path, kind):
    for content in VALID[kind]:
        path = tmp_path / ("valid" + kind)
        path.write_bytes(content)
        assert load_or_refuse(path) is not None


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
@example(content=b"\xef\xbb\xbf")
def test_random_bytes_are_refused_or_valid(tmp_path, kind, content):
    path = tmp_path / ("random" + kind)
    path.write_bytes(content)
    load_or_refuse(path)


@pytest.mark.parametrize("kind", VALID)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_mutated_files_are_refused_or_valid(tmp_path, kind, data):
    content = data.draw(st.sampled_from(VALID[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 8, len(content))))
        patch = data.draw(st.one_of(st.sampled_from([b"", *ALPHABET]), st.binary(max_size=4)))
        content = content[:start] + patch + content[stop:]
    path = tmp_path / ("mutated" + kind)
    path.write_bytes(content)
    load_or_refuse(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    row=st.dictionaries(
        st.sampled_from(["winner", "loser", "first", "second", "prefer_first", "count", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "", "\n"]),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    )
)
def test_any_json_object_is_refused_or_valid(tmp_path, row):
    path = tmp_path / "row.jsonl"
    path.write_text(json.dumps(row) + "\n")
    load_or_refuse(path)
