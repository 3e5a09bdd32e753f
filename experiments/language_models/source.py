"""Where a language model comes from: a preset that is pretrained here, a file, or a run."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from nlhf.errors import InputError

if TYPE_CHECKING:
    from nlhf.transformer.runs.loop import Messages

RUN = "run.json"
BASE = "base"
ANSWERS = "judge.jsonl"  # what a function that judges has answered so far
PRETRAINING = {"tiny": (400, 32), "small": (2000, 64)}  # steps and batch
REPORT_EVERY = 20.0  # seconds between two lines about the pretraining
STORIES, STORY_TOKENS = 4000, 192
Say = Callable[[str], None]
_TEXT, _WHOLE = (str,), (int,)
KEPT: dict[str, tuple[type, ...]] = {  # the settings of a run that other commands read
    "mode": _TEXT,
    "preset": (str, type(None)),
    "model": (str, type(None)),
    "data": (str, type(None)),
    "judge": (str, type(None)),
    "template": _TEXT,
    "lora": (int, type(None)),
    "seed": _WHOLE,
    "prompt_length": _WHOLE,
    "response_length": _WHOLE,
    "held_out": _WHOLE,
    "truncate": (bool,),
    "skip_bad": (int, float),
}
CONTENT: dict[str, tuple[type, ...]] = {  # what a run read when it began
    "model": _TEXT,
    "model_step": (int, type(None)),
    "data": _TEXT,
    "judge": (str, type(None)),
}


def tell(line: str) -> None:
    """Show a line, where there is somewhere to show it."""
    if sys.stderr is not None:
        print(f"nlhf: {line}", file=sys.stderr, flush=True)


class Base(NamedTuple):
    """A model that is read, with its tokenizer."""

    params: Any  # nested dictionary of arrays
    config: Any  # its shape
    tokenizer: Any  # that belongs to it
    digest: str  # SHA-256 of what was read
    step: int | None = None  # of the checkpoint that was read, where that was a run's


class PolicyPart(NamedTuple):
    """The part of an algorithm's state that all of them have."""

    policy: Any  # the last iterate


def read_run(folder: pathlib.Path) -> dict[str, Any]:
    """Read what a run of ``nlhf train`` says of itself.

    Returns:
      Its ``settings``, and its ``content``: what it read when it began, empty where that was not recorded.

    Raises:
      InputError: if there is none, or it is not what ``nlhf train`` writes.
    """
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
        content = record.setdefault("content", {})
        if record["kind"] != "train":
            reason = f"is a run of {str(record['kind'])[:40]}"
        elif wrong := _misfit(record["settings"], KEPT) or (content and _misfit(content, CONTENT)):
            reason = f"is damaged ({wrong})"
        else:
            return record
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        reason = "is damaged"
    raise InputError(f"{folder / RUN}: {reason}; name the folder of a run of nlhf train")


def _misfit(found: dict[str, Any], kinds: dict[str, tuple[type, ...]]) -> str | None:
    for name, kind in kinds.items():
        if name not in found:
            return f"it does not say {name}"
        if type(found[name]) not in kind:  # bool is an int to isinstance
            return f"{name} is {ascii(found[name])[:40]}"
    return None


def is_run(path: pathlib.Path) -> bool:
    """Say whether a path is the folder of a run."""
    return (path / RUN).is_file()


def load_base(
    preset: str | None,
    model: pathlib.Path | None,
    say: Say,
    *,
    folder: pathlib.Path | None = None,
    seed: int = 0,
    step: int | None = None,
    inside: tuple[pathlib.Path, ...] = (),
) -> Base:
    """Load the base model of a run; a preset is pretrained once and kept in the run's folder.

    Args:
      preset: name of one, or ``None``.
      model: path of a model or a run, or ``None``.
      say: reports what takes long.
      folder: of the run, for the preset.
      seed: of the preset's parameters.
      step: of which checkpoint, where the model is a run; ``None`` is the newest.
      inside: runs that are being loaded and need this one.

    Raises:
      InputError: if both or neither are given, or the model cannot be read.
    """
    if (preset is None) == (model is None):
        raise InputError("--preset and --model say where the model comes from; give one of them")
    if model is None:
        assert preset is not None
        assert folder is not None
        return _preset(preset, folder / BASE, seed, say)
    if is_run(model):
        return load_policy(model, step=step, say=say, inside=inside)[0]
    if any(model.glob(f".{BASE}.*")) or (model / BASE).is_dir():
        ready = f", or name its base, {model / BASE}" if (model / BASE).is_dir() else ""
        raise InputError(f"{model}: is a run that has made no step yet; wait for its first checkpoint{ready}")
    return _load(model)


def _load(path: pathlib.Path) -> Base:
    from nlhf.transformer.tokens.files import load_tokenizer
    from nlhf.transformer.tokens.tokenizer import byte_tokenizer, check_tokenizer
    from nlhf.transformer.weights.load import load_model

    params, config = load_model(path)
    ours = path.is_dir() and config.vocabulary == byte_tokenizer().vocabulary
    tokenizer = byte_tokenizer() if ours and not any(path.glob("tok*")) else load_tokenizer(path)
    return Base(params, config, check_tokenizer(tokenizer, config.vocabulary), tree_digest(params))


def tree_digest(tree: Any) -> str:
    """Return one SHA-256 for all arrays of a tree."""
    from nlhf.transformer.runs.digest import named_leaves, state_digests, total

    return total(state_digests(named_leaves(tree)))


