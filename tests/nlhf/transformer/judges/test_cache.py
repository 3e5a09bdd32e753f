import pathlib

import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges.cache import Cache, digest

KEYS = [digest([str(index)]) for index in range(20)]
ANSWERS = {key: value for key, value in zip(KEYS, np.random.default_rng(0).uniform(size=20), strict=True)}


def test_answers_are_found_again_to_the_last_bit(tmp_path):
    path = tmp_path / "judge.jsonl"
    cache = Cache(path)
    for key, value in ANSWERS.items():
        cache.add({key: value})
    again = Cache(path)
    assert len(again) == 20
    assert all(again[key] == value for key, value in ANSWERS.items())
    assert "another" not in again


def test_a_file_cut_anywhere_is_read_up_to_there_and_appended_to(tmp_path):
    path = tmp_path / "judge.jsonl"
    Cache(path).add(ANSWERS)
    whole = path.read_bytes()
    line = len(whole) // 20
    for size in (line // 2, *range(3 * line, 4 * line + 1, 7)):
        path.write_bytes(whole[:size])
        cut = Cache(path)
        assert len(cut) in ((3, 4) if size > line else (0,))
        cut.add({KEYS[19]: 0.25})
        again = Cache(path)
        assert again[KEYS[19]] == 0.25
        assert len(again) == len(cut)
        path.unlink()


def test_a_flipped_bit_loses_its_line_and_changes_no_answer(tmp_path):
    path = tmp_path / "judge.jsonl"
    Cache(path).add(ANSWERS)
    whole = path.read_bytes()
    lost = 0
    for bit in np.random.default_rng(1).integers(0, 8 * len(whole), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found = Cache(path)
        lost += 20 - len(found)
        assert all(found[key] == ANSWERS[key] for key in KEYS if key in found)
        assert len(found) >= 18  # a newline lost glues two lines
    assert lost >= 150  # the control: damage is seen


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named(tmp_path):
    cache = Cache(tmp_path / "judge.jsonl")
    cache.path = pathlib.Path("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        cache.add(ANSWERS)


def test_a_foreign_file_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\n")
    with pytest.raises(InputError, match=r"notes\.txt holds no line of a judge's cache"):
        Cache(path)
    assert path.read_text() == "my notes\n"


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing/judge\.jsonl cannot be used \(No such file"):
        Cache(tmp_path / "missing" / "judge.jsonl")
