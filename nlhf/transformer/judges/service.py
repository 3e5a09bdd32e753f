"""A judge behind a Python function on pairs of texts: a language model, a service, a person.

It is asked in batches, within a time limit, again where it fails, and never twice the same.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf.base import Static, check_number, check_whole
from nlhf.errors import InputError
from nlhf.transformer.judges.cache import Cache, digest
from nlhf.transformer.judges.protocol import Judge, JudgeError, host
from nlhf.transformer.judges.text import Decode, texts
from nlhf.transformer.responses import Responses

Array = jax.Array


class Pair(NamedTuple):
    """What is asked: which of two texts answers the prompt better.

    Attributes:
      prompt: text.
      first: text of one response.
      second: text of the other.
    """

    prompt: str
    first: str
    second: str


Function = Callable[[list[Pair]], Sequence[float]]
AGAIN = "fix it and start again"
SIGNATURE = (
    f"{AGAIN}: a list of (prompt, first, second) texts in, as many probabilities that first is better out"
)
# mistakes of the code, which would be made again; what a service raises when it is busy is tried again
MISTAKES = (
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    AssertionError,
    ImportError,
    NotImplementedError,
)


class _Settings(NamedTuple):
    function: Function
    name: str
    batch: int
    timeout: float
    retries: int
    backoff: float
    position_swap: bool


def from_function(
    function: Function,
    decode: Decode,
    *,
    batch: int = 32,
    timeout: float = 60.0,
    retries: int = 3,
    backoff: float = 1.0,
    position_swap: bool = False,
    cache: str | Path | None = None,
    name: str | None = None,
) -> Judge:
    """Judge by ``function(list of (prompt, first, second)) -> probabilities that the first is preferred``.

    Each pair of texts is asked for in one order, drawn by their hash, and the other order answered with
    1 - P: a preference for a position does not favour one policy, and P(y, y') + P(y', y) = 1. With
    ``position_swap`` both orders are asked and averaged. Two equal texts are 1/2 and not asked. In several
    processes the first one asks for all. Each attempt runs in a thread of its own; one that is too slow is
    left behind, since Python cannot end it.

    Args:
      function: as above. What it raises counts as a failed attempt, except for ``InputError`` and mistakes
        of its code (``TypeError``, ``KeyError`` ...), which end the run at once, as does a wrong answer.
      decode: ``decode(ids) -> str``, of the tokenizer of the responses.
      batch: most pairs a call, >= 1.
      timeout: seconds an attempt may take, > 0.
      retries: further attempts after one that failed, >= 0.
      backoff: seconds before the first retry, doubled before each further one, >= 0.
      position_swap: whether to ask both orders.
      cache: file in which answers are kept from run to run, one line each; ``None`` keeps them in memory
        only. It serves one judge: the name, not the function, tells judges apart.
      name: how messages and the cache call it; ``None`` takes the function's.

    Raises:
      InputError: if a number is out of range or the cache cannot be used; from ``compare``, if the answer
        is not one number in [0, 1] a pair, or the function has a mistake.
      JudgeError: from ``compare``, if the function raises or is too slow in all attempts.
    """
    if not callable(function):
        raise InputError(f"the judge's function is {function!r}, but it must be callable on a list of pairs")
    check_number("timeout", timeout, open_low=True)
    check_number("backoff", backoff)
    settings = _Settings(
        function=function,
        name=name or str(getattr(function, "__qualname__", type(function).__name__)),
        batch=check_whole("batch", batch),
        timeout=float(timeout),
        retries=check_whole("retries", retries, low=0),
        backoff=float(backoff),
        position_swap=bool(position_swap),
    )
    client = _Client(settings, Cache(cache))
    return Judge(Partial(_same), Partial(_compare, Static((client, decode))))


def _same(responses: Responses) -> Responses:
    return responses


def _compare(settings: Static, first: Responses, second: Responses) -> Array:
    client, decode = settings
    result = jax.ShapeDtypeStruct(first.tokens.shape[:1], jnp.float32)

    def judge(prompt: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        columns = (texts(decode, ids) for ids in (prompt, one, other))
        return client.preferences([Pair(*row) for row in zip(*columns, strict=True)])

    name = client.settings.name
    return host(judge, result, first.prompt, first.tokens, second.tokens, name=name, everywhere=False)


class _Client:
    """The function with its cache; compared by identity, so that jit takes it as structure."""

    def __init__(self, settings: _Settings, cache: Cache):
        self.settings = settings
        self.cache = cache
        self.lock = threading.Lock()  # callbacks of several devices may ask at once

    def preferences(self, pairs: list[Pair]) -> np.ndarray:
        """Return ``[N]``, P(first preferred)."""
        swapped = [pair._replace(first=pair.second, second=pair.first) for pair in pairs]
        with self.lock:
            if self.settings.position_swap:
                forth, back = np.split(self._answers([*pairs, *swapped]), 2)
                return 0.5 + 0.5 * (forth - back)
            keys = [tuple(map(self._key, both)) for both in zip(pairs, swapped, strict=True)]
            flip = np.array([forth > back for forth, back in keys], bool)
            asked = [other if turn else pair for pair, other, turn in zip(pairs, swapped, flip, strict=True)]
            answers = self._answers(asked)
        return np.where(flip, 1 - answers, answers)

    def _key(self, pair: Pair) -> str:
        return digest([self.settings.name, *pair])

    def _answers(self, pairs: list[Pair]) -> np.ndarray:
        """Answer from the cache, and ask for the rest, each text once and in the order of the rows."""
        missing: dict[str, tuple[int, Pair]] = {}
        keys = [self._key(pair) for pair in pairs]
        for row, (key, pair) in enumerate(zip(keys, pairs, strict=True)):
            if pair.first != pair.second and key not in self.cache and key not in missing:
                missing[key] = row, pair
        todo = list(missing.items())
        for start in range(0, len(todo), self.settings.batch):
            part = todo[start : start + self.settings.batch]
            values = self._ask([pair for _, (_, pair) in part], [row for _, (row, _) in part])
            self.cache.add(dict(zip((key for key, _ in part), values, strict=True)))
        return np.array(
            [
                0.5 if pair.first == pair.second else self.cache[key]
                for key, pair in zip(keys, pairs, strict=True)
            ]
        )

    def _ask(self, pairs: list[Pair], rows: list[int]) -> list[float]:
        """Ask until there is a valid answer, at most ``1 + retries`` times; a mistake ends it at once."""
        settings, failure = self.settings, ""
        for attempt in range(settings.retries + 1):
            if attempt:
                time.sleep(settings.backoff * 2 ** (attempt - 1))
            finished, answer = self._attempt(pairs)
            if isinstance(answer, InputError):
                raise answer
            if not finished:
                failure = f"gives no answer within {settings.timeout:g} s (timeout)"
            elif isinstance(answer, BaseException):
                failure = f"raises {type(answer).__name__} ({answer}) at {_place(settings.function, answer)}"
                if isinstance(answer, MISTAKES):
                    raise InputError(self._message(failure, rows, SIGNATURE)) from answer
            elif wrong := _fault(answer, rows):
                raise InputError(self._message(f"{wrong}, at {_place(settings.function)}", rows, SIGNATURE))
            else:
                return [float(value) for value in answer]
        times = f"{settings.retries + 1} time{'s' if settings.retries else ''}"
        raise JudgeError(self._message(f"{failure}, asked {times}", rows))

    def _message(self, failure: str, rows: list[int], remedy: str = AGAIN) -> str:
        path = self.cache.path
        kept = "" if path is None else f"; answers so far are kept in {path}, remove it if they are wrong"
        return f"the judge {self.settings.name} {failure} (rows {rows[0]} to {rows[-1]}); {remedy}{kept}"

    def _attempt(self, pairs: list[Pair]) -> tuple[bool, Any]:
        """Whether the function ended in time, and its answer or the exception."""
        box: queue.SimpleQueue = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put(self.settings.function(list(pairs)))
            except BaseException as error:  # whatever it is, it belongs to the thread that waits
                box.put(error)

        # a daemon: a call that hangs must not keep the process from ending
        threading.Thread(target=work, daemon=True, name=f"judge {self.settings.name}").start()
        try:
            return True, box.get(timeout=self.settings.timeout)
        except queue.Empty:
            return False, None


def _place(function: Function, error: BaseException | None = None) -> str:
    """File and line of a function, or of the line in its file where it raised, else of the error."""
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    frames = [] if error is None else traceback.extract_tb(error.__traceback__)[1:]  # the first is our call
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if frames:
        last = (own or frames)[-1]
        return f"{last.filename}:{last.lineno}"
    return "code that is not Python's" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def _fault(answer: Any, rows: list[int]) -> str:
    """What is wrong with an answer, or nothing."""
    try:
        values = np.asarray(answer, np.float64)
    except (TypeError, ValueError):
        return f"gives {str(answer)[:60]!r}, not numbers"
    if values.shape != (len(rows),):
        return f"gives {values.size} answers (shape {list(values.shape)}) to {len(rows)} pairs"
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        place = int(wrong.argmax())
        return f"gives {values[place]:g} for row {rows[place]}, which is no probability in [0, 1]"
    return ""
