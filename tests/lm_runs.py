"""A language model small enough to be trained in a test: random weights over bytes, in a folder."""

import dataclasses
import json

import jax

from experiments.commands import Train
from experiments.language_models.source import PolicyPart
from experiments.language_models.train_data import recorded
from experiments.output import records
from nlhf.policies import Trained
from nlhf.transformer.model import decoder
from nlhf.transformer.model.config import ModelConfig
from nlhf.transformer.runs import checkpoint
from nlhf.transformer.runs.loop import CHECKPOINTS
from nlhf.transformer.runs.preference import TrainState
from nlhf.transformer.weights.export import save_model

CONFIG = ModelConfig(
    vocabulary=258, width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=24, context=64
)
CRITERIA = "population:diversity,dialogue,short_words"


def make_base(folder):
    """Write the model."""
    return save_model(folder, decoder.init(jax.random.key(0), CONFIG), CONFIG, begin=256, end=257)


def write_rows(path, rows):
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(path, num=12):
    """Write prompts."""
    return write_rows(path, [{"prompt": f"Story {index}:"} for index in range(num)])


def pairs(path, num=12):
    """Write preference rows: the answer with an a is chosen."""
    rows = [
        {"prompt": f"Story {index}:", "chosen": " a a", "rejected": " zz", "p": 0.9} for index in range(num)
    ]
    return write_rows(path, rows)


def command(tmp_path, **changes):
    """Return a run of two steps."""
    settings = {
        "model": tmp_path / "base",
        "data": tmp_path / "prompts.jsonl",
        "judge": CRITERIA,
        "steps": 2,
        "batch": 4,
        "responses": 2,
        "prompt_length": 12,
        "response_length": 6,
        "held_out": 4,
        "evaluate_every": 2,
        "save_every": 1,
        "out": tmp_path / "run",
    }
    return Train(**{**settings, **changes})


def data_settings(asked):
    """Return how the rows of a command are read."""
    return recorded(records.encode(asked))


def write_run(folder, place, params, **changes):
    """A run with a checkpoint of given weights, without training one."""
    folder.mkdir()
    run = dataclasses.replace(command(place), out=folder, **changes)
    settings = records.encode(run) | {"model": str(run.model), "algorithm": "egpo"}
    (folder / "run.json").write_text(json.dumps({"kind": "train", "settings": settings}))
    add_checkpoint(folder, 2, TrainState(PolicyPart(Trained(params, ())), jax.random.key(0)))


def add_checkpoint(folder, step, state):
    """Let a run have come so far."""
    with checkpoint.open_store(folder / CHECKPOINTS, keep=2) as store:
        checkpoint.save(store, step, state)
