import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.judges import protocol
from nlhf.transformer.judges.protocol import JudgeError
from nlhf.transformer.judges.service import from_function
from nlhf.transformer.responses import Responses
from nlhf.transformer.tokens.tokenizer import byte_tokenizer

DECODE = byte_tokenizer().decode
TEXTS = [["a", "bb", "ccc", "a"], ["dd", "e", "ffff", "gg"]]


def responses(rows, width=5):
    tokens = np.full((len(rows), len(rows[0]), width), -1, np.int32)
    for index in np.ndindex(tokens.shape[:2]):
        ids = rows[index[0]][index[1]].encode()
        tokens[index][: len(ids)] = list(ids)
    prompt = np.broadcast_to(np.array([-1, *b"hi"], np.int32), (*tokens.shape[:2], 3))
    return Responses(jnp.asarray(prompt), jnp.asarray(tokens), jnp.zeros(tokens.shape[:2], jnp.float32))


BATCH = responses(TEXTS)


class Longer:
    """Prefers the longer text, leans to what stands first, and remembers what it was asked."""

    def __init__(self, lean=0.0):
        self.calls, self.lean = [], lean

    def __call__(self, pairs):
        self.calls.append(pairs)
        assert all(pair.prompt == "hi" for pair in pairs)
        return [min(1, 0.5 + self.lean + 0.1 * (len(p.first) - len(p.second))) for p in pairs]

    def asked(self):
        return [pair for call in self.calls for pair in call]


def wanted(rows):
    lengths = np.array([[len(text) for text in row] for row in rows])
    return 0.5 + 0.1 * (lengths[:, :, None] - lengths[:, None])


def quick(function, **settings):
    return from_function(function, DECODE, **{"backoff": 0.0, "timeout": 5.0, **settings})


@pytest.mark.parametrize("swap", [False, True])
def test_texts_reach_the_function_and_its_answers_come_back(swap):
    function = Longer()
    found = protocol.preferences(quick(function, batch=4, position_swap=swap), BATCH)
    np.testing.assert_allclose(found, wanted(TEXTS), atol=1e-6)
    # 12 pairs; of them a, a is one text, and a, bb and a, ccc come twice
    distinct = 12 - 1 - 2
    assert len(function.asked()) == len(set(function.asked())) == distinct * (2 if swap else 1)
    assert max(map(len, function.calls)) <= 4


def test_a_lean_to_a_position_is_averaged_away_or_favours_no_side():
    first, second = (
        jax.tree.map(lambda leaf: leaf[:, 0], responses(rows))
        for rows in ([[f"{i:03d}"] for i in range(300)], [[f"{i:03d}"] for i in range(300, 600)])
    )
    leaning = protocol.duel_preference(quick(Longer(0.3)), first, second)
    np.testing.assert_allclose(np.unique(leaning), [0.2, 0.8], rtol=1e-6)
    assert abs(np.mean(leaning) - 0.5) < 0.06  # by hash, 300 fair coins: 3.5 standard errors of 0.0173
    back = protocol.duel_preference(quick(Longer(0.3)), second, first)
    np.testing.assert_array_equal(np.asarray(leaning) + np.asarray(back), 1)
    swapped = protocol.duel_preference(quick(Longer(0.3), position_swap=True), first, second)
    np.testing.assert_allclose(swapped, 0.5, atol=1e-7)


def test_nothing_is_asked_twice_not_even_by_another_run(tmp_path):
    path = tmp_path / "answers.jsonl"
    for run in range(2):
        function = Longer()
        judge = quick(function, cache=path, name="longer")
        found = [protocol.preferences(judge, BATCH) for _ in range(2)]
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0], wanted(TEXTS), atol=1e-6)
        assert len(function.asked()) == (0 if run else 9)
    other = Longer()
    protocol.preferences(quick(other, cache=path, name="another judge"), BATCH)
    assert len(other.asked()) == 9


def test_a_compiled_step_may_hold_a_service():
    judge = quick(Longer())
    compiled = jax.jit(protocol.preferences)
    np.testing.assert_allclose(compiled(judge, BATCH), wanted(TEXTS), atol=1e-6)


class Flaky(Longer):
    def __init__(self, failures):
        super().__init__()
        self.failures = list(failures)

    def __call__(self, pairs):
        answer = super().__call__(pairs)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        return answer if failure is None else failure(answer)


def slow(answer):
    time.sleep(1.0)
    return answer


