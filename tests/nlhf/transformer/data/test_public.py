"""Public data by short names: rows of their shapes become ours; nothing is fetched unless asked."""

import fnmatch
import json

import pyarrow
import pyarrow.parquet
import pytest

from nlhf.errors import InputError
from nlhf.transformer.data.files import load
from nlhf.transformer.data.public import KNOWN, choices, download, known, ratings

HH = "\n\nHuman: Hi\n\nAssistant:"
TALK = [{"role": "user", "content": "Sky?"}]
ROWS = {
    "hh-harmless": [{"chosen": HH + " Yes?", "rejected": HH + " No."}],
    "hh-helpful": [{"chosen": HH + " Yes?", "rejected": HH + " No."}],
    "tldr": [{"prompt": "POST: long\n\nTL;DR:", "chosen": " Short.", "rejected": " Long."}],
    "ultrafeedback": [
        {
            "prompt": "Sky?", "prompt_id": "1", "messages": TALK, "score_chosen": 8.0, "score_rejected": 4.0,
            "chosen": [*TALK, {"role": "assistant", "content": "Blue."}],
            "rejected": [*TALK, {"role": "assistant", "content": "Red."}],
        }
    ],
    "safe-rlhf": [
        {
            "prompt": "Sky?", "response_0": "Red.", "response_1": "Blue.",
            "better_response_id": 1, "safer_response_id": 0,
        }
    ],
    "helpsteer2": [
        {"prompt": "Sky?", "response": "Red.", "helpfulness": 1, "verbosity": 2},
        {"prompt": "Sky?", "response": "Blue.", "helpfulness": 4, "verbosity": 2},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_rows_of_known_data_become_ours(tmp_path, name):
    entry = known(name)
    if entry.pattern.endswith(".parquet"):
        path = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[name]), path)
    else:
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]))
    (row,), report = load(path, entry.check())
    assert (row["p"], report.kept) == (1, 1)
    answers = [
        row[side] if isinstance(row[side], str) else row[side][0]["content"]
        for side in ("chosen", "rejected")
    ]
    assert answers in (["Blue.", "Red."], [" Short.", " Long."], [" Yes?", " No."])


def test_another_label_of_safe_rlhf():
    row = ROWS["safe-rlhf"][0]
    assert choices("safer_response_id")(row)["chosen"] == "Red."
    for wrong in (None, 2, True, "1"):
        with pytest.raises(InputError, match="better_response_id is neither 0 nor 1"):
            choices()({**row, "better_response_id": wrong})
    with pytest.raises(InputError, match="better_response_id is neither"):
        choices()([])


def rated(prompt, response, rating):
    return {"prompt": prompt, "response": response, "helpfulness": rating}


def test_ratings_are_paired_with_the_row_before():
    rows = [
        rated("a", "x", 1),
        rated("b", "x", 1),
        rated("b", "y", 1),
        rated("b", "y", 3),
        rated("b", "z", 0),
    ]
    check = ratings(scale=2.0)
    found = [check(row) for row in rows]
    assert [row and (row["chosen"], row["rejected"]) for row in found] == [
        None,
        None,
        ("y", "x"),
        None,
        ("y", "z"),
    ]
    assert found[2]["p"] == 0.5
    assert found[4]["p"] == pytest.approx(1 / (1 + 2.718281828459045**-1.5))


def test_a_bad_rating_makes_no_pair_on_either_side(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [rated("a", "x", 1), rated("a", "y", None), rated("a", "z", 2), rated("a", "w", 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, report = load(path, ratings(), skip_bad=0.5)
    assert [(row["chosen"], row["rejected"]) for row in found] == [("w", "z")]
    assert dict(report.refused) == {"helpfulness is not a number": 1}
    with pytest.raises(InputError, match="line 2: helpfulness is not a number"):
        load(path, ratings())
    with pytest.raises(InputError, match="scale is 0"):
        ratings(scale=0)


def test_unknown_names():
    with pytest.raises(
        InputError, match="'webgpt' is no known data set; give a file of rows, or one of hh-harmless"
    ):
        known("webgpt")
    assert all(
        fnmatch.fnmatchcase(entry.pattern.replace("*", "x"), entry.pattern) for entry in KNOWN.values()
    )


class Hub:
    """Stands for huggingface_hub; ``files`` is what the data set holds."""

    def __init__(self, folder, files):
        self.folder, self.files = folder, files

    def list_repo_files(self, repo, *, repo_type):
        if self.files is None:
            raise ConnectionError("no network\nat all")
        return list(self.files)

    def fetch(self, repo, file, *, repo_type, local_dir):
        path = self.folder / file.replace("/", "_")
        path.write_bytes(self.files[file])
        return str(path)


def hub(monkeypatch, folder, files):
    made = Hub(folder, files)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", made.fetch)


def test_a_download_says_size_and_digest(tmp_path, monkeypatch):
    files = {"harmless-base/train.jsonl.gz": b"abc", "harmless-base/test.jsonl.gz": b"", "README.md": b""}
    hub(monkeypatch, tmp_path, files)
    said = []
    (path,) = download("hh-harmless", tmp_path, say=said.append)
    assert path.read_bytes() == b"abc"
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert said == [f"{path}: 3 bytes, sha256 {digest}"]


def test_downloads_that_fail_are_one_line(tmp_path, monkeypatch):
    hub(monkeypatch, tmp_path, {"README.md": b""})
    with pytest.raises(InputError, match="has no file harmless-base/train"):
        download("hh-harmless", tmp_path)
    hub(monkeypatch, tmp_path, None)
    with pytest.raises(InputError, match=r"cannot be fetched \(no network\); fetch it by hand$"):
        download("hh-harmless", tmp_path)
