"""Settings of ``story-judges``."""

from __future__ import annotations

import dataclasses

from experiments.figures.story_judges.methods import METHODS


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 3  # runs of each method, 1 to 100
    # folder with stories260K.bin, tok512.bin and prompts.json (or with the folders that hold them); ``None``
    # pretrains a model over bytes
    data: str | None = None
    methods: tuple[str, ...] = tuple(METHODS)  # keys of ``METHODS``
    prompts: int = 16  # B of a payoff query
    responses: int = 4  # K of a payoff query, even, >= 2
    size: int = 48  # tokens of a response at most
    prompt_size: int = 48  # tokens of a prompt at most; longer ones are left out
    queries: int = 40  # of a run, of BK responses each, even
    evaluate_every: int = 10  # queries between two points of a curve, even
    step_size: float = 1.0  # η of EGPO and Nash-MD, g of Nash Mirror Prox
    beta: float = 0.05  # KL coefficient of the payoff methods
    # KL coefficient of the learners, whose scale is that of log-odds: their slope at 1/2 is four times that
    # of the probability, so four times ``beta`` asks for the same policy to first order
    label_beta: float = 0.2
    learning_rate: float = 5e-4  # of Adam, of the payoff methods
    label_learning_rate: float = 3e-4  # of Adam, of the learners
    # whether a label is the judges' share of votes, as in payoffs, or 0 or 1 drawn with it
    soft_labels: bool = True
    fit_updates: int = 1  # optimiser steps of a learner for each query
    held_out: int = 64  # prompts for evaluation
    draws: int = 4  # responses of each policy to a held-out prompt
    num_resamples: int = 2000  # of the bootstrap
    shown: int = 3  # prompts whose continuations are printed
    seed: int = 0  # root of all random draws


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: one seed of EGPO and online DPO, a few queries."""
    return dataclasses.replace(
        config,
        seeds=1,
        methods=("egpo", "dpo"),
        queries=12,
        evaluate_every=6,
        size=32,
        held_out=32,
        shown=1,
    )
