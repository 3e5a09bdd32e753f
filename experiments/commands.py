"""The arguments of every command as frozen dataclasses; importing this loads the parser and nothing else."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from nlhf.algorithms import ALGORITHM_NAMES, LEARNER_NAMES

Path = pathlib.Path
SOLVERS = ("newton", "lp")
NAMES = (*ALGORITHM_NAMES, *LEARNER_NAMES)
OWN = "or your own as MODULE:FUNCTION, looked for in the working directory too"
Flag = Annotated[bool, arg(help_behavior_hint="")]


def shown(metavar: str, default: str | None = None, **more: Any) -> object:
    """Return how help shows an option: its placeholder, and in words the default that ``None`` stands for."""
    hint = None if default is None else f"(default: {default})" if default else ""
    return arg(metavar=metavar, help_behavior_hint=hint, **more)


@dataclasses.dataclass(frozen=True)
class Solve:
    """Solve a preference game and print its Nash policy with a certificate."""

    file: Annotated[Positional[Path], arg(metavar="FILE|GAME")]
    """Matrix (csv, npy, npz), PrefLib file, or comparisons (csv, jsonl), also gzipped; or a built-in game."""
    beta: Annotated[float | None, shown("B", "0.1; 0 for lp and mpo")] = None
    """KL coefficient, >= 0; 0 is the unregularised game."""
    reference: Annotated[str, shown("uniform|FILE")] = "uniform"
    """Reference policy; every probability must be above 0."""
    algorithm: Annotated[
        str | None,
        shown(
            "NAME",
            "newton; lp at beta 0",
            help=f"Exact: newton (beta > 0), lp (beta 0). Iterative: {', '.join(ALGORITHM_NAMES)}; {OWN}.",
        ),
    ] = None
    steps: Annotated[int | None, shown("N", "1000")] = None
    """Number of steps of an iterative algorithm, >= 1."""
    step_size: Annotated[float | None, shown("ETA", "the longest proved step")] = None
    """Step size of an iterative algorithm, > 0."""
    prior: Annotated[float, shown("COUNT")] = 0.5
    """Observations of each outcome to add to each pair of a file of counts; 0.5 is Jeffreys's prior."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, shown("DIR", "nothing is written")] = None
    """Folder for result.json and table.txt."""


@dataclasses.dataclass(frozen=True)
class Reproduce:
    """Reproduce a figure: its curves, table and provenance, as PNG, SVG and JSON."""

    name: Annotated[Positional[str | None], shown("NAME", "")] = None
    """Name of the figure (see --list), or the dotted module of your own."""
    show_list: Annotated[Flag, arg(name="list", help_behavior_hint="")] = False
    """List the figures."""
    quick: Flag = False
    """Run the same code at a smaller size."""
    add: Annotated[UseAppendAction[tuple[str, ...]], shown("MODULE:FUNCTION", "")] = ()
    """Draw the curve of your own algorithm as well (convergence only); may be given several times."""
    seeds: Annotated[int | None, shown("S", "the figure's own")] = None
    """Number of random seeds, >= 1."""
    data: Annotated[Path | None, shown("DIR", "what the package contains")] = None
    """Folder of the data, for the figures that read some (people-vs-models, cpl-cartpole, story-judges)."""
    out: Annotated[Path | None, shown("DIR", "results/NAME")] = None
    """Folder of the results."""
    redraw: Flag = False
    """Draw the stored result again, without running anything."""


