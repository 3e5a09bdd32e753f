"""What one row of preference data must look like, and its one normal form.

Rows follow the conventions of the Hugging Face hub: ``prompt``, ``chosen``, ``rejected`` as texts or as lists
of messages, or without a prompt, which is then what the two have in common. Ours beside them: ``p``, the
probability that chosen wins, and ``id``. This is the only place where bytes become text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nlhf.errors import InputError

Row = dict[str, Any]
Check = Callable[..., Row | None]
ROLES = ("system", "user", "assistant")
TURN = "\n\nAssistant:"  # what ends the prompt in the dialogues of Anthropic's HH data
WORD, WORD_AT_END = re.compile(r"\w"), re.compile(r"\w+\Z")
MESSAGES = '[{"role": "user", "content": "..."}]'


class RowError(InputError):
    """A row that breaks a rule; ``reason`` names the rule without the values, so that rows can be counted."""

    def __init__(self, reason: str, detail: str = "", remedy: str = "") -> None:
        super().__init__(f"{reason}{detail and ' (' + detail + ')'}{remedy and '; ' + remedy}")
        self.reason = reason


def check_preference(row: Any, *, empty_prompt: bool = False) -> Row:
    """Return the normal form of a preference row, or raise.

    Args:
      row: a mapping with ``chosen`` and ``rejected``, perhaps ``prompt``, ``p``, ``id``; text as str or
        bytes, conversations as lists of messages (as their JSON if the row says ``"format": "messages"``).
      empty_prompt: whether the prompt may be empty.

    Returns:
      ``{"prompt", "chosen", "rejected", "p", "id"}``: texts, or lists of messages where chosen and rejected
      hold one assistant turn; p in [0, 1], 1 where none is given; id a text, empty where none is given.

    Raises:
      RowError: naming the field, the rule and the remedy.

    >>> check_preference({"chosen": "Two and two is four.", "rejected": "Two and two is five."})["rejected"]
    ' five.'
    """
    row = _mapping(row)
    if "chosen" not in row and "rejected" not in row and ("completion" in row or "label" in row):
        raise RowError(
            "unpaired row: 'completion' and 'label', not 'chosen' and 'rejected'", "", "pair the rows"
        )
    encoded = _text(row.get("format") or "", "format") == "messages"
    prompt: Any = None
    chosen, rejected = (_content(row, side, encoded) for side in ("chosen", "rejected"))
    if row.get("prompt") is not None:
        prompt = _content(row, "prompt", encoded)
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise RowError("chosen and rejected are not of one kind", "", "give texts, or messages, for both")
    chance, name = _chance(row.get("p")), _name(row.get("id"))
    if isinstance(chosen, str):
        prompt, chosen, rejected = _split_text(prompt, chosen, rejected)
        if not prompt and not empty_prompt:
            raise RowError("prompt is empty", "", "give one, or allow empty prompts")
    else:
        prompt, chosen, rejected = _split_messages(prompt, chosen, rejected)
    for side, content in (("chosen", chosen), ("rejected", rejected)):
        if not (content if isinstance(content, str) else content[-1]["content"]).strip():
            raise RowError(f"{side} is empty", "", "give an answer with a character in it")
    if chosen == rejected and row.get("p") is None:
        raise RowError("chosen equals rejected", "", "give p, e.g. 0.5 for a tie")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "p": chance, "id": name}


def check_prompt(row: Any, *, empty_prompt: bool = False) -> Row:
    """Return the normal form of a row that holds a prompt, or raise.

    Args:
      row: a text, or a mapping with ``prompt``: a text or a list of messages of which a user's is the last.
        Other fields are not looked at, so that the prompts of preference rows can be read.
      empty_prompt: whether the prompt may be empty.

    Returns:
      ``{"prompt", "id"}``.

    Raises:
      RowError: naming the field, the rule and the remedy.
    """
    row = _mapping({"prompt": row} if isinstance(row, str | bytes) else row)
    if row.get("prompt") is None and row.get("chosen") is not None and row.get("rejected") is not None:
        row = {**check_preference(row, empty_prompt=empty_prompt), "id": row.get("id")}
    prompt = _content(row, "prompt", _text(row.get("format") or "", "format") == "messages")
    if not isinstance(prompt, str):
        _check_turns(prompt, "prompt", "user")
    elif not prompt and not empty_prompt:
        raise RowError("prompt is empty", "", "give one, or allow empty prompts")
    return {"prompt": prompt, "id": _name(row.get("id"))}


def _mapping(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise RowError("the row is not an object with fields", _shown(row), 'give {"prompt": ..., ...}')
    return row


def _shown(value: Any) -> str:
    return f"it is {ascii(value)[:60]}"


def _text(value: Any, field: str) -> str:
    """Decode bytes (what tensorflow-datasets reads back) and refuse what is no text."""
    name, place = _bare(field), "" if "[" not in field else f"{field}: "
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"{name} is not UTF-8", f"{place}byte {error.start}", "encode it so") from None
    if not isinstance(value, str):
        raise RowError(f"{name} is not a text", f"{place}{_shown(value)}", "give a string")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            detail = f"{place}character {error.start}"
            raise RowError(f"{name} holds a lone surrogate", detail, "remove it") from None
    return value


def _content(row: Mapping[str, Any], field: str, encoded: bool) -> Any:
    """Return a field as text, or as a list of messages."""
    if field not in row:
        raise RowError(f"{field} is missing", f"the fields are {', '.join(map(str, row))[:80]}", "add it")
    value = row[field]
    if value is None:
        raise RowError(f"{field} is null", "", "give a string or a list of messages")
    if encoded:
        try:
            value = json.loads(_text(value, field))
        except (ValueError, RecursionError):
            raise RowError(
                f"{field} is not the JSON of messages", _shown(value), f"give {MESSAGES}"
            ) from None
    if isinstance(value, str | bytes):
        return _text(value, field)
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        raise RowError(f"{field} is neither a text nor a list of messages", _shown(value), "give either")
    return [_message(message, f"{field}[{index}]") for index, message in enumerate(value)]


def _message(message: Any, field: str) -> dict[str, str]:
    if not isinstance(message, Mapping) or message.get("role") is None or message.get("content") is None:
        raise RowError(
            f"{_bare(field)} is not a list of messages", f"{field}: {_shown(message)}", f"give {MESSAGES}"
        )
    role, content = _text(message["role"], f"{field}.role"), _text(message["content"], f"{field}.content")
    if role not in ROLES:
        raise RowError(
            f"{_bare(field)} holds an unknown role", f"{field}: {_shown(role)}", f"use {', '.join(ROLES)}"
        )
    return {"role": role, "content": content}


def _bare(field: str) -> str:
    return field.partition("[")[0]


def _check_turns(messages: Sequence[Mapping[str, str]], field: str, last: str) -> None:
    """A system message may open; then user and assistant take turns, a user first."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if any(role != ("user", "assistant")[index % 2] for index, role in enumerate(turns)):
        raise RowError(
            f"roles of {field} do not alternate",
            f"they are {', '.join(roles)[:80]}",
            "let user and assistant take turns, user first, after at most one system message",
        )
    if not turns or turns[-1] != last:
        raise RowError(
            f"{field} does not end with a message of role {last}", f"roles {', '.join(roles)[:80]}", "add it"
        )


