"""Tokenizers of our own, and the rule that every id needs a row of the embedding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlhf.errors import InputError
from nlhf.transformer.tokens.tokenizer import byte_tokenizer, check_tokenizer

BYTES = byte_tokenizer()
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
@settings(max_examples=200, deadline=None)
def test_bytes_give_any_text_back(text):
    ids = BYTES.encode(text)
    assert ids == list(text.encode())
    assert BYTES.decode(ids) == text


def test_control_ids_and_padding_are_left_out_and_strange_ids_are_marked():
    assert BYTES.decode([256, 72, -1, 105, 257, -1]) == "Hi"
    assert BYTES.decode([72, 300, 105]) == "H\ufffdi"
    assert BYTES.decode([0xC3, 72]) == "\ufffdH"


def test_no_text_becomes_a_control_id():
    assert set(BYTES.encode("<begin><end>")) <= set(range(256))


def test_a_lone_surrogate_is_no_text():
    with pytest.raises(InputError, match=r"lone surrogate.*at character 1"):
        BYTES.encode("a\ud800")


def test_a_model_may_have_spare_rows_but_not_too_few():
    assert check_tokenizer(BYTES, 258) is BYTES
    assert check_tokenizer(BYTES, 320) is BYTES
    with pytest.raises(InputError, match=r"258 ids, but the model's embedding has 257 rows"):
        check_tokenizer(BYTES, 257)


@pytest.mark.parametrize(
    "wrong", [{"begin": 300}, {"end": -1}, {"control": {"<x>": 258}}], ids=["begin", "end", "control"]
)
def test_control_ids_outside_the_embedding_are_refused(wrong):
    with pytest.raises(InputError, match="has the id"):
        check_tokenizer(BYTES._replace(**wrong), 258)
