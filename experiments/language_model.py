"""Where a language model comes from: a preset that is pretrained here, a file, or a run."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from nlhf.errors import InputError

RUN = "run.json"
BASE = "base"
PRETRAINING = {"tiny": (400, 32), "small": (2000, 64)}  # steps and batch
STORIES, STORY_TOKENS = 4000, 192
Say = Callable[[str], None]


class Base(NamedTuple):
    """A model that is read, with its tokenizer.

    Attributes:
      params: nested dictionary of arrays.
      config: its shape.
      tokenizer: that belongs to it.
    """

    params: Any
    config: Any
    tokenizer: Any


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Read what a run of ``nlhf train`` says of itself.

    Args:
      folder: of the run.

    Raises:
      InputError: if there is none.
    """
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
        if record["kind"] == "train":
            return record
        reason = f"is a run of {record['kind']}"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError):
        reason = "is damaged"
    raise InputError(f"{folder / RUN}: {reason}; name the folder of a run of nlhf train")


def is_run(path: pathlib.Path) -> bool:
    """Say whether a path is the folder of a run."""
    return (path / RUN).is_file()


def load_base(
    preset: str | None,
    model: pathlib.Path | None,
    out: pathlib.Path | None,
    dtype: str,
    remat: bool,
    seed: int,
    say: Say,
) -> Base:
    """Load the base model of a run; a preset is pretrained once and kept in the run's folder.

    Args:
      preset: name of one, or ``None``.
      model: path of a model or a run, or ``None``.
      out: folder of the run, for the preset.
      dtype: of the computation.
      remat: whether activations are computed again in the backward pass.
      seed: of the preset's parameters.
      say: is told what takes long.

    Raises:
      InputError: if both or neither are given, or the model cannot be read.
    """
    if (preset is None) == (model is None):
        raise InputError("--preset and --model say where the model comes from; give one of them")
    if model is None:
        assert preset is not None
        assert out is not None
        loaded = _preset(preset, out / BASE, seed, say)
    elif is_run(model):
        loaded = load_policy(model, say=say)[0]
    else:
        loaded = _load(model)
    config = dataclasses.replace(loaded.config, dtype=dtype, remat=remat)
    return loaded._replace(config=config)


def _load(path: pathlib.Path) -> Base:
    from nlhf.transformer.checkpoint_import import load_model
    from nlhf.transformer.tokenizer import byte_tokenizer, check_tokenizer
    from nlhf.transformer.tokenizer_files import load_tokenizer

    params, config = load_model(path)
    ours = path.is_dir() and config.vocabulary == byte_tokenizer().vocabulary
    tokenizer = byte_tokenizer() if ours and not any(path.glob("tok*")) else load_tokenizer(path)
    return Base(params, config, check_tokenizer(tokenizer, config.vocabulary))


def _preset(name: str, folder: pathlib.Path, seed: int, say: Say) -> Base:
    """Pretrain a preset on stories made by rule; the folder appears when it is whole."""
    if folder.is_dir():
        return _load(folder)
    import jax

    from nlhf.transformer import model
    from nlhf.transformer.config import num_parameters, preset
    from nlhf.transformer.corpus import story
    from nlhf.transformer.pretrain import encode_texts, pretrain
    from nlhf.transformer.tokenizer import byte_tokenizer
    from nlhf.transformer.weights_export import save_model

    config, tokenizer = preset(name), byte_tokenizer()
    steps, batch = PRETRAINING[name]
    say(f"pretrains the {name} model ({num_parameters(config):,} parameters) on stories made by rule")
    texts = encode_texts([" ".join(story(seed, index)) for index in range(STORIES)], tokenizer, STORY_TOKENS)
    params, losses = pretrain(
        model.init(jax.random.key(seed), config), config, texts, num_steps=steps, batch=batch, seed=seed
    )
    say(f"pretrained: {losses[0]:.2f} to {losses[-10:].mean():.2f} nats a byte")
    save_model(folder, params, config, begin=tokenizer.begin, end=tokenizer.end)
    return _load(folder)


def load_policy(
    run: pathlib.Path, *, step: int | None = None, say: Say = lambda text: None
) -> tuple[Base, Base]:
    """Load the trained policy of a run, adapters merged in, and its reference.

    Args:
      run: folder of the run, which may be going on.
      step: of which checkpoint; ``None`` is the newest that is intact.
      say: is told what was passed over.

    Raises:
      InputError: if the run trains a judge, or has no checkpoint that is intact.
    """
    import jax

    from experiments.train_state import TrainState, trained_template
    from nlhf.transformer.loop import CHECKPOINTS
    from nlhf.transformer.lora import lora
    from nlhf.transformer.policy import frame, weights
    from nlhf.transformer.restore import read

    record = read_run(run)
    settings = record["settings"]
    if settings["mode"] not in ("preference", "sft"):
        raise InputError(
            f"{run}: trained a judge ({settings['mode']}), not a language model; name another run"
        )
    reference = load_base(
        settings["preset"],
        None if settings["model"] is None else pathlib.Path(settings["model"]),
        run,
        "float32",
        False,
        settings["seed"],
        say,
    )
    rank = settings["lora"]
    fixed = frame(reference.params, reference.config, None if rank is None else lora(rank))
    template = TrainState(trained_template(jax.random.key(0), fixed), ())
    found = read(run / CHECKPOINTS, template, step=step, partial=True)
    for line in found.damaged:
        say(f"{run}: passed over {line}")
    return reference._replace(params=weights(fixed, found.state.algorithm.policy)), reference