@dataclasses.dataclass(frozen=True)
class Games:
    """List the built-in games, with statistics of a small instance of each family."""

    json: Flag = False
    """Print one JSON object instead of the table."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Time exact runs of every algorithm, updates of CPL on a network, or language models."""

    target: Positional[Literal["tabular", "cpl", "transformer"]]
    """Which benchmark to run."""
    quick: Flag = False
    """Use smaller sizes and fewer repeats."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, shown("DIR", "nothing is written")] = None
    """Folder for result.json and table.txt."""


@dataclasses.dataclass(frozen=True)
class Check:
    """Test every claim, lemma and identity against a deliberately wrong version, and write the ledger."""

    algorithm: Annotated[
        str | None,
        shown(
            "NAME",
            "all",
            help="Test only rows about this algorithm, or another subject of the ledger (game, "
            f"proximal_point, ...); {OWN}.",
        ),
    ] = None
    claim: Annotated[str | None, shown("NAME", "all")] = None
    """Test only the row of this name, e.g. egpo.kl."""
    quick: Flag = False
    """Test few instances per row (the default); takes minutes, mostly compilation."""
    full: Flag = False
    """Test thousands of instances per row and search for the tightest and the worst; up to 15 minutes."""
    seed: Annotated[int, shown("S")] = 0
    """Seed of all random draws, >= 0."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    out: Annotated[
        Path | None,
        shown("DIR", "results/check-quick or results/check; nothing with --algorithm or --claim"),
    ] = None
    """Folder for ledger.json and LEDGER.md; repeat the command to resume a stopped run."""
    game: Annotated[Path | None, shown("FILE", "drawn games")] = None
    """Test the algorithms' claims on the game in this file instead. The options below are for it."""
    beta: Annotated[float | None, shown("B", "0.1")] = None
    """KL coefficient, >= 0; at 0 the claims about the unregularised game are tested."""
    reference: Annotated[str, shown("uniform|FILE")] = "uniform"
    """Reference policy; every probability must be above 0."""
    step_size: Annotated[float | None, shown("ETA", "the longest proved step")] = None
    """Step size of the algorithm that --algorithm names, > 0."""
    prior: Annotated[float, shown("COUNT")] = 0.5
    """Observations of each outcome to add to each pair of a file of counts."""


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which model is trained, and how it is computed."""

    preset: Annotated[str | None, shown("NAME", "tiny without --model")] = None
    """Byte-level model, pretrained on the spot on generated stories: tiny or small."""
    model: Annotated[Path | None, shown("PATH", "")] = None
    """Pretrained model: a Hugging Face folder, a .gguf file, a .bin file of llama2.c, or a run."""
    lora: Annotated[int | None, shown("RANK", "all weights are trained")] = None
    """Train only low-rank adapters of this rank."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the computation; parameters are always float32."""
    remat: Flag = False
    """Recompute activations in the backward pass to save memory."""


