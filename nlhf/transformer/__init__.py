"""Transformers, as policies that the algorithms train: models, judges, data, and runs that can be stopped.

The first program trains a tiny model to write what a judge prefers, the token 0:

>>> import jax, numpy as np, optax
>>> from nlhf import egpo, transformer
>>> config = transformer.ModelConfig(
...     vocabulary=3, width=8, layers=1, heads=2, kv_heads=1, head_width=4, hidden=16, context=4
... )
>>> model = transformer.LanguageModel(transformer.init(jax.random.key(0), config), config)
>>> wins = np.array([[0.5, 0.9, 0.9], [0.1, 0.5, 0.5], [0.1, 0.5, 0.5]])
>>> judge = transformer.judges.table(wins, vocabulary=3)
>>> prompts = jax.numpy.full((8, 1), 2)
>>> oracles = transformer.prompt_oracles(model, judge, prompts, batch=8, length=1)
>>> optimiser, key = optax.adam(0.03), jax.random.key(1)
>>> space, policy = transformer.transformer_space(model, optimiser), transformer.start(model, optimiser)
>>> method = egpo(step_size=1.0, beta=0.1)
>>> ended = transformer.train(method, space, policy, oracles, key=key, num_steps=40, compiled=True)
>>> answers = transformer.sample(key, model, ended.policy, prompts, num_responses=8, length=1).tokens
>>> bool((answers == 0).mean() > 0.8)  # 1/3 before
True

With ``folder=...`` a run keeps checkpoints and a log there, and the same call resumes it.

Names load on first use, so that a command line can answer before JAX is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlhf.transformer import judges as judges
    from nlhf.transformer.data.encode import encode_comparisons as encode_comparisons
    from nlhf.transformer.data.encode import encode_prompts as encode_prompts
    from nlhf.transformer.enumerable import all_responses as all_responses
    from nlhf.transformer.enumerable import language_oracle as language_oracle
    from nlhf.transformer.model.config import ModelConfig as ModelConfig
    from nlhf.transformer.model.config import preset as preset
    from nlhf.transformer.model.decoder import init as init
    from nlhf.transformer.model.lora import lora as lora
    from nlhf.transformer.model.sampler import pad_prompts as pad_prompts
    from nlhf.transformer.oracle import Prompts as Prompts
    from nlhf.transformer.oracle import sampled_oracle as sampled_oracle
    from nlhf.transformer.policy import REFERENCE as REFERENCE
    from nlhf.transformer.policy import LanguageModel as LanguageModel
    from nlhf.transformer.policy import sample as sample
    from nlhf.transformer.policy import sequence_log_prob as sequence_log_prob
    from nlhf.transformer.responses import Responses as Responses
    from nlhf.transformer.runs.preference import compare_with_reference as compare_with_reference
    from nlhf.transformer.runs.preference import pair_oracles as pair_oracles
    from nlhf.transformer.runs.preference import prompt_oracles as prompt_oracles
    from nlhf.transformer.runs.preference import train as train
    from nlhf.transformer.runs.pretrain import encode_texts as encode_texts
    from nlhf.transformer.runs.pretrain import pretrain as pretrain
    from nlhf.transformer.space import start as start
    from nlhf.transformer.space import transformer_space as transformer_space
    from nlhf.transformer.tokens.files import load_tokenizer as load_tokenizer
    from nlhf.transformer.tokens.tokenizer import byte_tokenizer as byte_tokenizer
    from nlhf.transformer.weights.export import save_model as save_model
    from nlhf.transformer.weights.load import load_model as load_model

_HOMES = {
    "data.encode": ("encode_comparisons", "encode_prompts"),
    "enumerable": ("all_responses", "language_oracle"),
    "model.config": ("ModelConfig", "preset"),
    "model.decoder": ("init",),
    "model.lora": ("lora",),
    "model.sampler": ("pad_prompts",),
    "oracle": ("Prompts", "sampled_oracle"),
    "policy": ("REFERENCE", "LanguageModel", "sample", "sequence_log_prob"),
    "responses": ("Responses",),
    "runs.preference": ("compare_with_reference", "pair_oracles", "prompt_oracles", "train"),
    "runs.pretrain": ("encode_texts", "pretrain"),
    "space": ("start", "transformer_space"),
    "tokens.files": ("load_tokenizer",),
    "tokens.tokenizer": ("byte_tokenizer",),
    "weights.export": ("save_model",),
    "weights.load": ("load_model",),
}
__all__ = sorted(["judges", *(name for names in _HOMES.values() for name in names)])


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name == "judges":
        return importlib.import_module("nlhf.transformer.judges")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"nlhf.transformer.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return __all__
