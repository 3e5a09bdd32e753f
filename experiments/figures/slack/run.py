"""Figure ``slack``: how much room every claim leaves, measured/bound over steps, at its longest step size.

Expected: nothing above 1. The bounds on KL fall geometrically: they are tight at small β, where one step
changes little, and loose on most games, where methods fall faster. Exploitability and half iterates keep some
room everywhere. The published bounds of Nash-MD have 16 times the room of their sharpened versions. Averages
on the unregularised game come close to their bounds in long runs: there the bank, which is run for longer, is
worse than what the gradient search finds in 6 steps.

A ratio near 1 at small β says little: there the bound itself has hardly left the start. Ratios are cut where
rounding could account for half of the measurement.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.shared.calls import in_threads
from experiments.figures.shared.curves import Announce, Brief, announced, check_known, check_seeds
from nlhf import logspace
from nlhf.base import Claim
from proofs_checks import bound as bounds
from proofs_checks import claims, tightness
from proofs_checks.instances import describe
from proofs_checks.rows import Effort
from proofs_checks.verdicts import judge_runs
from tabular.games import Game
from tabular.runner import Axes
from tabular.runner import run as run_method
from tabular.traces import Measure

LARGEST = 32  # actions; the ledger judges up to 200, which would double the time of this figure
WIDTH = max(tightness.SIZES)  # adversarial games of all sizes are padded to it, and share a compilation


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 1  # banks and searches, pooled, 1 to 100
    variants: tuple[str, ...] = tuple(claims.VARIANTS)  # keys of ``proofs_checks.claims.VARIANTS``
    small: bool = False  # the referee's quick effort instead of its full one
    seed: int = 0  # root of the first bank; the others count on from it


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 32 instances at the longest step, 12 searches of 60 steps each."""
    return dataclasses.replace(config, small=True)


@dataclasses.dataclass(frozen=True)
class Instance:
    """One run."""

    # what it is, in words or as JSON values; enough to run it again where it is adversarial
    about: dict[str, Any]
    ratio: list[float | None]  # measured/bound after each step, from step 1; ``None`` where it is cut
    highest: float  # the largest of them
    step: int  # where it is reached


@dataclasses.dataclass(frozen=True)
class Panel:
    """One claim."""

    variant: str
    name: str  # its row in the ledger
    status: str  # theorem, derived or empirical
    statement: str
    instances: int  # how many of the bank are at the longest step
    median: list[float | None]  # over the bank, after each step from step 1; ``None`` where it is cut
    low: list[float | None]  # 10 % quantile, likewise
    high: list[float | None]  # 90 % quantile, likewise
    worst: Instance  # the bank's worst instance
    adversarial: Instance  # what the gradient search found, run for as many steps


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from; panels in the order of the methods."""

    config: Config
    panels: list[Panel]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Judge every claim on the bank and on its adversarial instance.

    Raises:
      InputError: if seeds is not in 1..100 or a variant is unknown.
    """
    check_seeds(config.seeds, 100)
    check_known(config.variants, claims.VARIANTS, "variant")
    groups = [
        (variant, regularised)
        for variant in config.variants
        for regularised in (True, False)
        if _claims(variant, regularised)
    ]
    efforts = [Effort(config.seed + index, config.small) for index in range(config.seeds)]
    measuring = threading.Lock()

    def words(group: tuple[str, bool]) -> str:
        game = "the regularised game" if group[1] else "the original game"
        return f"{group[0]}: {len(_claims(*group))} claims about {game}"

    # the largest programs come first
    queue = sorted(groups, key=lambda group: -len(_claims(*group)))
    calls = {words(group): functools.partial(_panels, *group, efforts, measuring) for group in queue}
    parts = in_threads(calls, progress)
    return Result(config, [panel for group in groups for panel in parts[words(group)]])


def _claims(variant: str, regularised: bool) -> list[Claim]:
    return [claim for claim in claims.claims_of(variant) if claim.regularised == regularised]


def _panels(variant: str, regularised: bool, efforts: list[Effort], measuring: threading.Lock) -> list[Panel]:
    promised = _claims(variant, regularised)
    found = [
        max((tightness.tightest(claim.name, effort) for effort in efforts), key=lambda search: search["best"])
        for claim in promised
    ]
    replays = _replay(variant, promised, [search["instance"] for search in found], _num_steps(efforts[0]))
    panels = []
    for claim, adversarial in zip(promised, replays, strict=True):
        with measuring:  # its runs fill the machine, and two threads would draw the bank twice
            rows, abouts = _bank(variant, claim, efforts)
        median, low, high = (_quantile(rows, share) for share in (0.5, 0.1, 0.9))
        row = int(np.where(np.isnan(rows), 0.0, rows).max(-1).argmax())
        worst = _instance(abouts[row](), rows[row])
        about = (variant, claim.name, claim.status, claim.statement, len(rows))
        panels.append(Panel(*about, median, low, high, worst, adversarial))
    return panels