def _preset(name: str, folder: pathlib.Path, seed: int, say: Say) -> Base:
    """Pretrain a preset on generated stories; the folder appears when it is whole.

    Until then ``.base.pretraining`` beside it has the checkpoints, so that a stopped pretraining resumes.
    """
    import jax
    import jax.numpy as jnp

    from nlhf.transformer.data.stories import story
    from nlhf.transformer.model import decoder
    from nlhf.transformer.model.config import num_parameters, preset
    from nlhf.transformer.runs.pretrain import encode_texts, pretrain
    from nlhf.transformer.tokens.tokenizer import byte_tokenizer
    from nlhf.transformer.weights.export import save_model

    config, tokenizer = preset(name), byte_tokenizer()
    if folder.is_dir():
        loaded = _load(folder)
        if jax.tree.map(jnp.shape, loaded.params) != jax.tree.map(
            jnp.shape, jax.eval_shape(lambda: decoder.init(jax.random.key(seed), config))
        ):
            raise InputError(f"{folder}: is not the preset {name}; give the preset it is, or another --out")
        return loaded
    steps, batch = PRETRAINING[name]
    say(
        f"pretraining the {name} model ({num_parameters(config):,} parameters) on generated stories, "
        f"{steps} steps, once for this folder"
    )
    texts = encode_texts([" ".join(story(seed, index)) for index in range(STORIES)], tokenizer, STORY_TOKENS)
    scratch = folder.with_name(f".{folder.name}.pretraining")
    params, losses = pretrain(
        decoder.init(jax.random.key(seed), config),
        config,
        texts,
        num_steps=steps,
        batch=batch,
        seed=seed,
        folder=scratch,
        messages=_progress(steps, say),
    )
    say(f"pretrained: {losses[0]:.2f} to {losses[-10:].mean():.2f} nats per byte")
    save_model(folder, params, config, begin=tokenizer.begin, end=tokenizer.end)
    shutil.rmtree(scratch, ignore_errors=True)
    return _load(folder)


def _progress(steps: int, say: Say) -> Messages:
    """Say every now and then how far the pretraining is, and about how long it still takes."""
    began: list[tuple[float, int]] = []  # when the first step of this session, which compiles, was made
    said = [time.monotonic()]

    def step(made: int, values: Any, seconds: float) -> None:
        now = time.monotonic()
        began[:] = began or [(now, made)]
        if now - said[0] >= REPORT_EVERY and made > began[0][1]:
            left = (now - began[0][0]) / (made - began[0][1]) * (steps - made)
            loss = f"{values['loss']:.2f} nats per byte"
            say(f"pretraining: step {made} of {steps}, {loss}, about {left:.0f} s left")
            said[0] = now

    from nlhf.transformer.runs.loop import Messages

    return Messages(say, step)


def load_reference(
    run: pathlib.Path, *, say: Say = lambda text: None, inside: tuple[pathlib.Path, ...] = ()
) -> Base:
    """Load what a run started from; its tokenizer ends where the run's template does.

    Args:
      say: reports what takes long, or was passed over.
      inside: runs that are being loaded and need this one.

    Raises:
      InputError: if it cannot be read, or a run starts from itself.
    """
    from nlhf.transformer.tokens.chat import ending

    here = run.resolve()
    if here in inside:
        raise InputError(f"{run}: starts from itself, by the --model in its {RUN}; put the right one there")
    record = read_run(run)
    settings = record["settings"]
    base = load_base(
        settings["preset"],
        None if settings["model"] is None else pathlib.Path(settings["model"]),
        say,
        folder=run,
        seed=settings["seed"],
        step=record["content"].get("model_step"),
        inside=(*inside, here),
    )
    return base._replace(tokenizer=ending(settings["template"], base.tokenizer))


def load_policy(
    run: pathlib.Path,
    *,
    step: int | None = None,
    say: Say = lambda text: None,
    inside: tuple[pathlib.Path, ...] = (),
) -> tuple[Base, Base]:
    """Load the trained policy of a run, adapters merged in, and its reference.

    Args:
      run: folder of the run, which may still be training.
      step: of which checkpoint; ``None`` is the newest that is intact.
      say: reports what was passed over.
      inside: runs that are being loaded and need this one.

    Raises:
      InputError: if the run trains a judge, has no checkpoint that is intact, or has adapters of a base that
        is not what it was.
    """
    import jax

    from nlhf.policies import Trained
    from nlhf.transformer.model.lora import init_adapters, lora
    from nlhf.transformer.policy import LanguageModel, weights
    from nlhf.transformer.runs.loop import CHECKPOINTS
    from nlhf.transformer.runs.preference import TrainState
    from nlhf.transformer.runs.restore import read

    record = read_run(run)
    settings = record["settings"]
    if settings["mode"] not in ("preference", "sft"):
        raise InputError(
            f"{run}: trained a judge ({settings['mode']}), not a language model; name another run"
        )
    reference = load_reference(run, say=say, inside=inside)
    rank = settings["lora"]
    if record["content"].get("model") not in (None, reference.digest):
        changed = f"{run}: the weights of {settings['model'] or run / BASE} changed since this run began"
        if rank is not None:
            raise InputError(f"{changed}, and its adapters fit those of then; put them back")
        say(f"{changed}: its reference is another one now")
    model = LanguageModel(reference.params, reference.config, None if rank is None else lora(rank))
    shapes = jax.eval_shape(
        lambda: (
            model.params if model.lora is None else init_adapters(jax.random.key(0), model.params, model.lora)
        )
    )
    template = TrainState(PolicyPart(Trained(shapes, ())), ())
    found = read(run / CHECKPOINTS, template, step=step, partial=True)
    for line in found.damaged:
        say(f"{run}: passed over {line}")
    policy = found.state.algorithm.policy
    # of what was read, since merging adapters rounds differently on other devices
    digest = tree_digest(policy.parameters)
    if rank is not None:
        digest = f"{digest} on {reference.digest}"
    merged = reference._replace(params=weights(model, policy), digest=digest, step=found.step)
    return merged, reference
