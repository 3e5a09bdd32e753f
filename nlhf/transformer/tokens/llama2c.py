"""SentencePiece-like byte-pair encoding by scores, and the tokenizer files of llama2.c (``tok*.bin``).

A text starts with a space that is not its own, is cut into characters (UTF-8 bytes where a character has no
piece), and then the neighbouring pair whose union is the piece of highest score is merged, the leftmost
first, until no union is a piece.
"""

from __future__ import annotations

import functools
import heapq
import math
import os
import pathlib
import re
import struct
from collections.abc import Mapping, Sequence

from nlhf.errors import InputError
from nlhf.transformer.tokens.tokenizer import Tokenizer, unknown, utf8

BYTE = re.compile(rb"<0x([0-9A-F]{2})>")


def score_tokenizer(
    pieces: Sequence[bytes],
    scores: Sequence[float],
    normal: Sequence[bool],
    *,
    begin: int | None,
    end: int | None,
    control: Mapping[str, int],
    missing: int | None = None,
    prefix: bool = True,
    name: str = "scores",
) -> Tokenizer:
    """Return a tokenizer that merges by scores.

    Args:
      pieces: UTF-8 text of every id, a space written as a space.
      scores: of every id; higher merges first.
      normal: of every id, whether text may be encoded as it; the pieces ``<0x00>`` to ``<0xFF>`` that are not
        normal stand for bytes.
      begin: id that starts a text, or None.
      end: id that ends an answer, or None.
      control: ids of control tokens by name; never made of text.
      missing: id for a byte that has no token, or None.
      prefix: whether a text starts with a space that is not its own.
      name: what messages call it.

    Raises:
      InputError: from ``encode``, at a character that has no token.
    """
    ids: dict[str, int] = {}
    byte_ids: dict[int, int] = {}
    texts: list[bytes] = []
    for token, (piece, usable) in enumerate(zip(pieces, normal, strict=True)):
        match = None if usable else BYTE.fullmatch(piece)
        texts.append(bytes([int(match[1], 16)]) if match else piece if usable else b"")
        if match:
            byte_ids.setdefault(int(match[1], 16), token)
        elif usable and piece:
            ids.setdefault(piece.decode("utf-8", "surrogateescape"), token)
    # where no piece holds a space after another character, nothing merges across the starts of words
    words = not any(" " in piece.lstrip(" ") for piece in ids)

    def code(character: str) -> list[int]:
        if character in ids:
            return [ids[character]]
        found = [byte_ids.get(byte, missing) for byte in character.encode()]
        if any(token is None for token in found):
            raise InputError(
                f"the tokenizer ({name}) has no token for {character!r}; remove it from the text"
            )
        return [token for token in found if token is not None]

    def merged(text: str) -> tuple[int, ...]:
        parts = merge(text, ids, scores)
        return tuple(token for part in parts for token in ([ids[part]] if part in ids else code(part)))

    remembered = functools.lru_cache(maxsize=65536)(merged)  # few words make most of a text

    def encode(text: str, start: bool = True) -> list[int]:
        utf8(text)
        text = " " + text if text and start and prefix else text
        chunks = re.findall(r" +[^ ]*|[^ ]+", text) if words else [text]
        return [token for part in chunks for token in (remembered if len(part) < 64 else merged)(part)]

    def decode(tokens: Sequence[int], start: bool = True) -> str:
        known = (
            texts[token] if token < len(texts) else unknown(True) for token in map(int, tokens) if token >= 0
        )
        text = b"".join(known).decode("utf-8", "replace")
        return text[1:] if start and prefix and text.startswith(" ") else text

    return Tokenizer(encode, decode, len(texts), begin, end, dict(control), name)


def merge(text: str, ids: Mapping[str, int], scores: Sequence[float]) -> list[str]:
    """Merge the characters of a text into pieces, best score first, the leftmost of equal ones.

    Args:
      ids: id of every piece that may be merged into.
      scores: by id.

    Returns:
      The parts, in order; a part of one character need not be a piece.

    >>> merge("abab", {"ab": 0, "ba": 1}, [0.0, 1.0])
    ['a', 'ba', 'b']
    """
    parts = list(text)
    before = list(range(-1, len(parts) - 1))
    after = list(range(1, len(parts) + 1))
    heap: list[tuple[float, int, int, str]] = []

    def offer(left: int) -> None:
        if left < 0 or after[left] >= len(parts):
            return
        union = parts[left] + parts[after[left]]
        if union in ids:
            heapq.heappush(heap, (-scores[ids[union]], left, after[left], union))

    for left in range(len(parts) - 1):
        offer(left)
    while heap:
        _, left, right, union = heapq.heappop(heap)
        if after[left] != right or parts[left] + parts[right] != union or not parts[left]:
            continue  # one of the two was merged into another part since
        parts[left], parts[right] = union, ""
        after[left] = after[right]
        if after[left] < len(parts):
            before[after[left]] = left
        offer(before[left])
        offer(left)
    return [part for part in parts if part]


def load_llama2c(path: str | os.PathLike[str]) -> Tokenizer:
    """Read ``tok*.bin`` of llama2.c: id 0 unknown, 1 begin, 2 end, then bytes, then pieces.

    Its models end a text with the begin token (they see ``begin story begin story ...`` in training), so
    ``end`` is 1 as well.

    Args:
      path: int32 length of the longest piece, then for every id float32 score, int32 length, text.

    Raises:
      InputError: if the file cannot be read or is not such a file.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a tokenizer file") from None
    pieces: list[bytes] = []
    scores: list[float] = []
    longest = struct.unpack_from("<i", data)[0] if len(data) >= 4 else -1
    offset = 4
    while longest > 0 and offset + 8 <= len(data):
        score, length = struct.unpack_from("<fi", data, offset)
        if length < 0 or (length > longest and len(pieces) > 2) or offset + 8 + length > len(data):
            break
        offset += 8 + length
        pieces.append(data[offset - length : offset])
        scores.append(score)
    if offset != len(data) or len(pieces) < 4 or not all(map(math.isfinite, scores)):
        raise InputError(
            f"{path}: is not a tokenizer file of llama2.c (entry {len(pieces)} at byte {offset} of "
            f"{len(data)} is broken); give tok*.bin or tokenizer.bin as llama2.c writes it"
        )
    normal = [index > 2 and not (index < 259 and BYTE.fullmatch(piece)) for index, piece in enumerate(pieces)]
    control = {"<unk>": 0, "<s>": 1, "</s>": 2}
    return score_tokenizer(
        pieces, scores, normal, begin=1, end=1, control=control, missing=0, name=pathlib.Path(path).name
    )
