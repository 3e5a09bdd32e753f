"""Pretraining lowers the loss that likelihood gives, on texts that it has not seen as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from nlhf.transformer.model import decoder, likelihood
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.responses import length
from nlhf.transformer.runs.pretrain import encode_texts, pretrain
from nlhf.transformer.tokens.tokenizer import byte_tokenizer

CONFIG = ModelConfig(
    vocabulary=258, width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=24, context=32
)


def mean_loss(params, texts):
    rows = jax.tree.map(lambda leaf: leaf[:, None], texts)
    return -float(likelihood.log_prob(params, CONFIG, rows).sum()) / int(length(texts).sum())


def test_texts_begin_and_end():
    texts = encode_texts(["ab", "abcdef"], byte_tokenizer(), 4)
    assert texts.prompt.tolist() == [[256], [256]]
    assert texts.tokens.tolist() == [[97, 98, 257, -1], [97, 98, 99, 100]]
    with pytest.raises(InputError, match="0 texts"):
        encode_texts([], byte_tokenizer(), 4)
    silent = byte_tokenizer()._replace(end=None)
    with pytest.raises(InputError, match="ends with None"):
        encode_texts(["ab"], silent, 4)


def test_the_loss_falls_towards_what_the_language_has():
    tokenizer = byte_tokenizer()
    texts = encode_texts(["abab" * (1 + index % 3) for index in range(24)], tokenizer, 14)
    start = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), decoder.init(jax.random.key(0), CONFIG))
    before = mean_loss(start, texts)
    params, losses = pretrain(start, CONFIG, texts, num_steps=100, batch=8, learning_rate=1e-2)
    np.testing.assert_allclose(losses[0], before, atol=0.1)
    # all that is to be guessed is where a text ends: log 3 nats in 9 tokens; a uniform letter costs 0.7
    assert mean_loss(params, texts) < 0.4
    assert abs(mean_loss(start, texts) - before) < 1e-6  # the start is left as it was
    again, _ = pretrain(start, CONFIG, texts, num_steps=100, batch=8, learning_rate=1e-2)
    jax.tree.map(np.testing.assert_array_equal, params, again)