@dataclasses.dataclass(frozen=True)
class AlgorithmOptions:
    """The algorithm and its hyper-parameters; each algorithm takes only those that it names."""

    mode: Literal["preference", "sft", "reward", "pairwise"] = "preference"
    """What is trained: the model from preferences, the model on chosen answers, or a judge on pairs."""
    algorithm: Annotated[
        str | None,
        shown(
            "NAME",
            "egpo",
            help=f"One of {', '.join(name for name in NAMES if name != 'kl_ucb')}; {OWN}.",
        ),
    ] = None
    step_size: Annotated[float | None, shown("ETA", "1")] = None
    """Step size of the algorithm."""
    beta: Annotated[float | None, shown("B", "0.05")] = None
    """KL coefficient."""
    mixture: Annotated[float | None, shown("W", "0.125")] = None
    """Exponent of the reference in the opponent (ipo_md, dpo, ipo, slic)."""
    optimism: Annotated[float | None, shown("ALPHA", "beta over the root of all pairs")] = None
    """Optimism (xpo, vpo, xpo_previous); with --judge data vpo is pessimistic and its default negative."""
    replay: Annotated[int | None, shown("ROWS", "8 batches")] = None
    """Number of comparisons that a learner remembers."""
    period: Annotated[int | None, shown("N", "50")] = None
    """Steps between two updates of the magnet (mpo)."""
    num_inner: Annotated[int | None, shown("N", "2")] = None
    """Number of inner steps (nash_prox)."""
    temperature: Annotated[float | None, shown("T", "0.1")] = None
    """Temperature of the labels (cpl)."""
    bias: Annotated[float | None, shown("L", "1")] = None
    """Conservative weight on the loser (cpl)."""
    preferred: Annotated[float | None, shown("C", "1")] = None
    """0 clones both answers, 1 only the preferred one (behaviour_cloning)."""
    regularisation: Annotated[float | None, shown("L", "0.1")] = None
    """Weight of the likelihood of the reference's responses (slic)."""
    soft_labels: Flag = False
    """Use the judge's probabilities as labels instead of sampling 0 or 1."""


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Prompts, rows and the judge."""

    data: Annotated[Path | None, shown("FILE", "generated stories")] = None
    """Prompts or preference rows: .jsonl, .jsonl.gz, .parquet, .json; or a folder of preference_pairs."""
    judge: Annotated[
        str | None,
        shown(
            "JUDGE",
            "all five criteria",
            help="population:NAME[=WEIGHT],...; reward:RUN; pairwise:RUN; python:MODULE:FUNCTION, a function "
            "of yours that takes a list of (prompt, first, second) texts and returns for each the "
            "probability that the first is better, looked for in the working directory too; or data: the "
            "labels of the rows.",
        ),
    ] = None
    prompt_length: Annotated[int, shown("P")] = 48
    """Maximum prompt length in tokens, >= 1."""
    response_length: Annotated[int, shown("R")] = 64
    """Maximum response length in tokens, >= 1."""
    template: Annotated[str, shown("NAME")] = "auto"
    """How a conversation becomes tokens: auto, plain, chatml, llama3."""
    truncate: Flag = False
    """Cut long prompts on their left and long answers on their right, instead of leaving them out."""
    skip_bad: Annotated[float, shown("SHARE")] = 0.0
    """Largest fraction of malformed rows to skip (they are counted); 0 stops at the first."""
    held_out: Annotated[int, shown("N")] = 32
    """Number of prompts (or rows) to keep for evaluation, >= 1."""


@dataclasses.dataclass(frozen=True)
class OptimiserOptions:
    """Steps, batches and Adam."""

    steps: Annotated[int, shown("N")] = 100
    """Number of steps of the whole run, >= 1."""
    batch: Annotated[int, shown("B")] = 32
    """Number of prompts (or rows) per step, >= 1."""
    responses: Annotated[int, shown("K")] = 4
    """Number of responses to each prompt, >= 2, for algorithms that ask for payoffs."""
    rows: Annotated[int | None, shown("N", "the batch")] = None
    """Prompts per gradient, a divisor of the batch: takes less memory and gives the same update."""
    updates: Annotated[int, shown("K")] = 1
    """Number of optimiser steps per projection or fit, >= 1."""
    learning_rate: Annotated[float, shown("LR")] = 2e-4
    """Peak learning rate of Adam, > 0."""
    warmup: Annotated[int, shown("N")] = 0
    """Number of optimiser steps over which the learning rate rises, >= 0."""
    decay: Flag = False
    """Let the learning rate fall to 0 along a cosine."""
    clip: Annotated[float, shown("NORM")] = 1.0
    """Largest norm of a gradient, > 0; longer ones are scaled down."""
    seed: Annotated[int, shown("S")] = 0
    """Seed of all random draws, >= 0."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The folder of the run, and what is written to it when."""

    out: Annotated[Path | None, shown("DIR", "results/train")] = None
    """Folder of the run."""
    evaluate_every: Annotated[int, shown("N")] = 10
    """Number of steps between evaluations, >= 1."""
    save_every: Annotated[int, shown("N")] = 25
    """Number of steps between checkpoints, >= 1."""
    keep: Annotated[int, shown("N")] = 2
    """Number of newest checkpoints to keep, beside the best."""
    tensorboard: Flag = False
    """Write TensorBoard files as well."""


