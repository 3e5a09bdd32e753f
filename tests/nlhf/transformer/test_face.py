"""What ``from nlhf import transformer`` offers, and what it does not load."""

import subprocess
import sys

import jax.numpy as jnp
import pytest
import tiny_language as tiny

from nlhf import transformer
from nlhf.errors import InputError


@pytest.mark.parametrize("face", [transformer, transformer.judges])
def test_every_public_name_is_there(face):
    assert dir(face) == sorted(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    with pytest.raises(AttributeError, match=r"has no attribute 'frame'; it has .*"):
        face.frame  # noqa: B018


def test_judges_are_functions_not_modules():
    assert all(callable(getattr(transformer.judges, name)) for name in transformer.judges.__all__)


def test_the_import_is_light():
    code = "import sys, nlhf.transformer.judges; print({'jax', 'flax', 'numpy', 'optax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


MODEL = transformer.LanguageModel(tiny.parameters(tiny.config(3), 1), tiny.config(3))
JUDGE = transformer.judges.table(tiny.preference(3), tiny.VOCABULARY)


def test_an_array_of_prompts_is_numbered():
    oracle = transformer.sampled_oracle(MODEL, JUDGE, [[0], [2]], length=3)
    prompts = oracle.duel.args[0].prompts
    assert prompts.tokens.dtype == jnp.int32
    assert prompts.number.tolist() == [0, 1]


def test_a_function_as_judge_is_refused_with_what_to_write():
    with pytest.raises(InputError, match=r"is a function, not a Judge; .*judges.from_function\("):
        transformer.sampled_oracle(MODEL, lambda pairs: [0.5] * len(pairs), jnp.zeros((1, 1)), length=3)
