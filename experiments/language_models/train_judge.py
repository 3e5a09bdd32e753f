"""The judge that a command names, with what must be loaded for it."""

from __future__ import annotations

import pathlib
from typing import Any

from experiments.language_models.source import Base, Say, load_reference, read_run
from nlhf.errors import InputError
from nlhf.transformer.judges.parse import Choice, find_function, parse_judge
from nlhf.transformer.judges.protocol import Judge

DEFAULT = "population:sentiment,diversity,dialogue,short_sentences,short_words"


def find_judge(text: str) -> Choice:
    """Look for the judge of a text such as ``population:sentiment=2,dialogue``, before anything slow.

    Args:
      text: as ``nlhf.transformer.judges.parse.KINDS`` shows.

    Raises:
      InputError: if there is no such judge, function or run.
    """
    choice = parse_judge(text)
    if choice.kind == "python":
        find_function(choice.place)
    elif choice.kind == "table":
        raise InputError(
            "the judge table knows the enumerable language only; see nlhf reproduce language-nash"
        )
    elif choice.kind in ("reward", "pairwise"):
        mode = read_run(pathlib.Path(choice.place))["settings"]["mode"]
        if mode != choice.kind:
            raise InputError(
                f"{choice.place}: is a run of --mode {mode}, but the judge is {choice.kind}; name another run"
            )
    return choice


def build_judge(text: str, base: Base, answers: pathlib.Path | None = None) -> tuple[Judge, bool]:
    """Make the judge of a text.

    Args:
      answers: file that keeps what a function answers.

    Returns:
      The judge, and whether it is JAX code, so that a whole step may be compiled.

    Raises:
      InputError: if there is no such judge, or it does not read this model's tokens.
    """
    from nlhf.transformer.judges import pairwise_model, reward_model
    from nlhf.transformer.judges.service import from_function
    from nlhf.transformer.judges.voting import population

    choice = find_judge(text)
    decode = base.tokenizer.decode
    if choice.kind == "population":
        return population(tuple(choice.weights), decode, weights=list(choice.weights.values())), False
    if choice.kind == "python":
        return from_function(find_function(choice.place), decode, name=choice.place, cache=answers), False
    params, config = load_judge(pathlib.Path(choice.place), choice.kind, base)
    maker = reward_model if choice.kind == "reward" else pairwise_model
    return maker.judge(params, config), True


def load_judge(run: pathlib.Path, kind: str, base: Base, say: Say = lambda text: None) -> tuple[Any, Any]:
    """Load the parameters of a judge that ``nlhf train --mode reward|pairwise`` trained.

    Args:
      kind: ``reward`` or ``pairwise``.
      say: reports what was passed over.

    Raises:
      InputError: if the run trained something else, or on other tokens.
    """
    import jax

    from nlhf.policies import Trained
    from nlhf.transformer.judges import pairwise_model, reward_model
    from nlhf.transformer.runs.loop import CHECKPOINTS
    from nlhf.transformer.runs.preference import TrainState
    from nlhf.transformer.runs.restore import read

    own = load_reference(run, say=say)
    if own.config.vocabulary != base.config.vocabulary:
        raise InputError(
            f"{run}: judges {own.config.vocabulary} tokens, but the model has {base.config.vocabulary}; "
            "train the judge on the tokens of the model"
        )
    maker = reward_model if kind == "reward" else pairwise_model
    shapes = jax.eval_shape(lambda: maker.init(jax.random.key(0), own.config, own.params))
    template = TrainState(Trained(shapes, ()), ())
    found = read(run / CHECKPOINTS, template, partial=True)
    return found.state.algorithm.parameters, own.config
