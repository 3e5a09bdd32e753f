import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges.text import texts


def spell(ids):
    return "".join("abc"[token] for token in ids)


def test_padding_on_either_side_is_left_out():
    assert texts(spell, np.array([[-1, 0, 1], [2, -1, -1], [-1, -1, -1]])) == ["ab", "c", ""]


def test_an_id_that_the_tokenizer_does_not_know_is_refused_with_its_row():
    with pytest.raises(InputError, match="response 1 cannot be decoded"):
        texts(spell, np.array([[0], [7]]))


def test_a_decoder_that_gives_no_text_is_refused():
    with pytest.raises(InputError, match="response 0 is decoded to b'ab'"):
        texts(lambda ids: b"ab", np.array([[0, 1]]))
