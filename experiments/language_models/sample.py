"""``nlhf sample``: responses of a model, or of the policy of a run, to prompts."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from experiments.commands import Sample
from experiments.language_models.source import Base, is_run, load_base, load_policy, read_run, tell
from nlhf.base import check_number, check_whole
from nlhf.errors import InputError

SHOWN = 4  # prompts of a run's held-out data, where none is given


def main(command: Sample) -> None:
    """Print responses.

    Raises:
      InputError: if a number is out of range, or there is no prompt.
    """
    check_whole("--responses", command.responses)
    check_whole("--length", command.length)
    check_number("--temperature", command.sampling_temperature)
    check_whole("--seed", command.seed, low=0)
    if is_run(command.model):
        policy, reference = load_policy(command.model, say=tell)
    else:
        policy, reference = _pretrained(command.model), None
        if command.reference:
            raise InputError(f"{command.model}: is no run, so it has no reference; leave --reference out")
    prompts = _prompts(command, policy)
    models = {"policy": policy} if reference is None else {"policy": policy, "reference": reference}
    if not command.reference:
        models = {"policy": policy}
    texts = {name: draw(command, base, prompts) for name, base in models.items()}
    for index, prompt in enumerate(prompts):
        said = {name: each[index] for name, each in texts.items()}
        start = policy.tokenizer.decode(prompt)
        if command.json:
            print(json.dumps({"prompt": start, **said}, ensure_ascii=False))
            continue
        print(start)
        for name, answers in said.items():
            for answer in answers:
                print(f"  {name + ': ' if len(said) > 1 else ''}{answer.strip()}")


def _pretrained(path: pathlib.Path) -> Base:
    from nlhf.transformer.tokens.chat import ending

    base = load_base(None, path, tell)
    return base._replace(tokenizer=ending("auto", base.tokenizer))


def _prompts(command: Sample, base: Base) -> list[list[int]]:
    from nlhf.transformer.tokens.chat import find_template

    if command.prompt:
        settings = read_run(command.model)["settings"] if is_run(command.model) else {"template": "auto"}
        template = find_template(settings["template"], base.tokenizer)
        return [template(base.tokenizer, text) for text in command.prompt]
    if not is_run(command.model):
        raise InputError("there is no prompt; give --prompt TEXT")
    held_out = held_out_prompts(command.model, base)
    return [[int(token) for token in row if token >= 0] for row in held_out[:SHOWN]]


def held_out_prompts(run: pathlib.Path, base: Base) -> np.ndarray:
    """Return the prompts ``[N, P]`` that a run held out, left-padded with -1.

    Raises:
      InputError: if its data cannot be read.
    """
    from experiments.language_models.train_data import load_data, prompts_of, recorded

    return prompts_of(load_data(recorded(read_run(run)["settings"]), base).held_out)


def draw(command: Sample, base: Base, prompts: list[list[int]]) -> list[list[str]]:
    """Return K texts for each prompt.

    Args:
      prompts: token ids.

    Raises:
      InputError: if prompt and response are longer than the context.
    """
    import jax

    from nlhf.transformer.model.sampler import pad_prompts, sample

    drawn = sample(
        jax.random.key(command.seed),
        ((base.params, 1.0),),
        base.config,
        pad_prompts(prompts),
        num_responses=command.responses,
        length=command.length,
        temperature=command.sampling_temperature,
        top_k=command.top_k,
        top_p=command.top_p,
        end=base.tokenizer.end,
    )
    tokens = np.asarray(drawn.tokens)[: len(prompts)]
    return [[base.tokenizer.decode(row, start=False) for row in each] for each in tokens]
