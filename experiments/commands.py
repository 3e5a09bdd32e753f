"""The arguments of every command as frozen dataclasses; importing this loads the parser and nothing else."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from nlhf.algorithms import ALGORITHM_NAMES as ITERATIVE

Path = pathlib.Path

SOLVERS = ("newton", "lp")


@dataclasses.dataclass(frozen=True)
class Solve:
    """Solve the preference game in a file and print its Nash policy with a certificate."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """Matrix (csv, npy, npz), PrefLib file, or comparisons (csv, jsonl); text may be gzipped."""
    beta: Annotated[float | None, arg(metavar="B", help_behavior_hint="(default: 0.1; 0 for lp and mpo)")] = (
        None
    )
    """KL coefficient >= 0; 0 is the unregularised game."""
    reference: Annotated[str, arg(metavar="uniform|FILE")] = "uniform"
    """Reference policy, every probability above 0."""
    algorithm: Annotated[
        str | None,
        arg(
            metavar="NAME",
            help_behavior_hint="(default: newton; lp at beta 0)",
            help=f"Exact: newton (beta > 0), lp (beta 0). Iterative: {', '.join(ITERATIVE)}.",
        ),
    ] = None
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 1000)")] = None
    """Steps of an iterative algorithm, >= 1."""
    step_size: Annotated[
        float | None, arg(metavar="ETA", help_behavior_hint="(default: inside its proved range)")
    ] = None
    """Step size of an iterative algorithm, > 0."""
    prior: Annotated[float, arg(metavar="COUNT")] = 0.5
    """Observations of each outcome added to each pair, where the file holds counts; 0.5 is Jeffreys's."""
    json: bool = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: nothing is written)")] = None
    """Folder for result.json and table.txt."""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Reproduce a figure: curves, table and provenance, in PNG, SVG and JSON."""

    name: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None
    """The figure; see --list."""
    show_list: Annotated[bool, arg(name="list")] = False
    """List the figures."""
    quick: bool = False
    """A smaller run of the same code."""
    seeds: Annotated[int | None, arg(metavar="S", help_behavior_hint="(default: the figure's own)")] = None
    """Number of random seeds, >= 1."""
    data: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: what the package embeds)")
    ] = None
    """Folder of the data, for the figures that read some (people-vs-models, cpl-cartpole, story-judges)."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: results/NAME)")] = None
    """Folder of the results."""
    redraw: bool = False
    """Draw again from result.json, without running."""


@dataclasses.dataclass(frozen=True)
class Games:
    """List the families of games, with statistics of a small instance of each."""

    json: bool = False
    """Print one JSON object instead of the table."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Time exact runs of every algorithm, updates of CPL on a network, or language models."""

    target: Positional[Literal["tabular", "cpl", "transformer"]]
    """What to time."""
    quick: bool = False
    """Smaller sizes, fewer repeats."""
    json: bool = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: nothing is written)")] = None
    """Folder for result.json and table.txt."""


@dataclasses.dataclass(frozen=True)
class Check:
    """Judge every claim, lemma and identity, with a wrong version of each beside it: the ledger."""

    algorithm: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")] = None
    """Only rows about this algorithm, or another subject of the ledger (game, proximal_point, ...)."""
    claim: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: all)")] = None
    """Only the row of this name, e.g. egpo.kl."""
    quick: bool = False
    """Few instances a row, minutes, most of them compiling; this is the default."""
    full: bool = False
    """Thousands of instances a row, and searches for the tightest and the breaking ones; up to 15 minutes."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Root of all random draws, >= 0."""
    json: bool = False
    """Print one JSON object instead of the table."""
    out: Annotated[
        Path | None,
        arg(
            metavar="DIR",
            help_behavior_hint="(default: results/check-quick or results/check; with --algorithm or --claim "
            "nothing is written)",
        ),
    ] = None
    """Folder for ledger.json and LEDGER.md; a run that was stopped goes on there."""
    game: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: drawn games)")] = None
    """Judge the algorithms' claims on the game in this file instead; the options below are for it."""
    beta: Annotated[float | None, arg(metavar="B", help_behavior_hint="(default: 0.1)")] = None
    """KL coefficient >= 0; at 0 the claims about the unregularised game are judged."""
    reference: Annotated[str, arg(metavar="uniform|FILE")] = "uniform"
    """Reference policy, every probability above 0."""
    step_size: Annotated[
        float | None, arg(metavar="ETA", help_behavior_hint="(default: inside its proved range)")
    ] = None
    """Step size of the algorithm that --algorithm names, > 0."""
    prior: Annotated[float, arg(metavar="COUNT")] = 0.5
    """Observations of each outcome added to each pair, where the file holds counts."""


