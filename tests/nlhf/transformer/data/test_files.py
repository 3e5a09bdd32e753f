"""Files of rows: what is accepted, what is refused with its line, what is counted."""

import gzip
import json
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from nlhf.errors import InputError
from nlhf.transformer.data import files as row_files
from nlhf.transformer.data.files import Report, load, read
from nlhf.transformer.data.rows import check_prompt


def row(index=0, **more):
    return {"prompt": f"q{index}", "chosen": " yes", "rejected": " no", **more}


def write(path, *lines):
    data = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_come_back_in_order(tmp_path, name):
    path = write(tmp_path / name, *map(row, range(5)))
    rows, report = load(path)
    assert [found["prompt"] for found in rows] == ["q0", "q1", "q2", "q3", "q4"]
    assert str(report) == "5 of 5 rows kept"


def test_empty_lines_marks_of_byte_order_and_carriage_returns_are_accepted(tmp_path):
    body = json.dumps(row()).encode()
    path = write(tmp_path / "a.jsonl", b"\xef\xbb\xbf", body, b"\r\n", b"\r\n", b"  \n", body, b"\r\n", body)
    rows, report = load(path)
    assert len(rows) == report.read == 3


HOSTILE = {
    "not JSON": (b"{'prompt'}\n", "the line is not JSON"),
    "truncated last line": (b'{"prompt": "x", "cho', "the line is not JSON"),
    "two rows in a line": (json.dumps(row()).encode() * 2, "the line is not JSON"),
    "invalid UTF-8": (b'{"prompt": "\xff"}\n', r"the line is not UTF-8 \(byte 12\)"),
    "UTF-16": (json.dumps(row()).encode("utf-16"), "the line is not UTF-8"),
    "mark inside": (b"\xef\xbb\xbf{}\n", "the line is not JSON"),
    "NaN": (b'{"prompt": "x", "chosen": "a", "rejected": "b", "p": NaN}\n', "not finite .NaN"),
    "infinite": (
        b'{"prompt": "x", "chosen": "a", "rejected": "b", "p": -Infinity}\n',
        "not finite .-Infinity",
    ),
    "overflow": (b'{"prompt": "x", "chosen": "a", "rejected": "b", "p": 1e999}\n', r"p is not in \[0, 1\]"),
    "huge number": (b'{"p": ' + b"9" * 5000 + b"}\n", "the line is not JSON"),
    "deep": (b"[" * 100_000 + b"\n", "the line is nested too deeply|the line is not JSON"),
    "field twice": (b'{"chosen": "a", "chosen": "b"}\n', "holds a field twice .'chosen'"),
    "no object": (b"[1]\n", "the row is not an object"),
    "escaped surrogate": (rb'{"prompt": "x", "chosen": "a\ud800", "rejected": "b"}', "lone surrogate"),
    "field missing": (b'{"prompt": "x", "chosen": "a"}\n', "rejected is missing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_is_refused_by_its_number_or_counted(tmp_path, name):
    line, message = HOSTILE[name]
    path = write(tmp_path / "a.jsonl", row(0), row(1), line)
    with pytest.raises(InputError, match=rf"a.jsonl: line 3: .*({message})") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    rows, report = load(path, skip_bad=0.5)
    assert (len(rows), report.read, sum(report.refused.values())) == (2, 3, 1)
    assert report.examples == [str(caught.value)]


def test_no_more_rows_are_skipped_than_allowed(tmp_path):
    path = write(tmp_path / "a.jsonl", *map(row, range(98)), {}, {})
    with pytest.raises(
        InputError, match=r"2 of 100 rows are bad, more than the fraction 0.01.*line 99: chosen is miss"
    ):
        load(path, skip_bad=0.01)
    _, report = load(path, skip_bad=0.02)
    assert str(report) == "98 of 100 rows kept; 2 refused: chosen is missing"
    with pytest.raises(InputError, match="skip_bad is 2"):
        load(path, skip_bad=2)


def test_duplicate_ids_and_pairs_in_both_orders_are_counted(tmp_path):
    exchanged = {"prompt": "q0", "chosen": " no", "rejected": " yes", "id": "b"}
    path = write(tmp_path / "a.jsonl", row(0, id="a"), exchanged, row(1, id="a"), row(1))
    _, report = load(path)
    assert (report.duplicate_ids, report.both_orders) == (1, 1)
    assert str(report) == "4 of 4 rows kept; 1 with an id met before; 1 pairs met in both orders"


def test_damaged_files_are_named_with_the_line(tmp_path):
    path = write(
        tmp_path / "a.jsonl.gz", *(row(index, id=f"{index * 7919 % 10007}") for index in range(2000))
    )
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match=r"line \d+: the file is damaged here"):
        load(path, skip_bad=1)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(InputError, match="line 1: the file is damaged here"):
        load(path)


def test_files_that_are_no_rows(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        load(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match=r"rows are read from .jsonl"):
        load(write(tmp_path / "a.csv", row()))
    with pytest.raises(InputError, match="holds no rows"):
        load(write(tmp_path / "a.jsonl"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        load(write(tmp_path / "a.parquet", row()))
    with pytest.raises(InputError, match=r"a .json of rows is a list"):
        load(write(tmp_path / "a.json", row()))
    with pytest.raises(InputError, match="the file is not JSON"):
        load(write(tmp_path / "a.json", b"[1,"))


def test_a_list_in_one_file(tmp_path):
    rows, _ = load(write(tmp_path / "a.json", ["one", {"prompt": "two"}]), check_prompt)
    assert [found["prompt"] for found in rows] == ["one", "two"]
    with pytest.raises(InputError, match="row 2: prompt is null"):
        load(write(tmp_path / "a.json", ["one", {"prompt": None}]), check_prompt)


def test_parquet(tmp_path):
    talk = {"chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    talk["rejected"] = [talk["chosen"][0], {"role": "assistant", "content": "c"}]
    rows = [{**talk, "p": 0.75, "ignored": 1}, {**talk, "p": None, "ignored": 2}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    found, _ = load(tmp_path / "a.parquet")
    assert [one["p"] for one in found] == [0.75, 1]
    assert found[0]["prompt"] == [{"role": "user", "content": "a"}]
    rows = [row(0, p=0.5), row(1, p=float("nan")), row(2, p=0.5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 2: p is not in \[0, 1\]"):
        load(tmp_path / "a.parquet")
    _, report = load(tmp_path / "a.parquet", skip_bad=0.5)
    assert (report.kept, report.read) == (2, 3)


def test_a_line_of_ten_megabytes_is_a_row_and_a_longer_one_is_skipped_unread(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", row(0, chosen="x" * 10**7), row(1))
    assert [len(found["chosen"]) for found in read(path)] == [10**7, 4]
    monkeypatch.setattr(row_files, "LONGEST", 2**20)
    with pytest.raises(InputError, match="line 1: the line is longer than 1 MiB"):
        load(path)
    rows, _ = load(path, skip_bad=0.5)
    assert [found["prompt"] for found in rows] == ["q1"]


def peak_of_reading(path):
    tracemalloc.start()
    try:
        report = Report()
        for _ in read(path, report=report):
            pass
        return tracemalloc.get_traced_memory()[1], report
    finally:
        tracemalloc.stop()


def test_rows_are_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "REMEMBERED", 100)
    path = write(tmp_path / "a.jsonl", *(row(index, chosen="x" * 1000) for index in range(4000)))
    peak, report = peak_of_reading(path)
    assert report.kept == 4000
    assert peak < 500_000 < path.stat().st_size / 8


@pytest.mark.slow
def test_a_million_rows_are_read_and_compared_with_each_other(tmp_path):
    path = tmp_path / "a.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for index in range(1_000_000):
            file.write(json.dumps(row(index, id=index)) + "\n")
    report = Report()
    for _ in read(path, report=report):
        pass
    assert (report.kept, report.duplicate_ids) == (1_000_000, 0)


def test_the_pairs_of_harmless_dialogues_parse(shared):
    path = shared / "data" / "hh_harmless" / "pairs.jsonl.gz"
    rows, report = load(path, skip_bad=0.01)
    assert report.read == 1512
    assert dict(report.refused) == {
        "chosen and rejected differ before the last turn": 5,
        "chosen is empty": 3,
    }
    assert all(found["prompt"].endswith("\n\nAssistant:") for found in rows)
    with pytest.raises(InputError, match="line 53: chosen is empty"):
        load(path)
