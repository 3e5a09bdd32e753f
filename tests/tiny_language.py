"""A small transformer over a language that can be written out, and its table by a code path of its own.

Prompts are one token, strings are all ``VOCABULARY ** length`` sequences, and there is no other token: so the
probabilities of the strings add up to one without help. The table comes from ``decoder.apply`` on plain
sequences, where the space packs all responses to a prompt into one row.
"""

import contextlib
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nlhf.policies import Trained
from nlhf.transformer.enumerable import language_oracle
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.policy import LanguageModel
from nlhf.transformer.responses import Responses
from nlhf.transformer.space import transformer_space
from tabular.language import strings

VOCABULARY = 3
PROMPTS = np.arange(VOCABULARY)


@contextlib.contextmanager
def quick_compilation():
    """Compile with few optimisations: the programs here run for a millisecond and compile for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def config(length: int, vocabulary: int = VOCABULARY, **changes: Any) -> ModelConfig:
    """One layer, two heads on one key head, float64."""
    sizes = {"width": 4, "layers": 1, "heads": 2, "kv_heads": 1, "head_width": 2, "hidden": 4}
    settings = {"vocabulary": vocabulary, "context": length + 1, "dtype": "float64", **sizes, **changes}
    return ModelConfig(**settings)


@functools.cache
def _shapes(config: ModelConfig) -> Any:
    return jax.eval_shape(functools.partial(decoder.init, config=config), jax.random.key(0))


def parameters(config: ModelConfig, seed: int, spread: float = 0.6) -> Any:
    """Normal numbers in every parameter, around one in the norms: policies far from uniform."""
    shapes = _shapes(config)
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        centre = 1.0 if "norm" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(centre + spread * rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def preference(length: int, seed: int = 0, vocabulary: int = VOCABULARY) -> np.ndarray:
    """Random ``P[i, j]`` over the strings, ``P + P^T = 1``: neither transitive nor of low rank."""
    draws = np.random.default_rng(seed).random((vocabulary**length,) * 2)
    return (draws + 1 - draws.T) / 2


def responses(length: int, prompts: Any = (0,), vocabulary: int = VOCABULARY) -> Responses:
    """Every string as a response to each of some one-token prompts, ``[B, A]``."""
    tokens = jnp.asarray(strings(vocabulary, length), jnp.int32)
    num = len(prompts)
    prompt = jnp.broadcast_to(jnp.asarray(prompts, jnp.int32)[:, None, None], (num, len(tokens), 1))
    return Responses(
        prompt, jnp.broadcast_to(tokens[None], (num, *tokens.shape)), jnp.zeros((num, len(tokens)))
    )


class Pulled(NamedTuple):
    """Log-probability of each token of each string after each prompt ``[X, A, T]``, and a gradient."""

    tokens: np.ndarray
    gradient: Any


@functools.partial(jax.jit, static_argnames=("config", "length"))
def _pulled(params: Any, cotangent: Any, *, config: ModelConfig, length: int) -> Pulled:
    written = jnp.asarray(strings(config.vocabulary, length), jnp.int32)

    def table(params):
        after = [
            jnp.concatenate([jnp.full((len(written), 1), begin, jnp.int32), written], axis=1)
            for begin in range(config.vocabulary)
        ]
        rows = jnp.concatenate(after)
        logits = decoder.apply(params, config, rows[:, :-1])
        log_prob = jax.nn.log_softmax(logits, axis=-1)
        chosen = jnp.take_along_axis(log_prob, rows[:, 1:, None], axis=-1)[..., 0]
        return chosen.reshape(config.vocabulary, len(written), length)

    value, pull = jax.vjp(table, params)
    return Pulled(value, pull(cotangent)[0])


class World(NamedTuple):
    """A model's exact tables and gradients; ``objective(table)`` is anything of ``[X, A, T]``."""

    config: ModelConfig
    length: int

    def tokens(self, params: Any) -> np.ndarray:
        shape = (self.config.vocabulary, self.config.vocabulary**self.length, self.length)
        return _pulled(params, jnp.zeros(shape), config=self.config, length=self.length).tokens

    def table(self, params: Any) -> np.ndarray:
        """Log-probabilities ``[X, A]`` of the strings."""
        return self.tokens(params).sum(-1)

    def gradient(self, objective: Any, params: Any) -> Any:
        """Gradient of ``objective`` of the explicit table, by the chain rule."""
        cotangent = jax.grad(objective)(self.tokens(params))
        return _pulled(params, cotangent, config=self.config, length=self.length).gradient


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def relative_error(found: Any, exact: Any) -> float:
    found, exact = flat(found), flat(exact)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def movement(before: Any, after: Any) -> Any:
    """What one step of gradient descent of rate 1 has taken off: the gradient as the space computed it."""
    return jax.tree.map(jnp.subtract, before, after)


BETA = 0.3
DESCENT = optax.sgd(1.0)
KEY = jax.random.key(0)


class Setting:
    """A base, a policy beside it, and the exact tables of both, for strings of one length."""

    def __init__(self, length):
        self.length = length
        self.config = config(length)
        self.world = World(self.config, length)
        self.base = parameters(self.config, 1)
        self.policy = parameters(self.config, 2)
        self.model = LanguageModel(self.base, self.config)
        self.preference = preference(length)
        self.space = transformer_space(self.model, DESCENT, form="on_policy")
        self.all = responses(length)
        self.oracle = language_oracle(self.space, self.all, self.preference)
        self.log_ref = self.world.table(self.base)[0]
        self.log_prob = self.world.table(self.policy)[0]

    def trained(self, params=None):
        params = self.policy if params is None else params
        return Trained(params, DESCENT.init(params))

    def objective(self, opponent):
        """``β KL(π‖π_ref) - P(π ≻ opponent)`` of the explicit table."""

        def value(tokens):
            log_prob = tokens.sum(-1)[0]
            prob = jnp.exp(log_prob)
            payoff = self.preference @ opponent
            return BETA * prob @ (log_prob - self.log_ref) - prob @ payoff

        return value

    def gradient(self, opponent, params=None):
        return self.world.gradient(self.objective(opponent), self.policy if params is None else params)

    def step(self, algorithm):
        return algorithm.step(KEY, algorithm.init(self.trained()), self.oracle, self.space)[0]


@functools.cache
def setting(length):
    return Setting(length)
