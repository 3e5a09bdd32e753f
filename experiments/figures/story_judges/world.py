"""What the figure of story models runs on: a model and its prompts, the methods, one run of one of them."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.figures.story_judges.config import Config
from experiments.figures.story_judges.methods import METHODS, Numbers
from experiments.language_models.source import Base, load_base
from experiments.language_models.win_rates import exact
from nlhf.base import Policy, PolicySpace
from nlhf.errors import InputError
from nlhf.transformer import space as spaces
from nlhf.transformer.data.encode import encode_prompts
from nlhf.transformer.data.order import permutation
from nlhf.transformer.data.stories import story
from nlhf.transformer.judges.protocol import Judge, preferences
from nlhf.transformer.judges.voting import population
from nlhf.transformer.policy import LanguageModel, sample
from nlhf.transformer.responses import Responses, empty
from nlhf.transformer.runs import preference

MODEL, TOKENIZER, PROMPTS = "stories260K.bin", "tok512.bin", "prompts.json"
FOLDERS = {MODEL: "stories260k", TOKENIZER: "stories260k", PROMPTS: "story_prompts"}
CRITERIA = ("sentiment", "diversity", "dialogue", "short_sentences", "short_words")
MADE_UP, MADE_UP_SEED = 400, 1_000_003  # prompts by rule; other stories than those of the pretraining


class Track(NamedTuple):
    """A run along its budget: responses drawn so far, win rates against the reference, KL to it in nats."""

    responses: list[int]
    win_rate: list[float]
    kl: list[float]


class World(NamedTuple):
    """What all runs share; prompts ``[N, P]`` are left-padded."""

    base: Base
    model: LanguageModel
    judge: Judge
    train: np.ndarray
    held_out: np.ndarray
    payoffs: tuple[PolicySpace, optax.GradientTransformation]
    labels: tuple[PolicySpace, optax.GradientTransformation]


def find(folder: str, name: str) -> pathlib.Path:
    """Return the path of a file in a folder of data, or in the folder there that usually holds it.

    Raises:
      InputError: if it is in neither.
    """
    for place in (pathlib.Path(folder), pathlib.Path(folder) / FOLDERS[name]):
        if (place / name).is_file():
            return place / name
    raise InputError(
        f"{pathlib.Path(folder) / name}: no such file; name a folder that holds {', '.join(FOLDERS)}"
    )


def load(config: Config, scratch: pathlib.Path) -> tuple[Base, np.ndarray]:
    """Return the model and the encoded prompts ``[N, P]``.

    Args:
      scratch: where a model may be pretrained.

    Raises:
      InputError: if the data cannot be read or leave no prompt to train on.
    """
    if config.data is None:
        base = load_base("tiny", None, lambda text: None, folder=scratch, seed=config.seed)
        openings = [story(MADE_UP_SEED, index)[0] for index in range(MADE_UP)]
    else:
        find(config.data, TOKENIZER)
        path = find(config.data, PROMPTS)
        base = load_base(None, find(config.data, MODEL), lambda text: None)
        try:
            openings = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: is no JSON ({str(error)[:60]}); give a list of texts") from None
        if not isinstance(openings, list) or not all(isinstance(each, str) for each in openings):
            raise InputError(f"{path}: is no list of texts; give one")
    rows = [{"prompt": each} for each in openings]
    prompts = encode_prompts(rows, base.tokenizer, length=config.prompt_size, skip_bad=True).data
    if len(prompts) <= config.held_out:
        raise InputError(
            f"there are {len(prompts)} prompts of up to {config.prompt_size} tokens, but {config.held_out} "
            "are held out; give more of them"
        )
    return base, np.asarray(prompts)


def build_world(config: Config, base: Base, prompts: np.ndarray) -> World:
    """Split the prompts and make what all runs share.

    Args:
      prompts: ``[N, P]``.
    """
    order = permutation(config.seed, 0, len(prompts))
    model = LanguageModel(base.params, base.config)
    end = base.tokenizer.end
    # made once: with another optimiser everything compiles again
    payoff_adam, label_adam = (
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.98))
        for rate in (config.learning_rate, config.label_learning_rate)
    )
    rows = config.prompts * config.responses // 2
    return World(
        base,
        model,
        population(CRITERIA, base.tokenizer.decode),
        prompts[order[config.held_out :]],
        prompts[order[: config.held_out]],
        (spaces.transformer_space(model, payoff_adam, end=end), payoff_adam),
        (
            spaces.transformer_space(
                model, label_adam, num_updates=config.fit_updates, fit_rows=rows, end=end
            ),
            label_adam,
        ),
    )


def held_out_draw(
    world: World, config: Config, place: int, policy: Policy, num: int | None = None
) -> Responses:
    """Draw responses to the held-out prompts, ``[B, K]``.

    Args:
      place: number of the draw; each gives others.
      num: K; ``None`` takes ``config.draws``.
    """
    return sample(
        jax.random.fold_in(jax.random.key(config.seed + 1), place),
        world.model,
        policy,
        jnp.asarray(world.held_out),
        num_responses=config.draws if num is None else num,
        length=config.size,
        end=world.base.tokenizer.end,
    )


def train(world: World, config: Config, name: str, seed: int, reference: Responses) -> tuple[Track, Policy]:
    """Run one method with one seed.

    Args:
      reference: responses of the reference to the held-out prompts, to be compared with.

    Returns:
      Its curve and the last policy.
    """
    method = METHODS[name]
    asks = max(method.queries, 1)  # queries a step
    rows = config.prompts if method.queries else config.prompts * config.responses // 2
    beta = config.beta if method.queries else config.label_beta
    one = empty(config.prompt_size, config.size)
    algorithm = method.make(Numbers(config.step_size, beta, rows * config.queries, one))
    space, optimiser = world.payoffs if method.queries else world.labels
    key, judging = jax.random.split(jax.random.fold_in(jax.random.key(config.seed + 2), seed))
    end = world.base.tokenizer.end

    def evaluate(made: int, policy: Policy) -> dict[str, Any]:
        return preference.compare_with_reference(
            jax.random.fold_in(judging, made),
            world.model,
            space,
            exact(world.judge),
            policy,
            jnp.asarray(world.held_out),
            size=config.size,
            end=end,
            num_responses=config.draws,
            reference=reference,
        )

    ended = preference.train(
        algorithm,
        space,
        spaces.start(world.model, optimiser),
        preference.prompt_oracles(
            world.model,
            world.judge,
            world.train,
            batch=rows,
            num_responses=config.responses,
            length=config.size,
            end=end,
            soft_labels=config.soft_labels,
            seed=seed,
        ),
        key=key,
        num_steps=config.queries // asks,
        evaluate=evaluate,
        evaluate_every=config.evaluate_every // asks,
    )
    points = [line for line in ended.log if "win_rate" in line]
    return Track(
        [int(point["step"]) * asks * config.prompts * config.responses for point in points],
        [point["win_rate"] for point in points],
        [point["kl"] for point in points],
    ), ended.policy


def cycles(judge: Judge, responses: Responses) -> tuple[float, float]:
    """Return the shares of prompts with a circle of three among the responses, and without a winner.

    Args:
      responses: ``[B, K]``.
    """
    beats = np.asarray(preferences(judge, responses)) > 0.5 + 1e-6
    walk = beats.astype(np.int64)
    circles = np.trace(walk @ walk @ walk, axis1=1, axis2=2) > 0
    winner = (beats.sum(-1) == beats.shape[-1] - 1).any(-1)
    return float(circles.mean()), float((~winner).mean())
