import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf.errors import InputError
from nlhf.transformer.judges import protocol
from nlhf.transformer.judges.protocol import Judge, JudgeError
from nlhf.transformer.responses import Responses


def responses(tokens):
    tokens = jnp.asarray(tokens, jnp.int32)
    return Responses(
        jnp.zeros((*tokens.shape[:-1], 1), jnp.int32), tokens, jnp.zeros(tokens.shape[:-1], "f4")
    )


def first_token(given):
    return given.tokens[:, 0].astype(jnp.float32)


def lean(first, second):
    """Favours what stands first: P(y, y') + P(y', y) is not 1."""
    return 0.4 + 0.5 * jax.nn.sigmoid(first - second)


BIASED = Judge(Partial(first_token), Partial(lean))
BATCH = responses(np.arange(24).reshape(2, 4, 3) % 7)


@pytest.mark.parametrize("judge", [BIASED, protocol.symmetric(BIASED)], ids=["biased", "symmetric"])
def test_a_table_of_preferences_is_complementary_to_the_last_bit(judge):
    table = np.asarray(protocol.preferences(judge, BATCH))
    assert table.shape == (2, 4, 4)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table + table.swapaxes(1, 2), 1)
    np.testing.assert_array_equal(np.diagonal(table, axis1=1, axis2=2), 0.5)


def test_entry_k_l_of_a_table_is_the_duel_of_k_and_l():
    judge = protocol.symmetric(BIASED)
    table = protocol.preferences(judge, BATCH)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), BATCH)
    for k, other in ((0, 1), (3, 1), (2, 2)):
        one, two = (jax.tree.map(lambda leaf, i=i: leaf[np.array([i, 4 + i])], flat) for i in (k, other))
        np.testing.assert_allclose(table[:, k, other], protocol.duel_preference(judge, one, two), rtol=1e-6)


def test_each_response_is_described_once_and_each_pair_asked_once():
    seen = []

    def describe(given):
        seen.append(given.tokens.shape[0])
        return given.tokens

    def compare(first, second):
        seen.append(first.shape[0])
        return jnp.full(first.shape[0], 0.5, jnp.float32)

    protocol.preferences(Judge(describe, compare), BATCH)
    assert seen == [2 * 4, 2 * 6]


def test_symmetric_removes_the_lean_and_keeps_the_rest():
    given = responses([[3], [1], [2]])
    other = responses([[3], [5], [0]])
    plain = protocol.duel_preference(BIASED, given, other)
    judge = protocol.symmetric(BIASED)
    forth, back = (
        np.asarray(protocol.duel_preference(judge, *sides)) for sides in ((given, other), (other, given))
    )
    assert np.asarray(plain)[0] == pytest.approx(0.65)  # the control: a response against itself is not 1/2
    assert forth[0] == 0.5
    np.testing.assert_array_equal(forth + back, 1)
    wanted = (plain + 1 - protocol.duel_preference(BIASED, other, given)) / 2
    np.testing.assert_allclose(forth, wanted, rtol=1e-6)


def test_margins_and_logits_of_opposite_sign_are_complementary_to_the_last_bit():
    grid = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    grid[:3] = 0, 1, -1
    for function, scale, reference in (
        (protocol.from_margin, 1, lambda m: (1 + m) / 2),
        (protocol.from_logit, 30, lambda x: 1 / (1 + np.exp(-x))),
    ):
        forth, back = (np.asarray(function(jnp.asarray(sign * scale * grid))) for sign in (1, -1))
        np.testing.assert_array_equal(forth + back, np.float32(1))
        np.testing.assert_allclose(forth, reference(np.float64(scale) * grid), rtol=1e-6, atol=1e-7)
    naive = np.asarray(jax.nn.sigmoid(jnp.asarray(30 * grid))) + np.asarray(jax.nn.sigmoid(-30 * grid))
    assert (naive != 1).any()  # the control: the plain formula is not


def test_one_response_to_a_prompt_is_compared_with_nothing():
    table = protocol.preferences(BIASED, responses(np.zeros((3, 1, 2))))
    np.testing.assert_array_equal(table, np.full((3, 1, 1), 0.5))


def halves(tokens):
    assert isinstance(tokens, np.ndarray)
    return tokens[:, 0] / 8