BUSY = {
    "raises": (
        ConnectionError("refused"),
        r"Flaky raises ConnectionError \(refused\) at .*test_service\.py:\d+",
    ),
    "slow": (slow, "Flaky gives no answer within 0.2 s"),
}
WRONG = {
    "nan": (lambda a: [*a[:-1], float("nan")], r"Flaky gives nan for row \d+, which is no prob"),
    "range": (lambda a: [1.5, *a[1:]], "Flaky gives 1.5 for row 0"),
    "count": (lambda a: a[1:], r"Flaky gives 8 answers .* to 9 pairs"),
    "shape": (lambda a: [[value] for value in a], r"shape \[9, 1\]\) to 9 pairs"),
    "words": (lambda a: ["first"] * len(a), r"Flaky gives .*first.* not numbers"),
    "none": (lambda a: None, "Flaky gives"),
    "ragged": (lambda a: [[1, 2], [1]], "not numbers"),
    "type": (TypeError("no number"), r"Flaky raises TypeError \(no number\)"),
    "key": (KeyError("choices"), r"Flaky raises KeyError \('choices'\)"),
}


@pytest.mark.parametrize("name", BUSY)
def test_a_failure_is_tried_again_and_then_named(name):
    failure, message = BUSY[name]
    recovers = Flaky([failure] * 2)
    found = protocol.preferences(quick(recovers, retries=2, timeout=0.2), BATCH)
    np.testing.assert_allclose(found, wanted(TEXTS), atol=1e-6)
    assert len(recovers.calls) == 3
    fails = Flaky([failure] * 9)
    with pytest.raises(JudgeError, match=message + r".*asked 2 times \(rows 0 to \d+\); fix it") as caught:
        protocol.preferences(quick(fails, retries=1, timeout=0.2), BATCH)
    assert len(fails.calls) == 2
    assert "are kept" not in str(caught.value)  # there is no file


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_at_once_with_its_place(name, tmp_path):
    failure, message = WRONG[name]
    fails = Flaky([failure])
    kept = tmp_path / "answers.jsonl"
    rest = r".* at .*test_service\.py:\d+ .*fix it and start again: a list of \(prompt, first, second\).*"
    with pytest.raises(InputError, match=f"{message}{rest}answers so far are kept in {kept}"):
        protocol.preferences(quick(fails, cache=kept), BATCH)
    assert len(fails.calls) == 1


def test_a_function_of_other_arguments_is_named_with_its_definition():
    def takes_three(prompt, first, second):
        return 0.5

    line = takes_three.__code__.co_firstlineno
    with pytest.raises(InputError, match=rf"missing 2 required .* at .*test_service\.py:{line} "):
        protocol.preferences(quick(takes_three), BATCH)


def test_what_was_answered_before_a_failure_is_kept(tmp_path):
    path = tmp_path / "answers.jsonl"
    fails = Flaky([lambda answer: answer, ConnectionError()])
    with pytest.raises(JudgeError):
        protocol.preferences(quick(fails, retries=0, batch=4, cache=path, name="longer"), BATCH)
    rest = Longer()
    protocol.preferences(quick(rest, cache=path, name="longer"), BATCH)
    assert len(rest.asked()) == 9 - 4


def test_a_rule_of_the_users_own_ends_the_run_at_once():
    fails = Flaky([InputError("the key is not set; export JUDGE_KEY")])
    with pytest.raises(InputError, match=r"^the key is not set"):
        protocol.preferences(quick(fails), BATCH)
    assert len(fails.calls) == 1


def test_retries_wait_longer_each_time():
    start = time.monotonic()
    protocol.preferences(quick(Flaky([ConnectionError()] * 2), retries=2, backoff=0.1), BATCH)
    assert time.monotonic() - start >= 0.1 + 0.2


def test_a_call_that_hangs_does_not_keep_the_process():
    hang = threading.Event()
    with pytest.raises(JudgeError, match="no answer"):
        protocol.preferences(quick(lambda pairs: hang.wait(), retries=0, timeout=0.05), BATCH)
    left = [thread for thread in threading.enumerate() if thread.name.startswith("judge ")]
    assert left
    assert all(thread.daemon for thread in left)
    hang.set()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"backoff": -1}, "backoff is -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        quick(Longer(), **settings)


def test_what_is_no_function_is_refused():
    with pytest.raises(InputError, match="must be callable"):
        quick("longer")
