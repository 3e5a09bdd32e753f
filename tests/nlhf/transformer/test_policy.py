"""Policies of a language model: mixtures token by token and as whole strings, with and without adapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny

from nlhf.errors import InputError
from nlhf.policies import Mixture, Trained
from nlhf.transformer.model import likelihood
from nlhf.transformer.model.lora import init_adapters, lora
from nlhf.transformer.model.sampler import sample
from nlhf.transformer.policy import (
    REFERENCE,
    LanguageModel,
    components,
    sequence_log_prob,
    token_log_prob,
    weights,
)

LENGTH = 3
CONFIG = tiny.config(LENGTH)
BASE = tiny.parameters(CONFIG, 1)
PLAIN = LanguageModel(BASE, CONFIG)
OWN = Trained(tiny.parameters(CONFIG, 2), ())
SETTINGS = lora(2)
ADAPTED = LanguageModel(BASE, CONFIG, SETTINGS)


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


def adapters():
    """As after training: the second factors are not zero."""
    rng = np.random.default_rng(0)
    fresh = init_adapters(jax.random.key(1), BASE, SETTINGS)
    return Trained(
        jax.tree.map(lambda leaf: leaf + 0.5 * jnp.asarray(rng.standard_normal(leaf.shape)), fresh), ()
    )


CASES = pytest.mark.parametrize(
    ("model", "policy"),
    [pytest.param(PLAIN, OWN, marks=pytest.mark.slow), (ADAPTED, adapters())],
    ids=["parameters", "adapters"],
)
TOKENS = jax.jit(token_log_prob)
WHOLE = jax.jit(sequence_log_prob)
RESPONSES = tiny.responses(LENGTH, (0, 1))


def draw(model, policy):
    prompt = jnp.array([[0], [2]], jnp.int32)
    return sample(
        jax.random.key(3), components(model, policy), CONFIG, prompt, num_responses=4, length=LENGTH
    )


@CASES
def test_a_mixture_of_coefficient_one_is_exactly_the_reference(model, policy):
    """Log-probabilities of tokens and of strings; at coefficient 0, those of the policy."""
    for weight, end in ((1.0, REFERENCE), (0.0, policy)):
        mixture = Mixture(policy, REFERENCE, jnp.asarray(weight))
        expected = TOKENS(model, end, RESPONSES)
        np.testing.assert_allclose(TOKENS(model, mixture, RESPONSES), expected, rtol=0, atol=1e-15)
        np.testing.assert_allclose(WHOLE(model, mixture, RESPONSES), expected.sum(-1), rtol=0, atol=1e-15)
    # control: the policy is another one, so a mixture with itself would have been noticed
    assert np.abs(TOKENS(model, policy, RESPONSES) - TOKENS(model, REFERENCE, RESPONSES)).max() > 0.1


@pytest.mark.slow
@CASES
def test_a_mixture_of_coefficient_one_draws_what_the_reference_draws(model, policy):
    for weight, end in ((1.0, REFERENCE), (0.0, policy)):
        drawn, wanted = draw(model, Mixture(policy, REFERENCE, weight)), draw(model, end)
        np.testing.assert_array_equal(drawn.tokens, wanted.tokens)
        np.testing.assert_allclose(drawn.log_prob, wanted.log_prob, rtol=0, atol=1e-14)
    assert (draw(model, policy).tokens != draw(model, REFERENCE).tokens).any()


@CASES
def test_log_probabilities_are_those_of_the_plain_model(model, policy):
    table = tiny.World(CONFIG, LENGTH).tokens(weights(model, policy))
    np.testing.assert_allclose(TOKENS(model, policy, RESPONSES), table[:2], rtol=0, atol=1e-12)
    reference = tiny.World(CONFIG, LENGTH).tokens(BASE)
    np.testing.assert_allclose(TOKENS(model, REFERENCE, RESPONSES), reference[:2], rtol=0, atol=1e-12)


def test_mixtures_of_tokens_and_of_strings_are_what_they_say():
    weight = 0.3
    mixture = Mixture(OWN, REFERENCE, jnp.asarray(weight))
    own, ref = (
        np.asarray(tiny.World(CONFIG, LENGTH).tokens(params)[:2]) for params in (OWN.parameters, BASE)
    )
    both = (1 - weight) * own + weight * ref
    np.testing.assert_allclose(WHOLE(PLAIN, mixture, RESPONSES), both.sum(-1), rtol=0, atol=1e-12)
    # token by token: normalise over the next token, for each prefix; the last axis of a full tree
    found = np.asarray(TOKENS(PLAIN, mixture, RESPONSES))
    tree = both.reshape(2, 3, 3, 3, LENGTH)
    for place in range(LENGTH):
        # the entry of token t depends on the tokens up to t alone: the rest of the axes are constant
        index = (slice(None),) * (2 + place) + (0,) * (LENGTH - 1 - place) + (place,)
        scores = tree[index]
        normal = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        np.testing.assert_allclose(found.reshape(tree.shape)[index], normal, rtol=0, atol=1e-12)
    # as distributions over strings the two differ
    strings = np.exp(both.sum(-1)) / np.exp(both.sum(-1)).sum(-1, keepdims=True)
    tokens = np.exp(found.sum(-1))
    np.testing.assert_allclose(tokens.sum(-1), 1, atol=1e-12)
    assert np.abs(strings - tokens).max() > 1e-3


def test_components_of_nested_mixtures_multiply_their_weights():
    inner = Mixture(OWN, REFERENCE, 0.25)
    found = components(PLAIN, Mixture(inner, OWN, 0.4))
    assert [round(weight, 12) for _, weight in found] == [0.45, 0.15, 0.4]
    assert [params is BASE for params, _ in found] == [False, True, False]
    assert components(PLAIN, REFERENCE) == ((BASE, 1.0),)
    assert weights(PLAIN, OWN) is OWN.parameters


def test_a_frame_is_a_pytree_with_its_settings_in_the_structure():
    leaves, structure = jax.tree.flatten(ADAPTED)
    assert len(leaves) == len(jax.tree.leaves(BASE))
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert (rebuilt.config, rebuilt.lora, rebuilt.chunk) == (CONFIG, SETTINGS, likelihood.CHUNK)
    assert hash(structure) == hash(jax.tree.structure(LanguageModel(BASE, CONFIG, SETTINGS)))
    assert structure != jax.tree.structure(PLAIN)


def test_what_is_no_policy_is_refused():
    with pytest.raises(InputError, match=r"the policy is a dict.*transformer\.start"):
        components(PLAIN, {"embedding": 1})
