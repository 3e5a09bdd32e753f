"""Ball arithmetic contains what floats approximate and what fractions say, and refuses to guess."""

from fractions import Fraction

import bank
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx, fmpq

from nlhf import ALGORITHMS
from proofs_checks.certificates.balls import UndecidedError, UnknownPrimitiveError, balls, trace
from tabular.games import Game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

SIZE = 4
EPSILON = np.finfo(float).eps


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(256):
        yield


def game_of(advantage, log_ref, beta):
    return Game(advantage, log_ref, jnp.ones(1), beta)


def programs(name, beta, **changes):
    """One step as a function of arrays; the algorithm with the hyper-parameters of the suite's bank."""
    method = bank.make(name, beta, **changes)

    def step(state, advantage, log_ref):
        game = game_of(advantage, log_ref, jnp.asarray(beta))
        space = simplex(game)
        return method.step(jax.random.key(0), state, exact(game, space.log_prob), space)[0]

    return method, step


def problem(seed=0):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.uniform(-0.5, 0.5, (1, SIZE, SIZE)), 1)
    log_ref, start = jax.nn.log_softmax(jnp.asarray(2 * rng.normal(size=(2, 1, SIZE))))
    return jnp.asarray(upper - upper.swapaxes(-1, -2)), log_ref, start


def assert_encloses(ball_tree, float_tree, ulps):
    """Every ball meets the float widened by a number of roundings, and is much narrower than that."""
    for ball, value in zip(jax.tree.leaves(ball_tree), jax.tree.leaves(float_tree), strict=True):
        if not jnp.issubdtype(jnp.asarray(value).dtype, jnp.floating):
            np.testing.assert_array_equal(ball, value)
            continue
        value = np.asarray(value)
        assert ball.shape == value.shape
        for entry, number in zip(ball.flat, value.flat, strict=True):
            if not np.isfinite(number):
                assert entry == arb(float(number))
                continue
            allowance = ulps * EPSILON * max(1.0, abs(number))
            assert arb(float(number), allowance).overlaps(entry)
            assert float(entry.rad()) < 1e-50


SETTINGS = [(name, {}) for name in ALGORITHMS] + [("nash_md", {"step_size": None})]


@pytest.mark.parametrize(("name", "changes"), SETTINGS)
def test_three_steps_of_every_algorithm_enclose_the_floats(name, changes):
    method, step = programs(name, 0.3, **changes)
    advantage, log_ref, start = problem()
    state = ball_state = method.init(start)
    program = trace(step, state, advantage, log_ref)
    for _ in range(3):
        state = jax.jit(step)(state, advantage, log_ref)
        ball_state = program(ball_state, advantage, log_ref)
    assert_encloses(ball_state, state, 400)
    assert np.abs(np.asarray(state.policy - start)).max() > 1e-3, "a step that moves nothing tests nothing"


@pytest.mark.parametrize("name", ["egpo", "omwu", "nash_md"])
def test_an_excluded_action_stays_excluded(name):
    method, step = programs(name, 0.5)
    advantage, log_ref, _ = problem()
    log_ref = jax.nn.log_softmax(log_ref.at[0, 1].set(-jnp.inf))
    state = method.init(log_ref)
    result = trace(step, state, advantage, log_ref)(state, advantage, log_ref)
    assert_encloses(result, step(state, advantage, log_ref), 400)
    assert result.policy[0, 1] == arb.neg_inf()


def test_a_rational_program_contains_its_exact_result():
    def program(matrix, x, y):
        product = matrix @ x
        return (product * y - x) / (1 + y**2) + jnp.sum(matrix, axis=0).max() * y**3

    rng = np.random.default_rng(1)
    matrix, x, y = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
    result = trace(program, *(jnp.asarray(entry) for entry in (matrix, x, y)))(matrix, x, y)

    exactly = np.frompyfunc(Fraction, 1, 1)
    m, u, v = exactly(matrix), exactly(x), exactly(y)
    truth = (m @ u * v - u) / (1 + v**2) + max(m.sum(0)) * v**3
    for entry, value in zip(result, truth, strict=True):
        assert entry.contains(fmpq(value.numerator, value.denominator))
        assert float(entry.rad()) < 1e-60
        # the same entries in floats are off by more than the balls' radius: containment says something
        assert not entry.contains(arb(float(value)))


