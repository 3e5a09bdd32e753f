"""Tokenizers as records of functions; two of our own need no file: bytes, and characters of an alphabet.

Text never becomes a control token: whatever a user types, ``"<|im_end|>"`` or ``"</s>"``, is encoded as the
characters it consists of. Control tokens enter as ids, from ``begin``, ``end`` and ``control``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from nlhf.errors import InputError

ENDLESS = "\ufffd"  # what stands for bytes that are no text, and for ids without a token


class Tokenizer(NamedTuple):
    """Text to token ids and back.

    Attributes:
      encode: ``encode(text, start=True) -> list[int]``, of plain text only: no begin or end id is added and
        no control id is made. ``start`` says that the text begins here: some tokenizers put a space before
        it, which a text that continues another one (an answer) must not get.
      decode: ``decode(ids, start=True) -> str``, the inverse; negative ids (padding) and control ids are left
        out, ids without a token and bytes that are no UTF-8 become U+FFFD.
      vocabulary: smallest number of embedding rows that holds every id.
      begin: id that starts a text, or None where the model was trained without.
      end: id that ends an answer, or None.
      control: ids of control tokens by name.
      name: what messages call the tokenizer.
    """

    encode: Callable[..., list[int]]
    decode: Callable[..., str]
    vocabulary: int
    begin: int | None
    end: int | None
    control: Mapping[str, int]
    name: str


def byte_tokenizer() -> Tokenizer:
    """Return the tokenizer of UTF-8 bytes: ids 0 to 255, then begin = 256 and end = 257.

    >>> byte_tokenizer().encode("Hé")
    [72, 195, 169]
    """
    return Tokenizer(_encode_bytes, _decode_bytes, 258, 256, 257, {"<begin>": 256, "<end>": 257}, "bytes")


def _encode_bytes(text: str, start: bool = True) -> list[int]:
    del start
    return list(utf8(text))


def _decode_bytes(ids: Sequence[int], start: bool = True) -> str:
    del start
    known = (
        bytes([token]) if token < 256 else unknown(token >= 258) for token in map(int, ids) if token >= 0
    )
    return b"".join(known).decode("utf-8", "replace")


def check_tokenizer(tokenizer: Tokenizer, vocabulary: int) -> Tokenizer:
    """Return the tokenizer if every id it can make has a row in the model's embedding, else raise.

    A model with more rows than the tokenizer has ids is usual (padding to a round number).

    Args:
      vocabulary: rows of the embedding.

    Raises:
      InputError: if the tokenizer's vocabulary exceeds the rows, or a control id lies outside of them.

    >>> check_tokenizer(byte_tokenizer(), 257)
    Traceback (most recent call last):
    ...
    nlhf.errors.InputError: the tokenizer (bytes) has 258 ids, but the model's embedding has 257 rows; \
give the tokenizer that belongs to this model
    """
    remedy = "give the tokenizer that belongs to this model"
    if tokenizer.vocabulary > vocabulary:
        raise InputError(
            f"the tokenizer ({tokenizer.name}) has {tokenizer.vocabulary} ids, but the model's embedding has "
            f"{vocabulary} rows; {remedy}"
        )
    for name, token in {"begin": tokenizer.begin, "end": tokenizer.end, **tokenizer.control}.items():
        if token is not None and not 0 <= token < vocabulary:
            raise InputError(
                f"the tokenizer ({tokenizer.name}) has the id {token} for {name!r}, but the model's "
                f"embedding has {vocabulary} rows; {remedy}"
            )
    return tokenizer


def utf8(text: str) -> bytes:
    """Return the UTF-8 bytes of a text.

    Args:
      text: without lone surrogates, which JSON can spell but no encoding holds.

    Raises:
      InputError: if it holds one.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds the lone surrogate {text[error.start]!r} at character {error.start}, which is "
            "no Unicode text; remove it"
        ) from None


def unknown(strange: bool) -> bytes:
    """Return what an id without text is decoded to: U+FFFD if ``strange``, else nothing (a control token)."""
    return ENDLESS.encode() if strange else b""