def host_describe(given):
    return protocol.host(halves, jax.ShapeDtypeStruct(given.tokens.shape[:1], jnp.float32), given.tokens)


HOST = Judge(Partial(host_describe), Partial(lean))


def test_host_code_gives_the_same_traced_and_not():
    direct = protocol.preferences(HOST, BATCH)
    assert isinstance(HOST.describe(responses([[1]])), np.ndarray)
    np.testing.assert_allclose(direct, jax.jit(protocol.preferences)(HOST, BATCH), rtol=1e-6)


def test_a_large_batch_passes_through_a_callback():
    tokens = jnp.ones((2000, 600), jnp.int32)
    answer = jax.jit(lambda t: host_describe(responses(t + 1)) * 2)(tokens)
    np.testing.assert_array_equal(answer, 0.5)


def raises(tokens):
    raise InputError(f"value {tokens[0, 0]} is wrong; correct it")


def stops(tokens):
    raise JudgeError("the service is gone")


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [(raises, InputError, "^value 3 is wrong; correct it$"), (stops, JudgeError, "^the service is gone$")],
)
@pytest.mark.parametrize("traced", [False, True])
def test_an_error_of_host_code_is_the_same_traced_and_not(function, kind, message, traced):
    def call(tokens):
        return protocol.host(function, jax.ShapeDtypeStruct((2,), jnp.float32), tokens)

    with pytest.raises(kind, match=message), protocol.plain_errors():
        jax.block_until_ready((jax.jit(call) if traced else call)(jnp.full((2, 1), 3, jnp.int32)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.5], r"shape \(1,\), but \(2,\) was asked for"),
        ([[0.5, 0.5]], r"shape \(1, 2\)"),
        (["yes", "no"], "must give numbers"),
        (None, "must give numbers|shape"),
    ],
)
def test_host_code_that_gives_another_shape_is_refused(answer, message):
    with pytest.raises(InputError, match=message):
        protocol.host(lambda: answer, jax.ShapeDtypeStruct((2,), jnp.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_a_preference_that_is_none_is_refused_with_its_place(value):
    with pytest.raises(InputError, match=rf"service gives {value:g} for pair 1, but .* \[0, 1\]"):
        protocol.check_preference(jnp.asarray([0.5, value], jnp.float32), "service")
    judge = Judge(Partial(first_token), lambda first, second: jnp.full(first.shape, value, jnp.float32))
    with pytest.raises(InputError, match="the judge gives"):
        protocol.preferences(judge, BATCH)
    with pytest.raises(InputError, match="the judge gives"):
        protocol.duel_preference(judge, responses([[1]]), responses([[2]]))


def test_traced_preferences_pass_unchecked():
    assert jax.jit(protocol.check_preference)(jnp.asarray([2.0]))[0] == 2


def test_other_errors_of_the_runtime_stay_as_they_are():
    def call():
        return jax.pure_callback(lambda: 1 // 0, jax.ShapeDtypeStruct((), jnp.float32))

    with pytest.raises(jax.errors.JaxRuntimeError, match="ZeroDivisionError"), protocol.plain_errors():
        jax.block_until_ready(jax.jit(call)())


def two_processes(kind):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    script = pathlib.Path(__file__).parents[3] / "judging_process.py"
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), port, kind],
            cwd=script.parents[1],
            env={**os.environ, "PYTHONPATH": str(script.parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    lines = [one.communicate(timeout=300)[0].splitlines() for one in started]
    # Gloo writes to the same stream, sometimes behind our line before it ends
    decode = json.JSONDecoder().raw_decode
    return [decode(next(line for line in said if line.startswith("{")))[0] for said in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["population", "service", "failing"])
def test_two_processes_get_one_answer_and_a_service_is_asked_once(kind):
    first, second = two_processes(kind)
    assert second["asked"] == 0
    assert first["asked"] == (0 if kind == "population" else 4 * 3)
    assert all("call the judge outside jax.jit" in one["traced"] for one in (first, second))
    if kind == "failing":
        assert first["direct"].startswith("JudgeError: the judge function raises ConnectionError (gone)")
        assert second["direct"].startswith("JudgeError: function failed in process 0")
    else:
        assert np.shape(first["direct"]) == (4, 3, 3)
        assert first["direct"] == second["direct"]
        assert np.std(first["direct"]) > 0
