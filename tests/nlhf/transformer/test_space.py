"""The space of language models: settings, where a run begins, minibatches of a fit, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_language as tiny
from jax.tree_util import Partial

from nlhf import losses
from nlhf.base import Calibration, Comparisons, Feedback
from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.targets import explicit
from nlhf.transformer.model.lora import lora
from nlhf.transformer.policy import REFERENCE, LanguageModel
from nlhf.transformer.responses import Responses, check_prompts, check_responses
from nlhf.transformer.space import _drawn, start, transformer_space

LENGTH = 2
CONFIG = tiny.config(LENGTH)
BASE = tiny.parameters(CONFIG, 1)
MODEL = LanguageModel(BASE, CONFIG)
DESCENT = optax.sgd(0.1)
SPACE = transformer_space(MODEL, DESCENT)
ALL = tiny.responses(LENGTH, (0, 2))
TARGET = Partial(explicit, step_size=0.5, beta=0.3)
LOSS = Partial(losses.logistic, beta=0.5)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def trained(seed=2):
    params = tiny.parameters(CONFIG, seed)
    return Trained(params, DESCENT.init(params))


def rows(first, second, label, weight):
    one = jax.tree.map(lambda leaf: leaf[0], ALL)
    first, second = (jax.tree.map(lambda leaf, at=at: leaf[jnp.asarray(at)], one) for at in (first, second))
    return Comparisons(jnp.zeros(len(label), int), first, second, jnp.asarray(label), jnp.asarray(weight))


def test_a_run_begins_at_a_copy_of_the_reference():
    begun = start(MODEL, DESCENT)
    for own, base in zip(jax.tree.leaves(begun.parameters), jax.tree.leaves(BASE), strict=True):
        np.testing.assert_array_equal(own, base)
        assert own is not base
        own.delete()  # as a step that was given the state's memory would
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(BASE))


def test_adapters_begin_with_a_key():
    adapted = LanguageModel(BASE, CONFIG, lora(2))
    with pytest.raises(InputError, match=r"no key; give start\(\.\.\., key="):
        start(adapted, DESCENT)
    begun = start(adapted, DESCENT, KEY)
    assert set(begun.parameters) == {"qkv", "out", "gate_up", "down"}


def test_rows_without_weight_count_for_nothing_even_where_they_are_no_language():
    whole = rows([0, 3, 8, 1], [5, 2, 7, 4], [0.2, 0.9, 0.5, 0.7], [1.0, 2.0, 0.5, 0.0])
    nonsense = whole._replace(
        first=whole.first._replace(tokens=whole.first.tokens.at[3].set(99)),
        prefer_first=whole.prefer_first.at[3].set(jnp.nan),
    )
    first, second = (SPACE.fit(KEY, trained(), LOSS, part) for part in (whole, nonsense))
    for one, two in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert np.isfinite(two).all()
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)
    assert tiny.relative_error(first.parameters, trained().parameters) > 1e-4


def test_minibatches_draw_rows_in_proportion_to_their_weight():
    weight = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    comparisons = rows([0, 1, 2, 3, 4], [5, 6, 7, 8, 0], [0.0, 0.1, 0.2, 0.3, 0.4], weight)
    assert _drawn(KEY, comparisons, None) is comparisons
    assert _drawn(KEY, comparisons, 5) is comparisons
    keys = jax.random.split(KEY, 2000)
    drawn = jax.jit(jax.vmap(lambda key: _drawn(key, comparisons, 3)))(keys)
    labels = np.asarray(drawn.prefer_first).ravel()
    assert set(labels) == {0.1, 0.3}
    assert abs((labels == 0.1).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 6000)
    np.testing.assert_array_equal(drawn.weight, 1.0)
    empty = comparisons._replace(weight=jnp.zeros(5))
    np.testing.assert_array_equal(_drawn(KEY, empty, 3).weight, 0.0)
    # a row stays whole
    np.testing.assert_array_equal(
        np.asarray(drawn.first.tokens)[..., 1].ravel(), np.where(labels == 0.1, 1, 0)
    )


@pytest.mark.slow
def test_a_minibatch_keeps_the_share_of_the_calibration_term():
    """Its weight is divided by that of the whole memory, however many rows an update draws."""
    comparisons = rows([1] * 6, [1] * 6, [0.5] * 6, [2.0] * 6)  # a response against itself: no gradient
    moves = []
    for num in (None, 3):
        space = transformer_space(MODEL, optax.sgd(1.0), fit_rows=num)
        calibration = Calibration(REFERENCE, jnp.asarray(0.8))
        keys = jax.random.split(KEY, 200)
        params = tiny.parameters(CONFIG, 2)
        policy = Trained(params, optax.sgd(1.0).init(params))

        @jax.jit
        def average(space=space, policy=policy, calibration=calibration, keys=keys):
            fits = jax.lax.map(lambda key: space.fit(key, policy, LOSS, comparisons, calibration), keys)
            return jax.tree.map(lambda leaf: leaf.mean(0), fits.parameters)

        moves.append(tiny.flat(tiny.movement(params, average())))
    world = tiny.World(CONFIG, LENGTH)
    ref = np.exp(np.asarray(world.table(BASE)[0]))
    exact = tiny.flat(
        world.gradient(lambda tokens: 0.8 / 12 * ref @ tokens.sum(-1)[0], tiny.parameters(CONFIG, 2))
    )
    for move in moves:  # Monte Carlo over draws: 1200 and 600 of them
        assert np.linalg.norm(move - exact) / np.linalg.norm(exact) < 0.2
    assert np.linalg.norm(exact) > 1e-2


@pytest.mark.parametrize("num", [None, 2])
def test_a_memory_without_weight_moves_nothing(num):
    space = transformer_space(MODEL, DESCENT, fit_rows=num)
    comparisons = rows([0, 1, 2], [3, 4, 5], [0.2, 0.9, 0.5], [0.0, 0.0, 0.0])
    begun = trained()
    moved = space.fit(KEY, begun, LOSS, comparisons, Calibration(REFERENCE, jnp.asarray(0.8)))
    for one, two in zip(jax.tree.leaves(begun.parameters), jax.tree.leaves(moved.parameters), strict=True):
        np.testing.assert_array_equal(one, two)


def test_slices_that_do_not_divide_the_batch_are_refused():
    space = transformer_space(MODEL, DESCENT, rows=3)
    four = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), ALL)
    with pytest.raises(InputError, match="slices of 3 rows do not divide a batch of 4; give one of 1, 2, 4"):
        space.project(trained(), TARGET, Feedback(four, jnp.zeros((4, 9))))
    comparisons = rows([0] * 4, [1] * 4, [0.5] * 4, [1.0] * 4)
    with pytest.raises(InputError, match="slices of 3 rows do not divide a batch of 4; give one of 1, 2, 4"):
        space.fit(KEY, trained(), LOSS, comparisons)


def test_what_moves_of_a_mixture_is_its_first_policy():
    policy = Mixture(REFERENCE, trained(), 0.5)
    feedback = Feedback(ALL, jnp.zeros((2, 9)))
    for wrong in (REFERENCE, policy):
        with pytest.raises(InputError, match="is the reference, which stays"):
            SPACE.project(wrong, TARGET, feedback)
    with pytest.raises(InputError, match="is the reference, which stays"):
        SPACE.fit(KEY, REFERENCE, LOSS, rows([0], [1], [0.5], [1.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "pairs"}, "form is 'pairs', but it must be one of uniform, on_policy"),
        ({"mixture": "word"}, "mixture is 'word', but it must be one of sequence, token"),
        ({"num_updates": 0}, "num_updates is 0"),
        ({"rows": 0}, "rows is 0"),
        ({"fit_rows": 1.5}, "fit_rows is 1.5"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        transformer_space(MODEL, DESCENT, **settings)


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        (None, "the responses are NoneType"),
        (jnp.zeros((2, 3), int), "takes Responses of"),
        (jax.tree.map(lambda leaf: leaf[0], ALL), r"Responses \[9, 2\], but this space takes"),
        (Responses(ALL.prompt, jnp.zeros((2, 9, 9), jnp.int32), ALL.log_prob), "the model's context is 3"),
    ],
)
def test_responses_of_another_kind_are_refused(responses, message):
    with pytest.raises(InputError, match=message):
        SPACE.project(trained(), TARGET, Feedback(responses, jnp.zeros((2, 9))))


BAD = [
    (ALL._replace(prompt=ALL.prompt.at[1, 0, 0].set(99)), "a prompt holds token id 99"),
    (ALL._replace(prompt=ALL.prompt.at[1, 0, 0].set(-1)), "a prompt is empty or not left-padded"),
    (ALL._replace(tokens=ALL.tokens.at[0, 1, 1].set(3)), "a response holds token id 3"),
    (ALL._replace(tokens=ALL.tokens.at[0, 1, 0].set(-1)), "a response has padding before a token"),
]


@pytest.mark.parametrize(("responses", "message"), BAD)
def test_what_is_no_language_of_the_model_is_refused_where_it_has_values(responses, message):
    feedback, weight = Feedback(responses, jnp.zeros((2, 9))), jnp.ones(18)
    # the bad row on either side
    bad, good = (
        jax.tree.map(lambda leaf: leaf.reshape(18, *leaf.shape[2:]), side) for side in (responses, ALL)
    )
    labels = jnp.full(18, 0.5)
    calls = [
        lambda: SPACE.log_prob(trained(), responses),
        lambda: SPACE.project(trained(), TARGET, feedback),
        lambda: SPACE.fit(KEY, trained(), LOSS, Comparisons(weight, bad, good, labels, weight)),
        lambda: SPACE.fit(KEY, trained(), LOSS, Comparisons(weight, good, bad, labels, weight)),
    ]
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()
    assert jax.jit(SPACE.log_prob)(trained(), responses).shape == (2, 9)  # traced: nothing to see


def test_comparisons_of_traced_weight_are_not_judged_by_what_may_not_count():
    comparisons = rows([0, 1], [2, 3], [0.5, 0.5], [1.0, 0.0])
    nonsense = comparisons._replace(
        first=comparisons.first._replace(tokens=comparisons.first.tokens.at[1].set(99))
    )
    fit = jax.jit(lambda weight: SPACE.fit(KEY, trained(), LOSS, nonsense._replace(weight=weight)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fit(comparisons.weight).parameters))


class Elsewhere:
    """An array of several processes, of which this one cannot read all."""

    shape, ndim, is_fully_addressable = (1, 1), 2, False

    def __array__(self, *_, **__):
        raise RuntimeError("spans non-addressable devices")


def test_what_lies_in_several_processes_is_judged_by_its_shape():
    check_prompts(Elsewhere(), 2, 3, 3)
    responses = Responses(Elsewhere(), Elsewhere(), jnp.zeros(1))
    assert check_responses(responses, 3, 2) is responses
    with pytest.raises(InputError, match="the model's context is 1"):
        check_responses(responses, 3, 1)


def test_a_table_of_all_responses_is_refused():
    with pytest.raises(InputError, match="no table of all responses"):
        SPACE.log_prob(trained())