@dataclasses.dataclass(frozen=True)
class Train:
    """Train a language model from preferences, or a judge; the same command resumes a stopped run."""

    preset: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: tiny without --model)")
    ] = None
    """A model over bytes that is pretrained here, on stories made by rule: tiny, small."""
    model: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """Pretrained model: a Hugging Face folder, a .gguf file, a .bin file of llama2.c, or a run."""
    mode: Literal["preference", "sft", "reward", "pairwise"] = "preference"
    """What is trained: the model from preferences, the model on chosen answers, or a judge on pairs."""
    algorithm: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: egpo)")] = None
    """Any of nlhf.ALGORITHMS and nlhf.LEARNERS but kl_ucb."""
    data: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: stories made by rule)")
    ] = None
    """Prompts or preference rows: .jsonl, .jsonl.gz, .parquet, .json; or a folder of preference_pairs."""
    judge: Annotated[str | None, arg(metavar="JUDGE", help_behavior_hint="(default: all five criteria)")] = (
        None
    )
    """population:NAME[=WEIGHT],...; reward:RUN; pairwise:RUN; python:MODULE:FUNCTION, a function of yours
    that takes a list of (prompt, first, second) texts and returns for each the probability that first is
    better, looked for in the working directory too; or data: the labels of the rows, offline."""
    mesh: Annotated[
        str | None, arg(metavar="data=N,fsdp=N,tensor=N", help_behavior_hint="(default: all devices as data)")
    ] = None
    """How the devices are laid out; data x fsdp splits batches, fsdp and tensor split the parameters."""
    processes: Annotated[int, arg(metavar="N")] = 1
    """Processes of this run, on one machine or several; each is started with the same command."""
    process: Annotated[int, arg(metavar="I")] = 0
    """Which of them this is, from 0; 0 serves the others and writes the folder, which all must see."""
    coordinator: Annotated[
        str | None, arg(metavar="HOST:PORT", help_behavior_hint="(default: port 29400 of this machine)")
    ] = None
    """Where process 0 listens; without authentication."""
    steps: Annotated[int, arg(metavar="N")] = 100
    """Steps of the whole run, >= 1."""
    batch: Annotated[int, arg(metavar="B")] = 32
    """Prompts (or rows) a step, >= 1."""
    responses: Annotated[int, arg(metavar="K")] = 4
    """Responses to a prompt, >= 2, for algorithms that ask for payoffs."""
    prompt_length: Annotated[int, arg(metavar="P")] = 48
    """Tokens of a prompt at most, >= 1."""
    response_length: Annotated[int, arg(metavar="R")] = 64
    """Tokens of a response at most, >= 1."""
    updates: Annotated[int, arg(metavar="K")] = 1
    """Optimiser steps of a projection or fit, >= 1."""
    rows: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the batch)")] = None
    """Prompts whose gradient is taken at a time, a divisor of the batch: less memory, same update."""
    learning_rate: Annotated[float, arg(metavar="LR")] = 2e-4
    """Of Adam, at its peak, > 0."""
    warmup: Annotated[int, arg(metavar="N")] = 0
    """Optimiser steps over which the learning rate rises, >= 0."""
    decay: bool = False
    """Let the learning rate fall to 0 by a cosine."""
    clip: Annotated[float, arg(metavar="NORM")] = 1.0
    """Largest norm of a gradient, > 0."""
    step_size: Annotated[float | None, arg(metavar="ETA", help_behavior_hint="(default: 1)")] = None
    """Step size of the algorithm."""
    beta: Annotated[float | None, arg(metavar="B", help_behavior_hint="(default: 0.05)")] = None
    """KL coefficient."""
    mixture: Annotated[float | None, arg(metavar="W", help_behavior_hint="(default: 0.125)")] = None
    """Exponent of the reference in the opponent (ipo_md, dpo, slic)."""
    optimism: Annotated[
        float | None, arg(metavar="ALPHA", help_behavior_hint="(default: beta over the root of all pairs)")
    ] = None
    """Optimism (xpo, vpo, xpo_previous); vpo with --judge data is pessimistic, its default is negative."""
    replay: Annotated[int | None, arg(metavar="ROWS", help_behavior_hint="(default: 8 batches)")] = None
    """Comparisons that a learner remembers."""
    period: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 50)")] = None
    """Steps between two moves of the magnet (mpo)."""
    num_inner: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 2)")] = None
    """Inner steps (nash_prox)."""
    temperature: Annotated[float | None, arg(metavar="T", help_behavior_hint="(default: 0.1)")] = None
    """Temperature of the labels (cpl)."""
    bias: Annotated[float | None, arg(metavar="L", help_behavior_hint="(default: 1)")] = None
    """Conservative weight on the loser (cpl)."""
    preferred: Annotated[float | None, arg(metavar="C", help_behavior_hint="(default: 1)")] = None
    """How far only the preferred answer is cloned, in [0, 1] (behaviour_cloning)."""
    regularisation: Annotated[float | None, arg(metavar="L", help_behavior_hint="(default: 0.1)")] = None
    """Weight of the likelihood of the reference's responses (slic)."""
    soft_labels: bool = False
    """Labels are the judge's probabilities instead of draws with them."""
    lora: Annotated[int | None, arg(metavar="RANK", help_behavior_hint="(default: all weights)")] = None
    """Train low-rank adapters of this rank only."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the computation; parameters are float32."""
    remat: bool = False
    """Compute activations again in the backward pass: less memory."""
    template: Annotated[str, arg(metavar="NAME")] = "auto"
    """How a conversation becomes tokens: auto, plain, chatml, llama3."""
    truncate: bool = False
    """Cut prompts that are too long on their left, answers on their right, instead of leaving them out."""
    skip_bad: Annotated[float, arg(metavar="SHARE")] = 0.0
    """Share of malformed rows that may be left out, counted, in [0, 1]; 0 refuses the first."""
    held_out: Annotated[int, arg(metavar="N")] = 32
    """Prompts (or rows) kept for evaluation, >= 1."""
    evaluate_every: Annotated[int, arg(metavar="N")] = 10
    """Steps between evaluations, >= 1."""
    save_every: Annotated[int, arg(metavar="N")] = 25
    """Steps between checkpoints, >= 1."""
    keep: Annotated[int, arg(metavar="N")] = 2
    """Newest checkpoints kept, beside the best."""
    tensorboard: bool = False
    """Write TensorBoard files as well."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Root of all random draws, >= 0."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: results/train)")] = None
    """Folder of the run."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """Write responses to prompts, with a model or the policy of a run."""

    model: Annotated[Positional[Path], arg(metavar="RUN|MODEL")]
    """A run of nlhf train, or a pretrained model."""
    prompt: Annotated[tuple[str, ...], arg(metavar="TEXT")] = ()
    """Prompts; without one, those of the run's held-out data."""
    responses: Annotated[int, arg(metavar="K")] = 1
    """Responses to each, >= 1."""
    length: Annotated[int, arg(metavar="R")] = 64
    """Tokens of a response at most, >= 1."""
    sampling_temperature: Annotated[float, arg(name="temperature", metavar="T")] = 1.0
    """0 takes the likeliest token."""
    top_k: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None
    """How many tokens may be drawn."""
    top_p: Annotated[float | None, arg(metavar="P", help_behavior_hint="(default: all)")] = None
    """Mass of the tokens that may be drawn, in (0, 1]."""
    reference: bool = False
    """Show the run's reference beside its policy."""
    seed: Annotated[int, arg(metavar="S")] = 0
    """Of the draws."""
    json: bool = False
    """Print one JSON object a line instead of text."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Compare the policies of runs with each other and their reference: win rates, their Nash, a heat map."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="RUN...")]
    """Runs of nlhf train on one base model."""
    judge: Annotated[
        str | None, arg(metavar="JUDGE", help_behavior_hint="(default: that of the first run)")
    ] = None
    """As for nlhf train."""
    prompts: Annotated[int, arg(metavar="N")] = 64
    """Held-out prompts, >= 1."""
    responses: Annotated[int, arg(metavar="K")] = 4
    """Responses of each policy to each prompt, >= 1."""
    resamples: Annotated[int, arg(metavar="N")] = 2000
    """Bootstrap resamples of the prompts."""
    seed: Annotated[int, arg(metavar="S")] = 1
    """Of the draws."""
    json: bool = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: nothing is written)")] = None
    """Folder for result.json, table.txt and win_rates.png."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write the policy of a run as a Hugging Face folder."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """A run of nlhf train."""
    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """A new folder."""
    step: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the newest)")] = None
    """Of which checkpoint."""


Command = (
    Annotated[Solve, subcommand("solve")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Games, subcommand("games")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Bench, subcommand("bench")]
)
