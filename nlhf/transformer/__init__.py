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

from nlhf.faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "LanguageModel": "nlhf.transformer.policy",
        "ModelConfig": "nlhf.transformer.model.config",
        "Prompts": "nlhf.transformer.oracle",
        "REFERENCE": "nlhf.transformer.policy",
        "Responses": "nlhf.transformer.responses",
        "all_responses": "nlhf.transformer.enumerable",
        "byte_tokenizer": "nlhf.transformer.tokens.tokenizer",
        "compare_with_reference": "nlhf.transformer.runs.preference",
        "encode_comparisons": "nlhf.transformer.data.encode",
        "encode_prompts": "nlhf.transformer.data.encode",
        "encode_texts": "nlhf.transformer.runs.pretrain",
        "init": "nlhf.transformer.model.decoder",
        "judges": "nlhf.transformer.judges",
        "language_oracle": "nlhf.transformer.enumerable",
        "load_model": "nlhf.transformer.weights.load",
        "load_tokenizer": "nlhf.transformer.tokens.files",
        "lora": "nlhf.transformer.model.lora",
        "pad_prompts": "nlhf.transformer.model.sampler",
        "pair_oracles": "nlhf.transformer.runs.preference",
        "preset": "nlhf.transformer.model.config",
        "pretrain": "nlhf.transformer.runs.pretrain",
        "prompt_oracles": "nlhf.transformer.runs.preference",
        "sample": "nlhf.transformer.policy",
        "sampled_oracle": "nlhf.transformer.oracle",
        "save_model": "nlhf.transformer.weights.export",
        "sequence_log_prob": "nlhf.transformer.policy",
        "start": "nlhf.transformer.space",
        "train": "nlhf.transformer.runs.preference",
        "transformer_space": "nlhf.transformer.space",
    },
)
