"""How far our logits are from those of transformers on the models of `golden_models`."""

import functools

import golden_models
import jax
import numpy as np

from nlhf.transformer.model import decoder

FORWARD = jax.jit(decoder.apply, static_argnums=1)


@functools.cache
def _stored(name):
    with np.load(golden_models.GOLDENS / f"{name}.npz") as found:
        return dict(found)


def differences(name, params, config):
    """Largest absolute difference of a logit by kind of input; all inputs are one batch."""
    inputs = golden_models.inputs(name)
    rest = {kind: golden_models.LONG - tokens.shape[1] for kind, tokens in inputs.items()}
    rows = [np.pad(inputs[kind], ((0, 0), (0, rest[kind])), constant_values=-1) for kind in inputs]
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(FORWARD(params, config, np.concatenate(rows)))
    found, start = {}, 0
    for kind, tokens in inputs.items():
        own = logits[start : start + len(tokens), : tokens.shape[1]]
        start += len(tokens)
        wanted = _stored(name)[kind]
        if kind == "long":
            own, tokens = own[:, golden_models.SHOWN], tokens[:, golden_models.SHOWN]
        assert own.shape == wanted.shape
        found[kind] = float(np.abs(own - wanted)[tokens >= 0].max())
    return found
