"""Planted preferences over short strings, and a small model, for judges that learn."""

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Comparisons
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.responses import Responses

CONFIG = ModelConfig(
    vocabulary=8, width=32, layers=2, heads=2, kv_heads=1, head_width=16, hidden=64, context=16
)


def _trunk():
    """Random parameters, without compiling what draws them."""
    shapes = jax.eval_shape(lambda key: decoder.init(key, CONFIG), jax.random.key(0))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if "norm" in jax.tree_util.keystr(path):
            return jnp.ones(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.normal(size=leaf.shape) / CONFIG.width**0.5, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


TRUNK = _trunk()
_SHUFFLED = np.random.default_rng(0).permutation(np.stack(np.unravel_index(np.arange(75), (3, 5, 5)), -1))
SEEN, HELD_OUT = _SHUFFLED[:50], _SHUFFLED[50:]


def responses(tokens) -> Responses:
    """The prompt is one token, 7."""
    tokens = jnp.asarray(tokens, jnp.int32)
    return Responses(jnp.full((len(tokens), 1), 7, jnp.int32), tokens, jnp.zeros(len(tokens), jnp.float32))


def zeros_count(first, second):
    """Bradley-Terry: how often the token 0 stands in a string."""
    return 1 / (1 + np.exp(-2.0 * ((first == 0).sum(1) - (second == 0).sum(1))))


def rock_paper_scissors(first, second):
    """By the first token, which is 0, 1 or 2: each beats the one before it, 0 beats 2."""
    return np.array([0.5, 1.0, 0.0])[(first[:, 0] - second[:, 0]) % 3]


def pairs(strings, rule, num=None) -> Comparisons:
    """Ordered pairs of strings that the rule decides, ``num`` of them or all, in random order."""
    first, second = (strings[index] for index in np.divmod(np.arange(len(strings) ** 2), len(strings)))
    label = rule(first, second)
    rows = np.random.default_rng(1).permutation(np.flatnonzero(label != 0.5))[:num]
    num = len(rows)
    return Comparisons(
        jnp.zeros(num, int),
        responses(first[rows]),
        responses(second[rows]),
        jnp.asarray(label[rows], jnp.float32),
        jnp.ones(num, jnp.float32),
    )
