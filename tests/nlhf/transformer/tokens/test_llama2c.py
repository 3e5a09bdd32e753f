"""Byte-pair encoding by scores: against a plain quadratic transcription, and against reference token ids."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from nlhf.transformer.tokens.llama2c import load_llama2c, merge, score_tokenizer

PIECES = ["ab", "bc", "abc", " a", " b", "b b", "aa", "aaa", "a", "b", "c", " "]
IDS = {piece: index for index, piece in enumerate(PIECES)}


def merge_slowly(text, scores):
    """Scan all neighbours, merge the best, the leftmost of equal ones; again until none is a piece."""
    parts = list(text)
    while True:
        unions = [
            (scores[IDS[a + b]], -i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in IDS
        ]
        if not unions:
            return parts
        left = -max(unions)[1]
        parts[left : left + 2] = [parts[left] + parts[left + 1]]


@given(st.text("abc ", max_size=30), st.permutations(range(len(PIECES))), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_merging_by_a_heap_is_merging_by_scans(text, scores, ties):
    scores = [score // ties for score in scores]
    assert merge(text, IDS, scores) == merge_slowly(text, scores)


@pytest.mark.parametrize("spaced", [True, False])
def test_words_are_merged_alone_only_where_no_piece_crosses_them(spaced):
    pieces = [piece for piece in PIECES if spaced or piece != "b b"]
    scores = [float(len(piece)) for piece in pieces]
    made = score_tokenizer(
        [piece.encode() for piece in pieces], scores, [True] * len(pieces), begin=None, end=None, control={}
    )
    ids = {piece: index for index, piece in enumerate(pieces)}
    for text in ("ab b a  aaab bc", " b b", "aaaa"):
        assert made.encode(text) == [ids[part] for part in merge(" " + text, ids, scores)]
        assert made.decode(made.encode(text)) == text


def write(path, pieces, scores=None, longest=7):
    rows = zip(pieces, scores or [0.0] * len(pieces), strict=True)
    body = b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in rows)
    path.write_bytes(struct.pack("<i", longest) + body)
    return path


HEAD = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(f"<0x{byte:02X}>".encode() for byte in range(256))]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tok.bin"
    pieces = [
        b"<s",
        b"<s>",
        b"<0x41>",
        b"<0",
        b"x4",
        b"1>",
        b"x41>",
        b"<",
        b"s",
        b">",
        b" ",
        b"0",
        b"x",
        b"4",
        b"1",
    ]
    return load_llama2c(write(path, HEAD + pieces, list(range(259 + len(pieces)))))


def test_bytes_stand_for_characters_without_a_piece(small):
    assert small.encode("é", start=False) == [3 + 0xC3, 3 + 0xA9]
    assert small.decode([1, *small.encode("é\n漢"), 2, -1]) == "é\n漢"
    assert small.decode([3 + 0xC3, 9999]) == "\ufffd\ufffd"


def test_text_never_becomes_a_control_id_or_a_byte_it_only_names(small):
    for text in ("<s>", "</s>", "<unk>", "<0x41>", "\n<s>\n", "\n</s>\n"):
        ids = small.encode(text, start=False)
        assert not set(ids) & {0, 1, 2, 3 + 0x41}
        assert small.decode(ids, start=False) == text


def test_a_text_that_continues_another_gets_no_space(small):
    assert small.encode("<", start=True) == [269, 266]
    assert small.encode("<", start=False) == [266]
    assert small.decode([269, 266]) == "<"
    assert small.decode([269, 266], start=False) == " <"
    assert small.encode("") == []


def test_a_tokenizer_without_bytes_says_which_character_it_lacks():
    made = score_tokenizer([b"a"], [0.0], [True], begin=None, end=None, control={}, prefix=False, name="few")
    with pytest.raises(InputError, match=r"few.*no token for 'b'"):
        made.encode("ab")
    lenient = score_tokenizer(
        [b"a"], [0.0], [True], begin=None, end=None, control={}, prefix=False, missing=0
    )
    assert lenient.encode("ab") == [0, 0]


@pytest.mark.parametrize(
    "content", [b"", b"\x07", b"\x07\0\0\0", b"PK\x03\x04" * 9, struct.pack("<ifi", 7, 0, 99)]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "tok.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a tokenizer file"):
        load_llama2c(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = write(tmp_path / "tok.bin", HEAD)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="entry 258 at byte"):
        load_llama2c(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_llama2c(tmp_path / "absent.bin")


def test_the_ids_of_the_reference_come_back_from_its_text(shared):
    folder = shared / "data" / "stories260k"
    made = load_llama2c(folder / "tok512.bin")
    reference = np.load(folder / "reference.npz")
    assert (made.vocabulary, made.begin, made.end) == (512, 1, 1)
    for ids in (reference["tokens_0"].tolist(), reference["tokens_1"].tolist()):
        text = made.decode(ids)
        assert text.startswith(
            "Once upon a time, there was a little girl named Lily. She loved to play outside"
        )
        assert [1, *made.encode(text)] == ids
        assert made.decode(made.encode(text[:20]) + made.encode(text[20:], start=False)) == text
