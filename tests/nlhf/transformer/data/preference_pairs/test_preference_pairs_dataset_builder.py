"""The built data set: no tensorflow, no socket; real rows hold bytes, mocked ones text."""

import json
import socket
import sys

import pytest
import tensorflow_datasets as tfds

from nlhf.errors import InputError
from nlhf.transformer.data.encode import encode_comparisons
from nlhf.transformer.data.files import Report
from nlhf.transformer.data.preference_pairs.preference_pairs_dataset_builder import (
    PreferencePairs,
    build,
    open_built,
)
from nlhf.transformer.data.rows import check_preference
from nlhf.transformer.tokens.tokenizer import byte_tokenizer


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def rows(num):
    return [
        {"prompt": f"q{i}é", "chosen": f"y{i}", "rejected": f"n{i}", "p": i / num, "id": str(i)}
        for i in range(num)
    ]


def write(path, content):
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def encode(source):
    return encode_comparisons(source, byte_tokenizer(), prompt_length=64, response_length=64).data


def test_what_was_built_is_what_was_read(tmp_path):
    content = rows(20)
    builder = build(write(tmp_path / "a.jsonl", content), tmp_path / "data")
    source = builder.as_data_source("train")
    assert isinstance(source[0]["prompt"], bytes)
    assert [check_preference(source[i]) | {"p": 0} for i in range(20)] == [row | {"p": 0} for row in content]
    assert [source[i]["p"] for i in range(20)] == pytest.approx([i / 20 for i in range(20)])
    assert len(builder.as_data_source("train[:50%]")) == 10
    again = open_built(builder.data_path, "train[5:7]")
    assert [check_preference(row)["id"] for row in again] == ["5", "6"]
    built, read = encode(source), encode(content)
    for one, other in ((built.first, read.first), (built.second, read.second)):
        assert (one.prompt == other.prompt).all()
        assert (one.tokens == other.tokens).all()
    assert built.prefer_first == pytest.approx(read.prefer_first)
    assert "tensorflow" not in sys.modules


def test_other_rows_in_the_same_folder_are_another_data_set(tmp_path):
    path = write(tmp_path / "a.jsonl", rows(3))
    one = build(path, tmp_path / "data")
    same = build(path, tmp_path / "data", report=(report := Report()))
    assert report.read == 0
    assert one.data_path == same.data_path
    other = build(write(path, rows(4)), tmp_path / "data")
    assert [len(builder.as_data_source("train")) for builder in (one, other)] == [3, 4]


def test_splits_and_rows_that_are_skipped(tmp_path):
    files = {
        "train": write(tmp_path / "a.jsonl", [*rows(9), {"prompt": "x"}]),
        "test": write(tmp_path / "b.jsonl", rows(2)),
    }
    with pytest.raises(InputError, match=r"a.jsonl: line 10: chosen is missing"):
        build(files, tmp_path / "data")
    builder = build(files, tmp_path / "data", skip_bad=0.1, report=(report := Report()))
    assert [len(builder.as_data_source(split)) for split in ("train", "test")] == [9, 2]
    assert (report.read, report.kept) == (12, 11)


def test_conversations_come_back_as_messages(tmp_path):
    ask = [{"role": "system", "content": "é"}, {"role": "user", "content": "Sky?"}]
    row = {"prompt": ask, "chosen": [{"role": "assistant", "content": "Blue."}], "p": 1.0, "id": ""}
    row["rejected"] = [{"role": "assistant", "content": "Red."}]
    source = build(write(tmp_path / "a.jsonl", [row, row]), tmp_path / "data").as_data_source("train")
    assert check_preference(source[1]) == row
    mixed = write(tmp_path / "b.jsonl", [row, *rows(1)])
    with pytest.raises(InputError, match=r"b.jsonl: kept row 2: holds texts, but the first one messages"):
        build(mixed, tmp_path / "data")
    mixed = write(tmp_path / "b.jsonl", [*rows(1), row])
    with pytest.raises(InputError, match=r"kept row 2: holds messages, but the first one texts"):
        build(mixed, tmp_path / "data")


def test_mocked_rows_are_text_and_encode_alike(tmp_path):
    with tfds.testing.mock_data(num_examples=5):
        source = PreferencePairs(data_dir=str(tmp_path)).as_data_source("train")
        content = [source[index] for index in range(len(source))]
    assert len(content) == 5
    assert isinstance(content[0]["prompt"], str)
    text = encode(content)
    as_bytes = encode(
        [
            {key: value.encode() if isinstance(value, str) else value for key, value in row.items()}
            for row in content
        ]
    )
    assert (text.first.prompt == as_bytes.first.prompt).all()
    assert (text.second.tokens == as_bytes.second.tokens).all()
    assert text.first.prompt.shape == (5, 64)


def test_what_is_no_built_data_set(tmp_path):
    with pytest.raises(InputError, match="holds no built data set"):
        open_built(tmp_path)
    with pytest.raises(InputError, match="no files to be built from"):
        PreferencePairs(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    builder = build(write(tmp_path / "a.jsonl", rows(3)), tmp_path / "data")
    with pytest.raises(InputError, match=r"has no split 'test'; give one of train"):
        open_built(builder.data_path, "test")
    with pytest.raises(InputError, match="holds no row that can be used"):
        build(write(tmp_path / "a.jsonl", [{}]), tmp_path / "data")


def test_a_format_whose_slices_lie_is_refused(tmp_path):
    builder = build(write(tmp_path / "a.jsonl", rows(4)), tmp_path / "data")
    other = PreferencePairs(
        data_dir=str(tmp_path / "other"), config=builder.builder_config, file_format="parquet"
    )
    other.download_and_prepare()
    with pytest.raises(InputError, match="is not in the format array_record"):
        open_built(other.data_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "data").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        build(write(tmp_path / "a.jsonl", rows(3)), tmp_path / "data")
