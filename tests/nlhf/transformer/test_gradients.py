"""Every loss of a transformer against the gradient of its exact objective, all strings written out, float64.

One step of gradient descent of rate 1 moves the parameters by minus the gradient that the space computed.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_language as tiny
from jax.tree_util import Partial
from tiny_language import BETA, DESCENT, KEY, setting

from nlhf import egpo, nash_md, nash_mirror_prox
from nlhf.base import Feedback
from nlhf.policies import Mixture, Trained
from nlhf.targets import explicit
from nlhf.transformer import oracle as oracle_module
from nlhf.transformer.judges.lookup import table as table_judge
from nlhf.transformer.model.lora import init_adapters, lora, merge
from nlhf.transformer.oracle import Prompts, sampled_oracle
from nlhf.transformer.policy import REFERENCE, LanguageModel
from nlhf.transformer.responses import Responses
from nlhf.transformer.space import transformer_space

STEP_SIZE = 0.8
LIMIT = 1e-9


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


LENGTHS = pytest.mark.parametrize("length", [3, pytest.param(4, marks=pytest.mark.slow)])


def scaled(tree, factor):
    return jax.tree.map(lambda leaf: factor * leaf, tree)


# --- projections, the strings weighted by the policy: policy gradients of the regularised game


@LENGTHS
@pytest.mark.parametrize(
    ("algorithm", "factor"),
    [
        # d = log π - target = η (β log π/π_ref - P), and the gradient of 2 Σ π (d - mean d)² is 4 E[d ∇log π]
        (egpo(step_size=STEP_SIZE, beta=BETA), 4 * STEP_SIZE),
        # the same, divided by 1 + gβ
        pytest.param(
            nash_mirror_prox(step_size=STEP_SIZE, beta=BETA),
            4 * STEP_SIZE / (1 + STEP_SIZE * BETA),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["explicit", "implicit"],
)
def test_both_steps_of_an_extragradient_are_gradients_of_the_game(length, algorithm, factor):
    at = setting(length)
    state = at.step(algorithm)
    first = scaled(at.gradient(jnp.exp(at.log_prob)), factor)
    assert tiny.relative_error(tiny.movement(at.policy, state.half.parameters), first) <= LIMIT
    opponent = jnp.exp(at.world.table(state.half.parameters)[0])
    second = scaled(at.gradient(opponent), factor)
    assert tiny.relative_error(tiny.movement(at.policy, state.policy.parameters), second) <= LIMIT
    # the two differ, and a second step from the half policy would be another one again
    assert tiny.relative_error(first, second) > 1e-2
    from_half = scaled(at.gradient(opponent, state.half.parameters), factor)
    assert tiny.relative_error(from_half, second) > 1e-2


@pytest.mark.slow
@LENGTHS
def test_nash_md_steps_from_and_against_the_mixture_of_whole_strings(length):
    at = setting(length)
    state = at.step(nash_md(step_size=STEP_SIZE, beta=BETA))
    weight = STEP_SIZE * BETA
    mixture = jax.nn.softmax((1 - weight) * at.log_prob + weight * at.log_ref)
    exact = scaled(at.gradient(mixture), 4 * STEP_SIZE)
    assert tiny.relative_error(tiny.movement(at.policy, state.policy.parameters), exact) <= LIMIT
    self_play = scaled(at.gradient(jnp.exp(at.log_prob)), 4 * STEP_SIZE)
    assert tiny.relative_error(self_play, exact) > 1e-3


# --- what two well-known libraries do instead, and how far off it is


def per_token(at, stop):
    """Log-ratio of each token times that token's own log-probability, with or without its gradient."""
    payoff = at.preference @ jnp.exp(at.log_prob)
    ref_tokens = at.world.tokens(at.base)[0]

    def value(tokens):
        log_prob = tokens[0]
        prob = jax.lax.stop_gradient(jnp.exp(log_prob.sum(-1)))
        ratio = log_prob - ref_tokens
        ratio = jax.lax.stop_gradient(ratio) if stop else ratio
        return prob @ (BETA * (ratio * log_prob).sum(-1) - payoff * log_prob.sum(-1))

    return at.world.gradient(value, at.policy)


def score(at):
    """The score function with whole strings: right, and written down a third time."""
    payoff = at.preference @ jnp.exp(at.log_prob)

    def value(tokens):
        log_prob = tokens.sum(-1)[0]
        prob, weight = jnp.exp(log_prob), BETA * (log_prob - at.log_ref) - payoff
        return jax.lax.stop_gradient(prob * weight) @ log_prob

    return at.world.gradient(value, at.policy)


@LENGTHS
def test_log_ratios_of_single_tokens_give_another_gradient(length):
    at = setting(length)
    exact = at.gradient(jnp.exp(at.log_prob))
    assert tiny.relative_error(score(at), exact) <= LIMIT
    assert tiny.relative_error(per_token(at, stop=True), exact) > 0.05
    assert tiny.relative_error(per_token(at, stop=False), exact) > 0.05


