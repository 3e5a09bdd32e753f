"""Figure ``story-judges``: a pretrained story model trained by six algorithms to please judges that vote.

Five judges look at one criterion each (sentiment, lexical diversity, dialogue, short sentences, short words)
and vote on pairs of continuations of a prompt. Majorities over criteria can run in circles, so that there is
no best continuation to be found, only a policy that no other one beats. With a folder of data the model is
stories260K and the prompts are openings of stories; without, a small model over bytes is pretrained first, on
generated stories.

The budget is the number of responses drawn and judged in training, the same for all: a payoff query draws K
responses to each of B prompts and compares all pairs of the K; a query of labels draws one response of each
side to each of BK/2 prompts and compares the two, where a label is the share of the votes. A step of EGPO or
Nash Mirror Prox makes two queries, one of the others. The payoff methods take one optimiser step a query; the
learners take ``fit_updates``, on minibatches of all comparisons so far. A payoff query compares more than one
of labels: BK(K - 1)/2 pairs instead of BK/2.

Win rates are measured on prompts that no run trained on, with fresh responses of both sides.
Intervals are over prompts; seeds differ by more, so they are shown one by one. Step sizes, learning rates and
the weight of VPO's optimism were chosen by the first seed.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile

import jax
import numpy as np

from experiments.figures.shared.curves import Announce, Brief, announced, check_seeds
from experiments.figures.story_judges import world as story_world
from experiments.figures.story_judges.config import Config
from experiments.figures.story_judges.config import quick as quick
from experiments.figures.story_judges.methods import METHODS
from experiments.language_models.source import Base
from experiments.language_models.win_rates import WinRates, prompt_win_rates, summarise
from nlhf.base import check_number, check_whole
from nlhf.errors import InputError
from nlhf.transformer.policy import REFERENCE
from nlhf.transformer.responses import Responses, flat, length

CONTINUATIONS = 10  # of a prompt, for the share of prompts with a cycle
REFERENCE_NAME = "reference"


@dataclasses.dataclass(frozen=True)
class Curve:
    """One method along the budget, all seeds."""

    method: str  # key of the method
    responses: list[int]  # drawn in training so far, ``[N]``
    win_rate: list[list[float]]  # against the reference, ``[S][N]``
    kl: list[list[float]]  # KL(policy ‖ reference) in nats a response, by the sampled log-ratio, ``[S][N]``


@dataclasses.dataclass(frozen=True)
class Texts:
    """Continuations of one held-out prompt, by the last policies of the first seed."""

    prompt: str  # as text
    answers: dict[str, str]  # one of each policy, by name


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config  # the settings
    model: str  # which one, in words
    parameters: int  # how many it has
    curves: list[Curve]  # one for each method
    # win rates between the last policies and the reference, averaged over seeds; the intervals are over
    # prompts
    final: WinRates
    by_seed: dict[str, list[float]]  # the last win rate against the reference, by method, for each seed
    scores: dict[str, list[float]]  # mean of each criterion over the last responses, by policy
    tokens: dict[str, float]  # mean length of the last responses, by policy
    cyclic: float  # share of held-out prompts with three of ten continuations of the reference in a circle
    no_winner: float  # share of them without a continuation that is preferred to all others
    texts: list[Texts]  # continuations


@announced
def run(config: Config, progress: Announce) -> Result:
    """Train every method with every seed, and let the last policies meet.

    Args:
      progress: called with a description and the number of units before each unit of work.

    Raises:
      InputError: on a setting out of its range, or data that cannot be read.
    """
    check(config)
    total = config.seeds * len(config.methods) + 1
    progress("model and prompts", total)
    with tempfile.TemporaryDirectory() as scratch:
        base, prompts = story_world.load(config, pathlib.Path(scratch))
    world = story_world.build_world(config, base, prompts)
    cyclic, no_winner = story_world.cycles(
        world.judge, story_world.held_out_draw(world, config, 0, REFERENCE, CONTINUATIONS)
    )
    kept: dict[str, list[story_world.Track]] = {name: [] for name in config.methods}
    rates, last = [], []
    for seed in range(config.seeds):
        # the same draws of the reference for all methods along the run, others at the end
        references = [
            story_world.held_out_draw(world, config, 2 * seed + 1 + end, REFERENCE) for end in (0, 1)
        ]
        found = {REFERENCE_NAME: references[1]}
        for name in config.methods:
            progress(f"{name}, seed {seed + 1} of {config.seeds}", total)
            curve, policy = story_world.train(world, config, name, seed, references[0])
            kept[name].append(curve)
            place = 100 + seed * len(METHODS) + list(METHODS).index(name)
            found[name] = story_world.held_out_draw(world, config, place, policy)
        rates.append(prompt_win_rates(world.judge, list(found.values())))
        last.append(found)
    names = list(last[0])
    scores = {
        name: np.mean([np.asarray(world.judge.describe(flat(each[name]))).mean(0) for each in last], axis=0)
        for name in names
    }
    return Result(
        config,
        "tiny model over bytes, pretrained on generated stories" if config.data is None else "stories260K",
        sum(leaf.size for leaf in jax.tree.leaves(base.params)),
        [
            Curve(name, runs[0].responses, [each.win_rate for each in runs], [each.kl for each in runs])
            for name, runs in kept.items()
        ],
        summarise(names, np.mean(rates, axis=0), num_resamples=config.num_resamples, seed=config.seed),
        {name: [float(each[:, names.index(name), 0].mean()) for each in rates] for name in names[1:]},
        {name: [float(value) for value in values] for name, values in scores.items()},
        {name: float(np.mean([np.asarray(length(each[name])).mean() for each in last])) for name in names},
        cyclic,
        no_winner,
        _texts(base, last[0], config.shown),
    )


def check(config: Config) -> None:
    """Refuse settings out of range, before anything is loaded.

    Raises:
      InputError: naming the setting.
    """
    check_seeds(config.seeds, 100)
    unknown = [name for name in config.methods if name not in METHODS]
    if unknown or not config.methods:
        raise InputError(f"methods is {config.methods}; give some of {', '.join(METHODS)}")
    for name in ("prompts", "size", "prompt_size", "fit_updates", "held_out", "draws", "num_resamples"):
        check_whole(name, getattr(config, name))
    for name in ("responses", "queries", "evaluate_every"):
        if check_whole(name, getattr(config, name), low=2) % 2:
            raise InputError(f"{name} is {getattr(config, name)}, but it must be even; give one more")
    for name in ("beta", "label_beta", "learning_rate", "label_learning_rate"):
        check_number(name, getattr(config, name), open_low=True)
    check_number("step_size", config.step_size, high=1 / config.beta, open_low=True)


def _texts(base: Base, found: dict[str, Responses], num: int) -> list[Texts]:
    def line(ids: np.ndarray) -> str:
        return " ".join(base.tokenizer.decode(ids[ids >= 0].tolist(), start=False).split())

    return [
        Texts(
            " ".join(base.tokenizer.decode([int(each) for each in prompt if each >= 0]).split()),
            {name: line(np.asarray(each.tokens)[row, 0]) for name, each in found.items()},
        )
        for row, prompt in enumerate(np.asarray(found[REFERENCE_NAME].prompt)[:num, 0])
    ]
