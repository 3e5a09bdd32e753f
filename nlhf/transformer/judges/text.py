"""Token ids as text, for judges that read: one row at a time, without its padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nlhf.errors import InputError

Decode = Callable[[list[int]], str]


def texts(decode: Decode, tokens: np.ndarray) -> list[str]:
    """Return the text of each row.

    Args:
      decode: ``decode(ids) -> str``, of a tokenizer; it leaves out the special tokens.
      tokens: ``[N, T]`` token ids, padded with -1 on either side.

    Raises:
      InputError: if a row cannot be decoded, or not to text.
    """
    found = []
    for row, ids in enumerate(tokens):
        try:
            text = decode(ids[ids >= 0].tolist())
        except Exception as error:
            raise InputError(
                f"response {row} cannot be decoded ({error}); the judge needs the tokenizer of the model"
            ) from error
        if not isinstance(text, str):
            raise InputError(f"response {row} is decoded to {text!r}, but a judge reads text; give a str")
        found.append(text)
    return found