def _num_steps(effort: Effort) -> int:
    return effort.pick(60, 150)


def _bank(
    variant: str, claim: Claim, efforts: list[Effort]
) -> tuple[np.ndarray, list[Callable[[], dict[str, Any]]]]:
    """Return the ratios ``[N, T]`` of the instances at the longest step, and what describes each."""
    rows: list[np.ndarray] = []
    abouts: list[Callable[[], dict[str, Any]]] = []
    for effort in efforts:
        for count, sizes in claims.banks(effort):
            if max(sizes) > LARGEST:
                continue
            part = claims.measured(variant, claim.regularised, claim.step_size_range, effort, count, sizes)
            values = part.method[Measure(claim.metric, claim.iterate)]
            shown = _shown(values, *claims.ratios_of(claim, part, values))
            longest = np.flatnonzero(np.asarray(part.bank.share) == 1.0)
            rows.append(shown[longest, 1:])
            abouts += [functools.partial(_about, part, int(row)) for row in longest]
    return np.concatenate(rows), abouts


def _about(part: claims.Measured, row: int) -> dict[str, Any]:
    return {**describe(part.bank, row, most=0), "step_size": float(part.step_size[row])}


def _shown(values: np.ndarray, ratios: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """Return the ratios; 0 where rounding could be half of the measurement, NaN before anything moved."""
    least = np.divide(values, ceiling, out=np.zeros_like(values), where=ceiling > 0) / 2
    kept = np.where(ratios < least, 0.0, ratios)
    return np.where(bounds.moved(values), kept, np.nan)


def _replay(
    variant: str, promised: list[Claim], instances: list[dict[str, Any]], num_steps: int
) -> list[Instance]:
    """Run the adversarial instances as one batch, each for its own claim."""
    recipe = claims.VARIANTS[variant]
    game, log_nash, start = _batch(instances)
    step_size = jnp.asarray([instance["step_size"] for instance in instances])
    measures = tuple(dict.fromkeys(Measure(claim.metric, claim.iterate) for claim in promised))
    trace = run_method(
        jax.vmap(recipe.make)(step_size, game.beta)._replace(claims=()),
        game,
        num_steps=num_steps,
        start=start,
        log_nash=log_nash,
        measures=measures,
        axes=(Axes(algorithm=0, game=0, start=0, log_nash=0),),
    )
    replays = []
    for row, (claim, about) in enumerate(zip(promised, instances, strict=True)):
        values = np.asarray(trace.of(claim.metric, claim.iterate))[row : row + 1]
        step = np.nan if recipe.schedule else step_size[row]
        one = jax.tree.map(lambda leaf, row=row: leaf[row], game)
        ratios, ceiling = judge_runs(
            claim,
            jnp.asarray(values),
            one,
            log_nash[row],
            start[row][None],
            jnp.arange(num_steps + 1.0),
            step,
        )
        replays.append(_instance(about, _shown(values, ratios, ceiling)[0, 1:]))
    return replays


def _batch(instances: list[dict[str, Any]]) -> tuple[Game, jax.Array, jax.Array]:
    """Pad games to one size: an action of reference mass 0 is out of the game."""

    def policies(name: str) -> jax.Array:
        rows = [np.pad(one[name], (0, WIDTH - one["actions"]), constant_values=-np.inf) for one in instances]
        return logspace.normalise(jnp.asarray(np.stack(rows)))[:, None]

    tables = [np.pad(one["advantage"], (0, WIDTH - one["actions"])) for one in instances]
    game = Game(
        jnp.asarray(np.stack(tables))[:, None],
        policies("log_ref"),
        jnp.ones((len(instances), 1)),
        jnp.asarray([one["beta"] for one in instances]),
    )
    return game, policies("log_nash"), policies("log_start")


def _instance(about: dict[str, Any], ratios: np.ndarray) -> Instance:
    clean = np.where(np.isnan(ratios), 0.0, ratios)
    return Instance(about, _cut(ratios), float(clean.max()), int(clean.argmax()) + 1)


def _quantile(rows: np.ndarray, share: float) -> list[float | None]:
    """Quantile after each step over the instances that have moved; those at the floor count as 0."""
    moved = [column[~np.isnan(column)] for column in rows.T]
    return _cut(np.asarray([np.quantile(column, share) if column.size else np.nan for column in moved]))


def _cut(values: np.ndarray) -> list[float | None]:
    return [float(value) if value > 0 else None for value in values]