@pytest.mark.slow
def test_single_tokens_are_right_for_strings_of_one_token_alone():
    at = setting(1)
    exact = at.gradient(jnp.exp(at.log_prob))
    assert tiny.relative_error(per_token(at, stop=True), exact) <= LIMIT
    assert tiny.relative_error(per_token(at, stop=False), exact) > 0.05


# --- projections on sampled responses: all pairs, in slices, chunked, recomputed, two updates


def double_loop(log_prob, goal):
    total = 0.0
    num = log_prob.shape[-1]
    for one, two in itertools.product(range(num), repeat=2):
        contrast = log_prob[:, one] - log_prob[:, two]
        total = total + (contrast - (goal[:, one] - goal[:, two])) ** 2
    return total.mean() / num**2


@pytest.mark.parametrize(
    ("rows", "chunk", "remat"), [(2, 9, True), pytest.param(None, 1 << 22, False, marks=pytest.mark.slow)]
)
def test_two_updates_on_all_pairs_of_sampled_responses(rows, chunk, remat):
    at = setting(3)
    rate = 0.05
    descent = optax.sgd(rate)
    model = LanguageModel(at.base, dataclasses.replace(at.config, remat=remat), chunk=chunk)
    space = transformer_space(model, descent, num_updates=2, rows=rows)
    rng = np.random.default_rng(5)
    prompts = np.array([0, 2, 1, 2])
    index = rng.integers(27, size=(4, 5))
    chosen = tiny.responses(3, prompts)
    responses = Responses(
        jnp.broadcast_to(jnp.asarray(prompts, jnp.int32)[:, None, None], (4, 5, 1)),
        chosen.tokens[0][index],
        jnp.zeros((4, 5)),
    )
    payoff = rng.random((4, 5))
    target = Partial(explicit, step_size=STEP_SIZE, beta=BETA)
    policy = Trained(at.policy, descent.init(at.policy))
    moved = space.project(policy, target, Feedback(responses, jnp.asarray(payoff)))

    pick = (prompts[:, None], index)
    own, ref = (at.world.table(params)[pick] for params in (at.policy, at.base))
    goal = (1 - STEP_SIZE * BETA) * own + STEP_SIZE * BETA * ref + STEP_SIZE * payoff
    params = at.policy
    for _ in range(2):
        grads = at.world.gradient(lambda tokens: double_loop(tokens.sum(-1)[pick], goal), params)
        params = jax.tree.map(lambda leaf, grad: leaf - rate * grad, params, grads)
    assert (
        tiny.relative_error(tiny.movement(at.policy, moved.parameters), tiny.movement(at.policy, params))
        <= LIMIT
    )


# --- adapters


@pytest.mark.slow
def test_adapters_get_the_chain_rule_through_the_sum_of_matrices():
    at = setting(3)
    settings = lora(2, matrices=("qkv", "out", "gate_up", "down"))
    rng = np.random.default_rng(3)
    adapters = jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.asarray(rng.standard_normal(leaf.shape)),
        init_adapters(jax.random.key(1), at.base, settings),
    )
    whole, pull = jax.vjp(lambda adapters: merge(at.base, adapters, settings), adapters)
    log_prob = at.world.table(whole)[0]
    weight = STEP_SIZE * BETA
    mixture = jax.nn.softmax((1 - weight) * log_prob + weight * at.log_ref)
    (exact,) = pull(scaled(at.gradient(mixture, whole), 4 * STEP_SIZE))
    # in one projection: adapters, and a lazy mixture with the base that they change
    space = transformer_space(LanguageModel(at.base, at.config, settings), DESCENT, form="on_policy")
    start = Trained(adapters, DESCENT.init(adapters))
    feedback = Feedback(at.all, (at.preference @ mixture)[None])
    moved = space.project(
        Mixture(start, REFERENCE, weight), Partial(explicit, step_size=STEP_SIZE, beta=0.0), feedback
    )
    assert tiny.relative_error(tiny.movement(adapters, moved.parameters), exact) <= LIMIT


# --- the sampled oracle: expectation over every tuple of draws