@dataclasses.dataclass(frozen=True)
class DeviceOptions:
    """Several devices, processes and machines."""

    mesh: Annotated[str | None, shown("data=N,fsdp=N,tensor=N", "all devices as data")] = None
    """How the devices are laid out; data x fsdp splits batches, fsdp and tensor split the parameters."""
    processes: Annotated[int, shown("N")] = 1
    """Number of processes of this run, on one machine or several; start each with the same command."""
    process: Annotated[int, shown("I")] = 0
    """Index of this process, from 0. Process 0 writes the folder, which must be on a shared file system."""
    coordinator: Annotated[str | None, shown("HOST:PORT", "port 29400 of this machine")] = None
    """Where process 0 listens, without authentication."""


@dataclasses.dataclass(frozen=True)
class Train(ModelOptions, AlgorithmOptions, DataOptions, OptimiserOptions, RunOptions, DeviceOptions):
    """The arguments of ``nlhf train`` in one flat record."""


def train(
    model: ModelOptions,
    algorithm: AlgorithmOptions,
    data: DataOptions,
    optimiser: OptimiserOptions,
    run: RunOptions,
    device: DeviceOptions,
) -> Train:
    """Train a language model from preferences, or a judge; repeat the command to resume a stopped run."""
    # the groups in which help shows the options
    groups = (model, algorithm, data, optimiser, run, device)
    return Train(**{name: value for group in groups for name, value in vars(group).items()})


@dataclasses.dataclass(frozen=True)
class Sample:
    """Write responses to prompts, with a model or the policy of a run."""

    model: Annotated[Positional[Path], arg(metavar="RUN|MODEL")]
    """A run of nlhf train, or a pretrained model."""
    prompt: Annotated[tuple[str, ...], shown("TEXT", "the run's held-out prompts")] = ()
    """One or more prompts."""
    responses: Annotated[int, shown("K")] = 1
    """Number of responses to each prompt, >= 1."""
    length: Annotated[int, shown("R")] = 64
    """Maximum response length in tokens, >= 1."""
    sampling_temperature: Annotated[float, arg(name="temperature", metavar="T")] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_k: Annotated[int | None, shown("N", "all")] = None
    """Sample only from the N most likely tokens."""
    top_p: Annotated[float | None, shown("P", "all")] = None
    """Sample only from the most likely tokens that together have this probability, in (0, 1]."""
    reference: Flag = False
    """Show the run's reference beside its policy."""
    seed: Annotated[int, shown("S")] = 0
    """Random seed for sampling."""
    json: Flag = False
    """Print one JSON object per line instead of text."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Compare runs with each other and with their reference: win rates, their Nash, a heat map."""

    runs: Annotated[Positional[tuple[Path, ...]], shown("RUN...", "")]
    """Runs of nlhf train on one base model."""
    judge: Annotated[str | None, shown("JUDGE", "that of the first run")] = None
    """Judge of the comparisons, as for nlhf train."""
    prompts: Annotated[int, shown("N")] = 64
    """Number of held-out prompts, >= 1."""
    responses: Annotated[int, shown("K")] = 4
    """Number of responses of each policy to each prompt, >= 1."""
    resamples: Annotated[int, shown("N")] = 2000
    """Number of bootstrap resamples of the prompts."""
    seed: Annotated[int, shown("S")] = 1
    """Random seed for sampling."""
    json: Flag = False
    """Print one JSON object instead of the table."""
    out: Annotated[Path | None, shown("DIR", "nothing is written")] = None
    """Folder for result.json, table.txt and win_rates.png."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Write the policy of a run as a Hugging Face folder."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """A run of nlhf train."""
    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """Folder to write, which must be new or empty."""
    step: Annotated[int | None, shown("N", "the newest")] = None
    """Checkpoint to export."""


Command = (
    Annotated[Solve, subcommand("solve")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Games, subcommand("games")]
    | Annotated[Train, subcommand("train", constructor=train)]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Bench, subcommand("bench")]
)
