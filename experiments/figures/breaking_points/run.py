"""Figure ``breaking_points``: step size x β, where a method's claim holds, is unknown, or is violated.

Expected: no violation inside the range of a claim. Beyond it the bounds of the extragradient family go on to
hold for a while; they break below the limit of local stability of cyclic games, and sooner with more actions.
That of self-play breaks at steps of order β. Two actions do not rotate, and need longer steps to break.

Every dot is the worst of many gradient searches over the game, the equilibrium and the start, in runs of 4
steps (24 for the optimistic method, which builds up its loss). Where none found a violation, nothing is
proved; a bound may also fail only in longer runs.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nlhf.errors import InputError
from proofs_checks import breaking
from proofs_checks.claims import claims_of
from proofs_checks.rows import Effort
from tabular.many import num_workers


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure.

    Attributes:
      seeds: scans of each method, pooled, 1 to 100.
      methods: keys of ``proofs_checks.breaking.SCANS``.
      small: the referee's quick effort instead of its full one.
      seed: root of the first scan; the others count on from it.
    """

    seeds: int = 1
    methods: tuple[str, ...] = ("egpo", "nash_mirror_prox", "omwu", "nash_md", "online_mirror_descent")
    small: bool = False
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 3 actions, two β, 4 searches of 40 gradient steps a step size."""
    return dataclasses.replace(config, small=True)


@dataclasses.dataclass(frozen=True)
class Point:
    """One number of actions at one β; steps are composite, but for Nash-MD its own.

    Attributes:
      actions: A.
      beta: KL coefficient.
      proved_to: end of the range that the claim covers (proved, unless its status is empirical).
      holds_to: largest step tried below the first violation.
      violated_from: smallest step with a violation, ``None`` if none was found.
      steps: all that were tried, rising.
      ratios: largest measured/bound found at each.
    """

    actions: int
    beta: float
    proved_to: float
    holds_to: float
    violated_from: float | None
    steps: list[float]
    ratios: list[float]


@dataclasses.dataclass(frozen=True)
class Map:
    """One method.

    Attributes:
      method: its name.
      claim: the claim that is judged.
      status: theorem, derived or empirical.
      points: for each number of actions and β.
      instances: for each number of actions the violating game with the smallest step, as JSON values.
    """

    method: str
    claim: str
    status: str
    points: list[Point]
    instances: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Result:
    """Everything the figure and the table are drawn from.

    Attributes:
      config: the settings.
      maps: method by method.
    """

    config: Config
    maps: list[Map]


def run(config: Config, progress: Callable[[str, int], None] = lambda what, total: None) -> Result:
    """Scan the step sizes of every method.

    Args:
      config: settings.
      progress: called with a description and the number of units before each unit of work.

    Raises:
      InputError: if seeds is not in 1..100 or a method is unknown.
    """
    if not 1 <= config.seeds <= 100:
        raise InputError(f"seeds is {config.seeds}, but it must be in 1..100; give --seeds 1, say")
    for method in config.methods:
        if method not in breaking.SCANS:
            raise InputError(f"{method!r} is not scanned; known are {', '.join(breaking.SCANS)}")
    tasks = [(method, config.seed + index) for method in config.methods for index in range(config.seeds)]
    lock = threading.Lock()

    def call(task: tuple[str, int]) -> dict[str, Any]:
        method, seed = task
        with lock:
            progress(f"{method}, seed {seed}", len(tasks))
        return breaking.breaking(method, Effort(seed, config.small))

    # compilation, which dominates, runs beside other threads
    with ThreadPoolExecutor(num_workers()) as pool:
        scans = list(pool.map(call, tasks))
    return Result(
        config,
        [
            pool_scans(method, scans[index * config.seeds : (index + 1) * config.seeds])
            for index, method in enumerate(config.methods)
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