def _split_text(prompt: Any, chosen: str, rejected: str) -> tuple[str, str, str]:
    """Separate texts from their common prompt, where none is given."""
    if prompt is not None:
        if not isinstance(prompt, str):
            raise RowError("prompt holds messages but chosen and rejected texts", "", "give one kind for all")
        return prompt, chosen, rejected
    cut = chosen.rfind(TURN) + len(TURN)
    if TURN in chosen and rejected.rfind(TURN) + len(TURN) == cut and chosen[:cut] == rejected[:cut]:
        return chosen[:cut], chosen[cut:], rejected[cut:]
    if TURN in chosen or TURN in rejected:
        raise RowError(
            "chosen and rejected differ before the last turn",
            f"the prompt would end with {TURN!r}",
            "give dialogues that share all but the last answer, or give prompt",
        )
    pairs = enumerate(zip(chosen, rejected, strict=False))
    cut = next((place for place, (one, other) in pairs if one != other), min(len(chosen), len(rejected)))
    prefix = chosen[:cut]
    if WORD.match(chosen[cut:]) or WORD.match(rejected[cut:]):
        prefix = WORD_AT_END.sub("", prefix)  # what the answers share of a word is theirs
    prefix = prefix.rstrip(" ")  # and so is the space before them
    if not prefix.strip():
        raise RowError("chosen and rejected have no common prefix", "", "give prompt")
    return prefix, chosen[len(prefix) :], rejected[len(prefix) :]


def _split_messages(prompt: Any, chosen: list, rejected: list) -> tuple[list, list, list]:
    """Separate conversations from their common prompt, where none is given or it is repeated in them."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if shared == len(chosen) == len(rejected):
        shared -= 1  # equal conversations: the last turn is the answer
    if isinstance(prompt, str):
        users = [message["content"] for message in chosen[:shared] if message["role"] == "user"]
        if prompt not in users:
            raise RowError(
                "prompt is not in the messages that chosen and rejected share",
                "",
                "give prompt as messages, or leave it out",
            )
        prompt = None
    if prompt is not None and chosen[: len(prompt)] != prompt:
        chosen, rejected, shared = prompt + chosen, prompt + rejected, len(prompt)
    elif prompt is not None:
        shared = len(prompt)
    if shared == 0:
        raise RowError("chosen and rejected have no common prefix", "", "give prompt")
    for side, messages in (("chosen", chosen), ("rejected", rejected)):
        _check_turns(messages, side, "assistant")
        if messages[:shared] != chosen[:shared] or len(messages) != shared + 1:
            raise RowError(
                "chosen and rejected differ before the last turn",
                f"{side} has {len(messages) - shared} messages after the prompt",
                "give conversations that share all but the last answer",
            )
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _chance(value: Any) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]  # what tensorflow-datasets mocks
    if value is None:
        return 1.0
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise RowError("p is not a number", _shown(value), "give the probability that chosen wins")
    if not 0 <= value <= 1 or not math.isfinite(value):
        raise RowError("p is not in [0, 1]", _shown(value), "give the probability that chosen wins")
    return float(value)


def _name(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    return _text(value, "id")