@pytest.mark.parametrize(("num", "length"), [(2, 3), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_the_expected_contrast_of_sampled_payoffs_is_the_exact_gradient(num, length, monkeypatch):
    """Over all K-tuples of draws: both parts of the gradient, with the one factor 4η (1 - 1/K)."""
    at = setting(length)
    size = 3**length
    index = np.array(list(itertools.product(range(size), repeat=num)))
    chance = np.exp(np.asarray(at.log_prob)[index].sum(-1))
    assert abs(chance.sum() - 1) < 1e-12
    drawn = Responses(
        jnp.zeros((len(index), num, 1), jnp.int32), at.all.tokens[0][index], jnp.zeros(index.shape)
    )
    monkeypatch.setattr(oracle_module, "sample", lambda *_, **__: drawn)
    prompts = Prompts(jnp.zeros((len(index), 1), jnp.int32), jnp.arange(len(index)))
    judge = table_judge(at.preference, 3)
    oracle = sampled_oracle(at.model, judge, prompts, num_responses=num, length=length)
    feedback = oracle.payoff(KEY, at.trained())
    space = transformer_space(at.model, DESCENT)

    @jax.jit
    def expected(payoff, beta):
        target = Partial(explicit, step_size=STEP_SIZE, beta=beta)

        def one(chance, part, payoff):
            one_prompt = jax.tree.map(lambda leaf: leaf[None], Feedback(part, payoff))
            moved = space.project(at.trained(), target, one_prompt)
            return jax.tree.map(lambda leaf: chance * leaf, tiny.movement(at.policy, moved.parameters))

        # one tuple at a time: 729 models side by side would be slower
        grads = jax.lax.map(lambda args: one(*args), (jnp.asarray(chance), feedback.responses, payoff))
        return jax.tree.map(lambda leaf: leaf.sum(0), grads)

    opponent = jnp.exp(at.log_prob)
    factor = 4 * STEP_SIZE * (1 - 1 / num)
    exact = scaled(at.gradient(opponent), factor)
    assert tiny.relative_error(expected(feedback.preference, BETA), exact) <= LIMIT

    # each part by itself
    def kl_part(tokens):
        log_prob = tokens.sum(-1)[0]
        return BETA * jnp.exp(log_prob) @ (log_prob - at.log_ref)

    kl = scaled(at.world.gradient(kl_part, at.policy), factor)
    payoff = jax.tree.map(jnp.subtract, exact, kl)
    assert tiny.relative_error(expected(jnp.zeros_like(feedback.preference), BETA), kl) <= LIMIT
    assert tiny.relative_error(expected(feedback.preference, 0.0), payoff) <= LIMIT

    # without the comparison with itself the preferences count K/(K - 1) times as much as they should
    others = (feedback.preference * num) / (num - 1)
    shifted = expected(others, 0.0)
    assert tiny.relative_error(shifted, scaled(payoff, num / (num - 1))) <= LIMIT
    assert tiny.relative_error(expected(others, BETA), exact) > 1e-2


# --- no preference signal


def test_without_a_preference_signal_the_gradient_is_zero_at_the_reference_alone():
    at = setting(3)
    constant = Feedback(at.all, jnp.full((1, 27), 0.5))
    target = Partial(explicit, step_size=STEP_SIZE, beta=BETA)

    def gradient(params):
        moved = at.space.project(at.trained(params), target, constant)
        return np.abs(tiny.flat(tiny.movement(params, moved.parameters))).max()

    assert gradient(at.base) < 1e-14
    assert gradient(at.policy) > 1e-2


@pytest.mark.slow
def test_without_a_preference_signal_training_ends_at_the_reference():
    config = tiny.config(2, width=16, head_width=8, hidden=16)
    world = tiny.World(config, 2)
    base = tiny.parameters(config, 1, spread=0.3)
    log_ref = world.table(base)[0]
    adam = optax.adam(optax.cosine_decay_schedule(0.01, 2000))
    space = transformer_space(LanguageModel(base, config), adam, form="on_policy", num_updates=10)
    rng = np.random.default_rng(11)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.asarray(rng.standard_normal(leaf.shape)), base)

    def kl(params):
        log_prob = world.table(params)[0]
        return float(jnp.exp(log_prob) @ (log_prob - log_ref))

    assert kl(params) > 0.1
    policy = Trained(params, adam.init(params))
    constant = Feedback(tiny.responses(2), jnp.full((1, 9), 0.7))
    for _ in range(200):
        policy = space.project(policy, Partial(explicit, step_size=1.0, beta=BETA), constant)
    assert kl(policy.parameters) < 1e-12
    # parameters of its own: the same policy by other weights
    assert tiny.relative_error(policy.parameters, base) > 1e-3


def test_the_form_without_stop_gradient_would_end_at_the_root_of_the_reference():
    """Its stationary point, on strings of one token in closed form: π ∝ √π_ref."""
    log_ref = jnp.log(jnp.array([0.7, 0.2, 0.1]))

    @jax.jit
    def descend(logits):
        def surrogate(logits):
            log_prob = jax.nn.log_softmax(logits)
            return jax.lax.stop_gradient(jnp.exp(log_prob)) @ ((log_prob - log_ref) * log_prob)

        return jax.lax.fori_loop(0, 4000, lambda _, at: at - 0.5 * jax.grad(surrogate)(at), logits)

    # its gradient holds log π + log π/π_ref = 2 log π - log π_ref, which is constant at the root
    root = jax.nn.softmax(log_ref / 2)
    np.testing.assert_allclose(jax.nn.softmax(descend(jnp.zeros(3))), root, atol=1e-8)
    assert abs(float(root[0]) - 0.523) < 1e-3
