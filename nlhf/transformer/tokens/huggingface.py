"""Tokenizers of the Hugging Face hub: ``tokenizer.json``, read by the package ``tokenizers``.

The package looks for added tokens in every text, and its switch ``encode_special_tokens`` leaves out only
those marked as special. So text is encoded by a second tokenizer whose added tokens are gone, save those of
white space in the vocabulary of the model itself, which say nothing but how a text is cut.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from nlhf import extras
from nlhf.errors import InputError
from nlhf.transformer.tokens.tokenizer import ENDLESS, Tokenizer, utf8

LARGEST = 512 * 2**20  # bytes


def load_tokenizer_json(path: str | os.PathLike[str]) -> Tokenizer:
    """Read ``tokenizer.json`` and, beside it, which tokens begin and end a text.

    The begin token is the one that the tokenizer itself puts before a text, none if it puts none; the end
    token is ``eos_token`` of ``tokenizer_config.json`` (or of ``special_tokens_map.json``), else the first
    ``eos_token_id`` of ``generation_config.json`` or ``config.json``. Truncation, padding and merges dropped
    at random, which such files may ask for, are switched off, and no chat template is looked at.

    Raises:
      InputError: if a file cannot be read, or the tokenizer is of a kind that cannot be.
    """
    path = pathlib.Path(path)
    content = read_json(path)
    settings: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json", "special_tokens_map.json", "tokenizer_config.json"):
        if (path.parent / name).is_file():
            settings |= {
                key: value for key, value in read_json(path.parent / name).items() if value is not None
            }
    return tokenizer_from_json(content, settings, str(path))


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Read an object from a JSON file.

    Raises:
      InputError: if it cannot be read or holds no object.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        content = json.loads(data.decode("utf-8")) if len(data) <= LARGEST else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the folder of a model") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is not JSON; download it again") from None
    if not isinstance(content, dict):
        limit = f"less than {LARGEST // 2**20} MiB"
        raise InputError(f"{path}: is not a JSON object of {limit}; download it again")
    return content


def tokenizer_from_json(content: dict[str, Any], settings: dict[str, Any], name: str) -> Tokenizer:
    """Return the tokenizer that a ``tokenizer.json`` describes.

    Args:
      content: of ``tokenizer.json``.
      settings: ``bos_token``, ``eos_token``, ``add_bos_token``, ``eos_token_id``, as far as known.
      name: what messages call it.

    Raises:
      InputError: if the package refuses the description, or is not installed.
    """
    content = {**copy.deepcopy(content), "truncation": None, "padding": None}
    added = content.get("added_tokens") or []
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(added, list):
        raise InputError(f"{name}: describes no tokenizer; give a tokenizer.json of the Hugging Face hub")
    if model.get("dropout") is not None:
        model["dropout"] = None
    blank = [token for token in added if _is_blank(token, model.get("vocab"))]
    stripped = {**content, "added_tokens": blank, "post_processor": None}
    full, first, inner = (_build(part, name) for part in (content, stripped, without_prefix(stripped)))
    inner_full = _build(without_prefix(content), name)
    control = {token["content"]: int(token["id"]) for token in added if token not in blank}
    vocabulary: dict[str, int] = full.get_vocab(with_added_tokens=True)
    known = set(vocabulary.values())
    refused = set(control.values()) - {vocabulary.get(str(model.get("unk_token")))}

    def encode(text: str, start: bool = True) -> list[int]:
        utf8(text)
        ids: list[int] = []
        parts = [(text, start)]  # the last one comes next; no recursion, a text may hold thousands
        while parts:
            part, begins = parts.pop()
            made = (first if begins else inner).encode(part, add_special_tokens=False)
            cuts = []
            for token, (left, right) in zip(made.ids, made.offsets, strict=True):
                if token in refused and right - left < 2:
                    raise InputError(
                        f"the tokenizer ({name}) has no token for {part[left:right]!r}; remove it from the "
                        "text"
                    )
                if token in refused:
                    cuts.append(left + 1)
            if not cuts:
                ids += made.ids
                continue
            # the model's own vocabulary holds control tokens whole: take their characters apart
            edges = zip([0, *cuts], [*cuts, len(part)], strict=True)
            parts += [(part[left:right], begins and not left) for left, right in edges][::-1]
        return ids

    def decode(tokens: Sequence[int], start: bool = True) -> str:
        runs: list[list[int]] = [[]]
        for token in map(int, tokens):
            if token in known:
                runs[-1].append(token)
            elif token >= 0:
                runs.append([])
        decoders = [full if start else inner_full] + [inner_full] * len(runs)
        parts = [
            decoder.decode(run, skip_special_tokens=True)
            for decoder, run in zip(decoders, runs, strict=False)
        ]
        return ENDLESS.join(parts)

    begin = _begin(full, vocabulary, settings)
    end: Any = _token_id(settings.get("eos_token"), vocabulary)
    if end is None:
        ends = settings.get("eos_token_id")
        end = ends[0] if isinstance(ends, list) and ends else ends
    if end is not None and (isinstance(end, bool) or not isinstance(end, int)):
        raise InputError(
            f"{name}: eos_token_id is {ascii(end)[:40]}, but an id is a whole number; correct it"
        )
    return Tokenizer(encode, decode, max(known, default=-1) + 1, begin, end, control, name)


def _is_blank(token: Any, vocabulary: Any) -> bool:
    """White space with an id in the model's own vocabulary; another id would change when its fellows go."""
    content = str(token.get("content", "x"))
    return not content.replace("▁", " ").strip() and (
        isinstance(vocabulary, dict) and vocabulary.get(content) == token.get("id")
    )


