"""Make `goldens/`: what transformers says of `golden_models.py`. Needs an environment of its own.

    python -m venv peers && peers/bin/pip install torch transformers safetensors numpy
    peers/bin/python tests/make_goldens.py                       # write tests/goldens
    peers/bin/python tests/make_goldens.py --check FOLDER qwen3  # compare an exported folder

Neither torch nor transformers is ever a dependency of the project.
"""

import argparse
import shutil
import tempfile

import golden_models
import numpy as np
import torch
import transformers

GOLDENS = golden_models.GOLDENS


def logits(model, tokens):
    """Logits of every position; -1 is padding, positions count tokens."""
    present = torch.tensor(tokens >= 0)
    ids = torch.tensor(np.maximum(tokens, 0), dtype=torch.long)
    positions = (present.long().cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=present.long(), position_ids=positions).logits
    return found.float().numpy()


def goldens(model, name):
    """Logits of the inputs of a model, at the positions that are stored."""
    found = {kind: logits(model, tokens) for kind, tokens in golden_models.inputs(name).items()}
    found["padded"][golden_models.inputs(name)["padded"] < 0] = 0  # what padding says means nothing
    return {**found, "long": found["long"][:, golden_models.SHOWN]}


def load(folder):
    """Load as a user does, in float32, with the plainest attention."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    left = {key: value for key, value in report.items() if value}
    assert not left, left
    return model.eval()


def make(name):
    """Write `NAME.json` and `NAME.npz`."""
    settings = dict(golden_models.SETTINGS[name])
    kind = settings.pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config)
    state = {key: torch.tensor(value) for key, value in golden_models.tensors(name).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing == (["lm_head.weight"] if config.tie_word_embeddings else [])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        shutil.copyfile(f"{folder}/config.json", GOLDENS / f"{name}.json")
        values = goldens(load(folder), name)
    np.savez_compressed(GOLDENS / f"{name}.npz", **values)
    print(name, {key: (value.shape, float(value.std())) for key, value in values.items()})


def check(folder, name):
    """Print the largest difference between an exported folder, as transformers loads it, and the goldens."""
    values = goldens(load(folder), name)
    with np.load(GOLDENS / f"{name}.npz") as stored:
        print(name, {key: float(np.abs(values[key] - stored[key]).max()) for key in values})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", nargs=2, metavar=("FOLDER", "NAME"))
    arguments = parser.parse_args()
    GOLDENS.mkdir(exist_ok=True)
    if arguments.check:
        check(*arguments.check)
    else:
        for each in golden_models.SETTINGS:
            make(each)
