"""Figure ``breaking_points``: step size x β, where a method's claim holds, is unknown, or is violated.

Expected: no violation inside the range of a claim. Beyond it the bounds of the extragradient family still
hold for a while; they break below the limit of local stability of cyclic games, and sooner with more actions.
That of self-play breaks at steps of order β. Two actions do not rotate, and need longer steps to break.

Every dot is the worst of many gradient searches over the game, the equilibrium and the start, in runs of 4
steps (24 for the optimistic method, which builds up its loss). Where none found a violation, nothing is
proved; a bound may also fail only in longer runs.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from experiments.figures.shared.calls import in_threads
from experiments.figures.shared.curves import Announce, Brief, announced, check_known, check_seeds
from proofs_checks import breaking
from proofs_checks.claims import claims_of
from proofs_checks.rows import Effort


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 1  # scans of each method, pooled, 1 to 100
    # keys of ``proofs_checks.breaking.SCANS``
    methods: tuple[str, ...] = ("egpo", "nash_mirror_prox", "omwu", "nash_md", "online_mirror_descent")
    small: bool = False  # the referee's quick effort instead of its full one
    seed: int = 0  # root of the first scan; the others count on from it


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 3 actions, two β, 4 searches of 40 gradient steps a step size."""
    return dataclasses.replace(config, small=True)


@dataclasses.dataclass(frozen=True)
class Point:
    """One number of actions at one β; steps are composite, but for Nash-MD its own."""

    actions: int  # A
    beta: float
    proved_to: float  # end of the range that the claim covers (proved, unless its status is empirical)
    holds_to: float  # largest step tried below the first violation
    violated_from: float | None  # smallest step with a violation, ``None`` if none was found
    steps: list[float]  # all that were tried, rising
    ratios: list[float]  # largest measured/bound found at each


@dataclasses.dataclass(frozen=True)
class Map:
    """One method."""

    method: str
    claim: str
    status: str  # theorem, derived or empirical
    points: list[Point]  # for each number of actions and β
    # for each number of actions the violating game with the smallest step, as JSON values
    instances: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from; maps method by method."""

    config: Config
    maps: list[Map]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Scan the step sizes of every method.

    Raises:
      InputError: if seeds is not in 1..100 or a method is unknown.
    """
    check_seeds(config.seeds, 100)
    check_known(config.methods, breaking.SCANS, "method whose steps are scanned")
    seeds = range(config.seed, config.seed + config.seeds)
    calls = {
        f"{method}, seed {seed}": functools.partial(breaking.breaking, method, Effort(seed, config.small))
        for method in config.methods
        for seed in seeds
    }
    scans = in_threads(calls, progress)
    return Result(
        config,
        [
            pool_scans(method, [scans[f"{method}, seed {seed}"] for seed in seeds])
            for method in config.methods
        ],
    )


def pool_scans(method: str, scans: list[dict[str, Any]]) -> Map:
    """Join the scans of several seeds: at each step the worst ratio that any of them found.

    Args:
      method: key of ``proofs_checks.breaking.SCANS``.
      scans: what ``proofs_checks.breaking.breaking`` returned, one a seed.
    """
    points = []
    for places in zip(*(scan["points"] for scan in scans), strict=True):
        tried: dict[float, float] = {}
        for place in places:
            for step, ratio in place["grid"]:
                tried[step] = max(ratio, tried.get(step, 0.0))
        steps = sorted(tried)
        violated = [step for step in steps if tried[step] > 1 + breaking.EXCESS]
        first = violated[0] if violated else None
        points.append(
            Point(
                actions=places[0]["actions"],
                beta=places[0]["beta"],
                proved_to=places[0]["proved_to"],
                holds_to=max((step for step in steps if first is None or step < first), default=0.0),
                violated_from=first,
                steps=steps,
                ratios=[tried[step] for step in steps],
            )
        )
    smallest: dict[int, dict[str, Any]] = {}
    for scan in scans:
        for instance in scan["instances"]:
            size = instance["actions"]
            if size not in smallest or instance["factor"] < smallest[size]["factor"]:
                smallest[size] = instance
    judged = breaking.SCANS[method]
    (status,) = (claim.status for claim in claims_of(judged.variant) if claim.name == judged.claim)
    return Map(method, judged.claim, status, points, [smallest[size] for size in sorted(smallest)])