ELEMENTARY = [
    *(jnp.exp, jnp.expm1, jnp.log1p, jnp.tanh, jnp.arcsinh, jnp.abs, jnp.square, jnp.exp2, jnp.negative),
    *(jax.nn.log_sigmoid, jax.nn.sigmoid, jax.nn.softplus, jax.nn.relu, jax.nn.softmax),
    *(jnp.min, jnp.max, jnp.sum, jnp.var, jax.lax.stop_gradient),
    *(lambda x: jnp.log(x + 2), lambda x: jnp.sqrt(x + 2), lambda x: jax.lax.rsqrt(x + 2)),
    *(lambda x: (x + 2) ** x, lambda x: (x + 2) ** -2, lambda x: (x + 2) ** 0.5),
    *(lambda x: jnp.concatenate([x, x[1:]]), lambda x: jnp.stack([x, 2 * x], 1).T.reshape(-1)),
    *(lambda x: jnp.minimum(x, 0.1), lambda x: jnp.clip(x, -0.2, 0.3), lambda x: x[::2]),
    *(lambda x: jnp.where((x > 0) & (x < 0.5), x, -x), lambda x: jnp.where(~(x <= 0) | (x != 3), 1.0, x)),
    *(lambda x: x > 0.1, lambda x: jnp.isfinite(x), lambda x: jnp.isneginf(x), lambda x: x == x[0]),
    *(lambda x: jnp.arange(3).astype(float) * x[:3], lambda x: jnp.eye(4) @ x, lambda x: jnp.outer(x, x)),
    *(lambda x: jnp.einsum("xab,xb->xa", jnp.ones((2, 3, 4)), jnp.stack([x, -x])), jnp.linalg.norm),
    lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y + i.astype(float) * x, x),
    lambda x: jax.lax.while_loop(lambda y: y.sum() < 3, lambda y: y * y + 1, x),
    lambda x: jax.lax.scan(lambda c, row: (c + row, c * row), x[0], x, reverse=True),
    lambda x: jax.lax.cond(x[0] > 0, jnp.exp, jnp.negative, x),
]


@pytest.mark.parametrize("index", range(len(ELEMENTARY)))
def test_every_operation_encloses_its_float(index):
    function, point = ELEMENTARY[index], jnp.asarray([0.25, -0.7, 0.4, 1.3])
    assert_encloses(trace(function, point)(np.asarray(point)), function(point), 16)


def wide(middle, radius):
    return np.array([arb(middle, radius)], object)


@pytest.mark.parametrize(
    "compare", [jnp.less, jnp.less_equal, jnp.greater, jnp.greater_equal, jnp.equal, jnp.not_equal]
)
def test_a_comparison_of_overlapping_balls_is_not_guessed(compare):
    program = trace(compare, jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(UndecidedError, match="undecided"):
        program(wide(1, 0.1), wide(1.05, 0.1))
    with pytest.raises(UndecidedError, match="undecided"):
        program(balls([np.nan]), wide(1, 0.1))
    apart = program(wide(1, 0.1), wide(2, 0.1))
    assert apart[0] == bool(compare(1.0, 2.0))


def test_an_undecided_selection_is_the_hull_of_its_cases():
    program = trace(lambda x: jnp.where(x > 0, x + 1, x - 1), jnp.zeros(1))
    (hull,) = program(wide(0, 0.125))
    assert hull.contains(arb(-1, 0.125))
    assert hull.contains(arb(1, 0.125))
    (positive,) = program(wide(1, 0.125))
    assert positive.overlaps(arb(2))
    assert not positive.overlaps(arb(0))


def test_what_is_decided_whatever_the_undecided_is_decided():
    program = trace(lambda x: (x > 0) & (x > 5), jnp.zeros(1))
    assert not program(wide(0, 0.1))[0]
    with pytest.raises(UndecidedError):
        program(wide(5, 0.1))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jax.lax.while_loop(lambda y: y[0] < 1, lambda y: y + 1, x),
        lambda x: jax.lax.cond(x[0] < 1, jnp.exp, jnp.negative, x),
        lambda x: (x < 1).astype(float),
        lambda x: jnp.argmax(x < 1),
    ],
)
def test_a_branch_on_an_undecided_comparison_is_refused(function):
    program = trace(function, jnp.zeros(1))
    with pytest.raises(UndecidedError, match="precision"):
        program(wide(1, 0.1))


def test_a_primitive_without_a_rule_is_named():
    with pytest.raises(UnknownPrimitiveError, match="'sin'"):
        trace(jnp.sin, 1.0)(1.0)
    with pytest.raises(UnknownPrimitiveError, match="int"):
        trace(lambda x: x.astype(int), jnp.zeros(1))(np.ones(1))


def test_arguments_of_another_structure_are_refused():
    with pytest.raises(TypeError, match="takes"):
        trace(lambda pair: pair[0] + pair[1], (1.0, 2.0))(1.0)


def test_more_bits_make_narrower_balls():
    program = trace(lambda x: jnp.exp(x) / 3, jnp.zeros(1))
    radii = []
    for bits in (53, 256, 1024):
        with ctx.workprec(bits):
            radii.append(float(program(np.ones(1))[0].rad()))
    assert radii[0] > 1e-18
    assert radii[1] < 1e-70
    assert radii[2] < 1e-300


def test_a_wrong_rule_is_noticed():
    """The comparison with floats is sharp enough to see the last digits go wrong."""
    right = trace(lambda x: jnp.exp(x), jnp.zeros(1))(np.ones(1))
    with pytest.raises(AssertionError):
        assert_encloses(right * (1 + arb(2) ** -40), jnp.exp(jnp.ones(1)), 16)
