"""Prompts and answers as tokens: three templates of chat models, written out; no template of a file is run.

A template is a function ``template(tokenizer, prompt, answer=None) -> list[int]``: the tokens of the prompt
up to where the model begins to answer, or with ``answer`` those of the answer, its end included. Roles and
ends of turns are the control tokens of the tokenizer, by their names; what users and models say is encoded as
text and never becomes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nlhf.errors import InputError, unknown
from nlhf.transformer.tokens.tokenizer import Tokenizer

Template = Callable[..., list[int]]


def plain(tokenizer: Tokenizer, prompt: Any, answer: Any = None) -> list[int]:
    r"""Continue a text: the begin token (where there is one) and the prompt; the answer and the end token.

    A conversation is written as ``"\n\nHuman: ...\n\nAssistant:"``, its answer after a space.

    Args:
      answer: text, or a list of one message.
    """
    if answer is None:
        begin = [] if tokenizer.begin is None else [tokenizer.begin]
        return begin + tokenizer.encode(prompt if isinstance(prompt, str) else _dialogue(prompt), True)
    text = answer if isinstance(answer, str) else " " + answer[-1]["content"]
    empty = isinstance(prompt, str) and not prompt
    return tokenizer.encode(text, empty) + ([] if tokenizer.end is None else [tokenizer.end])


def _dialogue(messages: Sequence[dict[str, str]]) -> str:
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
    turns = [names.get(message["role"], "") + message["content"] for message in messages]
    return "".join(turns) + "\n\nAssistant:"


def chatml(tokenizer: Tokenizer, prompt: Any, answer: Any = None) -> list[int]:
    r"""ChatML, as SmolLM2 and Qwen: ``<|im_start|>role\n ... <|im_end|>\n``.

    A prompt without a system message gets none (the files of some models put one of their own there).

    Args:
      tokenizer: with ``<|im_start|>`` and ``<|im_end|>`` among its control tokens.
      prompt: messages, or a text, which is taken for one message of a user.
      answer: text, or a list of one message.

    Raises:
      InputError: if the tokenizer lacks one of the tokens.
    """
    start, end = _control(tokenizer, "ChatML", "<|im_start|>", "<|im_end|>")
    if answer is not None:
        return [*tokenizer.encode(_said(answer), False), end]
    ids = [] if tokenizer.begin in (None, start) else [tokenizer.begin]
    for message in _messages(prompt):
        ids += [start, *tokenizer.encode(f"{message['role']}\n{message['content']}", False), end]
        ids += tokenizer.encode("\n", False)
    return [*ids, start, *tokenizer.encode("assistant\n", False)]


def llama3(tokenizer: Tokenizer, prompt: Any, answer: Any = None) -> list[int]:
    r"""Llama 3: ``<|start_header_id|>role<|end_header_id|>\n\n ... <|eot_id|>`` after ``<|begin_of_text|>``.

    As in its template, space around a message is dropped; the lines about dates and tools that later versions
    put into a system message are not written.

    Args:
      tokenizer: with these tokens among its control tokens.
      prompt: messages, or a text, which is taken for one message of a user.
      answer: text, or a list of one message.

    Raises:
      InputError: if the tokenizer lacks one of the tokens.
    """
    names = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    begin, left, right, end = _control(tokenizer, "Llama 3", *names)
    if answer is not None:
        return [*tokenizer.encode(_said(answer).strip(), False), end]
    ids = [begin]
    for message in _messages(prompt):
        ids += [left, *tokenizer.encode(message["role"], False), right]
        ids += [*tokenizer.encode("\n\n" + message["content"].strip(), False), end]
    return [*ids, left, *tokenizer.encode("assistant", False), right, *tokenizer.encode("\n\n", False)]


def _messages(prompt: Any) -> Sequence[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _said(answer: Any) -> str:
    return answer if isinstance(answer, str) else answer[-1]["content"]


def _control(tokenizer: Tokenizer, name: str, *tokens: str) -> list[int]:
    missing = [token for token in tokens if token not in tokenizer.control]
    if missing:
        raise InputError(
            f"the template {name} needs the token {missing[0]}, which the tokenizer ({tokenizer.name}) "
            "lacks; use the template plain, or the tokenizer of a chat model"
        )
    return [tokenizer.control[token] for token in tokens]


TEMPLATES: dict[str, Template] = {"plain": plain, "chatml": chatml, "llama3": llama3}
ENDS = {chatml: "<|im_end|>", llama3: "<|eot_id|>"}  # plain ends as the tokenizer does


def find_template(name: str, tokenizer: Tokenizer) -> Template:
    """Return a template by name; ``auto`` takes the one whose control tokens the tokenizer has, else plain.

    Args:
      name: a name in ``TEMPLATES``, or ``auto``.

    Raises:
      InputError: if the name is unknown.
    """
    if name == "auto":
        if "<|im_start|>" in tokenizer.control and "<|im_end|>" in tokenizer.control:
            return chatml
        return llama3 if "<|start_header_id|>" in tokenizer.control else plain
    if name not in TEMPLATES:
        raise InputError(unknown(name, ("auto", *TEMPLATES), "template"))
    return TEMPLATES[name]


def ending(name: str, tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer with the end token of a template, at which the model that it trains will stop.

    A base model often ends texts with another token than the one its template ends answers with.

    Args:
      name: of the template, or ``auto``.
      tokenizer: of the model; without the token it is returned as it is.

    Raises:
      InputError: if the name is unknown.
    """
    end = tokenizer.control.get(ENDS.get(find_template(name, tokenizer), ""), tokenizer.end)
    return tokenizer._replace(end=end)
