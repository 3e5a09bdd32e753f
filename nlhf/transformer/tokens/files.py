"""Which tokenizer belongs to a model: in its folder, in its GGUF file, or beside its weights."""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any

from nlhf import extras
from nlhf.errors import InputError
from nlhf.transformer.tokens.huggingface import load_tokenizer_json, tokenizer_from_json
from nlhf.transformer.tokens.llama2c import load_llama2c, score_tokenizer
from nlhf.transformer.tokens.tokenizer import Tokenizer

NORMAL, UNKNOWN = 1, 2  # kinds of tokens in GGUF; the others are control, user-defined, unused and byte
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CUTS = {  # how a text is cut before merging, by the name that GGUF gives it; None as GPT-2 does
    "llama-bpe": rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{MARKS}",
    "qwen2": rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{MARKS}",
    "smollm": None,
    "gpt-2": None,
}
STORIES = re.compile(r"stories\d+[KM]", re.IGNORECASE)  # models of llama2.c end a text with the begin token


def load_tokenizer(path: str | os.PathLike[str], *, end: int | str | None = None) -> Tokenizer:
    """Read the tokenizer of a model.

    Args:
      path: a folder (its ``tokenizer.json``, else its one ``.gguf``, else its one ``tok*.bin``) or a file:
        ``tokenizer.json``, ``.gguf``, ``tok*.bin`` of llama2.c, or weights with one of these beside them.
      end: id or name of the token that ends an answer, where it is not what the files say.

    Raises:
      InputError: if there is none or more than one, if it cannot be read, or has no such ``end``.
    """
    tokenizer = _load(pathlib.Path(path))
    if end is None:
        return tokenizer
    token = tokenizer.control.get(end) if isinstance(end, str) else end
    if token is None or not 0 <= token < tokenizer.vocabulary:
        raise InputError(
            f"{path}: end is {end!r}, which is no token of it; give an id below {tokenizer.vocabulary} "
            f"or one of {', '.join(list(tokenizer.control)[:8])}"
        )
    return tokenizer._replace(end=token)


def _load(path: pathlib.Path) -> Tokenizer:
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; give a model's")
    folder, name = (path, "") if path.is_dir() else (path.parent, path.name)
    if name.endswith(".gguf"):
        return load_gguf_tokenizer(path)
    if name == "tokenizer.json" or (not name and (folder / "tokenizer.json").is_file()):
        return load_tokenizer_json(folder / "tokenizer.json")
    if name.startswith("tok") and name.endswith(".bin"):
        return load_llama2c(path)
    if name.endswith(".safetensors") and (folder / "tokenizer.json").is_file():
        return load_tokenizer_json(folder / "tokenizer.json")
    for pattern, reader in (("*.gguf", load_gguf_tokenizer), ("tok*.bin", load_llama2c)):
        found = [] if name and pattern == "*.gguf" else sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"{folder}: holds {len(found)} files that may be the tokenizer ({found[0].name}, "
                f"{found[1].name}); name one"
            )
        if found:
            return reader(found[0])
    other = "; its tokenizer.model is not read, convert it" if (folder / "tokenizer.model").is_file() else ""
    raise InputError(
        f"{path}: there is no tokenizer.json, .gguf or tok*.bin{other}; give the tokenizer's file"
    )


def load_gguf_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Read the tokenizer inside a GGUF file, of the kind ``llama`` (scores) or ``gpt2`` (merges).

    Tokens that are not normal ones (control, user-defined, unused) are never made of text.

    Raises:
      InputError: if it cannot be read, has no tokenizer, or one of another kind; if gguf is not installed.
    """
    gguf = extras.load("gguf", f"{path}: a GGUF file")
    try:
        reader = gguf.GGUFReader(path)
        fields = {
            name.removeprefix("tokenizer.ggml."): field.contents()
            for name, field in reader.fields.items()
            if name.startswith("tokenizer.ggml.") or name == "general.name"
        }
    except Exception as error:  # of many kinds, from NumPy's among them
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(f"{path}: cannot be read as GGUF ({reason}); download it again") from None
    return _gguf_tokenizer(fields, str(path))


def _gguf_tokenizer(fields: dict[str, Any], name: str) -> Tokenizer:
    kind, tokens = fields.get("model"), fields.get("tokens")
    if kind not in ("llama", "gpt2") or not tokens:
        raise InputError(
            f"{name}: has a tokenizer of kind {kind!r}, but llama and gpt2 are read; convert the model"
        )
    kinds = fields.get("token_type") or [NORMAL] * len(tokens)
    if len(kinds) != len(tokens):
        raise InputError(
            f"{name}: has {len(tokens)} tokens and {len(kinds)} kinds of tokens, not as many of each; "
            "convert the model again"
        )
    control = {token: index for index, token in enumerate(tokens) if kinds[index] not in (NORMAL, 6)}
    begin = fields.get("bos_token_id") if fields.get("add_bos_token", kind == "llama") else None
    end = fields.get("eos_token_id")
    if begin is not None and STORIES.fullmatch(str(fields.get("general.name"))):
        end = begin
    if kind == "llama":
        scores = fields.get("scores") or []
        if len(tokens) != len(scores):
            raise InputError(
                f"{name}: has {len(tokens)} tokens and {len(scores)} scores, not as many of each; convert "
                "the model again"
            )
        unknown = fields.get("unknown_token_id")
        return score_tokenizer(
            [token.replace("▁", " ").encode() for token in tokens],
            scores,
            [kind == NORMAL for kind in kinds],
            begin=begin,
            end=end,
            control=control,
            missing=unknown,
            prefix=bool(fields.get("add_space_prefix", True)),
            name=name,
        )
    cut = fields.get("pre", "gpt-2")
    if cut not in CUTS:
        raise InputError(
            f"{name}: cuts text as {cut!r}, but {', '.join(CUTS)} are known; use its tokenizer.json"
        )
    content = _merges_as_json(tokens, fields.get("merges") or [], control, cut)
    made = tokenizer_from_json(content, {}, name)
    return made._replace(begin=begin, end=end)


def _merges_as_json(
    tokens: list[str], merges: list[str], control: dict[str, int], cut: str
) -> dict[str, Any]:
    """Describe a byte-level tokenizer of GGUF as a ``tokenizer.json`` would."""
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": CUTS[cut] is None,
    }
    stages: list[dict[str, Any]] = [level]
    if cut == "smollm":
        stages.insert(0, {"type": "Digits", "individual_digits": True})
    elif CUTS[cut]:
        stages.insert(
            0, {"type": "Split", "pattern": {"Regex": CUTS[cut]}, "behavior": "Isolated", "invert": False}
        )
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": token, **flags} for token, index in control.items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages},
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        },
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": merges,
            "ignore_merges": cut == "llama-bpe",
        },
    }
