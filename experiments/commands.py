"""The arguments of every command as frozen dataclasses; importing this loads the parser and nothing else."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

Path = pathlib.Path

# A copy of the keys of nlhf.algorithms.ALGORITHMS, so that --help need not import jax; a test compares them.
ITERATIVE = (
    "online_mirror_descent",
    "nash_md",
    "nash_mirror_prox",
    "nash_prox",
    "egpo",
    "omwu",
    "mpo",
    "ipo_md",
)
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
        str | None, arg(metavar="NAME", help_behavior_hint="(default: newton; lp at beta 0)")
    ] = None
    """Exact: newton (beta > 0), lp (beta 0). Iterative: online_mirror_descent, nash_md,
    nash_mirror_prox, nash_prox, egpo, omwu, mpo, ipo_md."""
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
    """Folder of the data, for the figures that read some (people-vs-models, cpl-cartpole)."""
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
    """Time exact runs of every algorithm, or updates of CPL on a network."""

    target: Positional[Literal["tabular", "cpl"]]
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


Command = (
    Annotated[Solve, subcommand("solve")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Reproduce, subcommand("reproduce")]
    | Annotated[Games, subcommand("games")]
    | Annotated[Bench, subcommand("bench")]
)