def _build(content: dict[str, Any], name: str) -> Any:
    tokenizers = extras.load("tokenizers", f"{name}: a tokenizer")
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the package raises Exception itself
        raise InputError(
            f"{name}: is no tokenizer that can be read ({str(error)[:80]}); download it again"
        ) from None


def _begin(full: Any, vocabulary: dict[str, int], settings: dict[str, Any]) -> int | None:
    if settings.get("add_bos_token") is not None:
        return _token_id(settings.get("bos_token"), vocabulary) if settings["add_bos_token"] else None
    made = full.encode("a", add_special_tokens=True)
    return made.ids[0] if made.ids and made.special_tokens_mask[0] else None


def _token_id(token: Any, vocabulary: dict[str, int]) -> int | None:
    """Id of a token, given as its text or as a description with its ``content``."""
    return vocabulary.get(str(token.get("content") if isinstance(token, dict) else token))


def without_prefix(content: dict[str, Any]) -> dict[str, Any]:
    """Return a description of the same tokenizer that puts no space before a text and takes none away.

    Args:
      content: of ``tokenizer.json``.
    """

    def change(part: dict[str, Any]) -> dict[str, Any] | None:
        kind = part.get("type")
        if kind == "Prepend":
            return None
        if kind == "Metaspace":
            old = {"add_prefix_space": False} if "add_prefix_space" in part else {}
            return {**part, **old, "prepend_scheme": "never"}
        if kind == "ByteLevel":
            return {**part, "add_prefix_space": False}
        if kind == "Strip" and "start" in part:
            return {**part, "start": 0}
        return part

    stages = ("normalizer", "pre_tokenizer", "decoder")
    return {key: _changed(part, change) if key in stages else part for key, part in content.items()}


def _changed(part: Any, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Any:
    """Apply ``change`` to a stage, or to the stages that it is a sequence of; None drops one."""
    if not isinstance(part, dict):
        return part
    for key in ("normalizers", "pretokenizers", "decoders"):
        if isinstance(part.get(key), list):
            kept = [_changed(stage, change) for stage in part[key]]
            return {**part, key: [stage for stage in kept if stage is not None]}
    return change(part)
