"""``nlhf bench cpl``: updates of contrastive preference learning on a network, beside the plain PyTorch loop.

Both sides train the same network from the same weights on the same data: a minibatch of comparisons is drawn,
both segments of each go through the network, then one Adam step in float32. Ours is the algorithm file that
runs on tables, ``nlhf.algorithms.cpl``, in a space of actors, whole training one scan. A ratio is that of two
times taken right after each other, and the row shows the median over turns with the lowest and the highest.

PyTorch's threads wait for each other actively: where other programs use the cores it slows down much more
than XLA does. The ratio of a busy machine flatters us. ``busy`` is the share of the cores' time that other
programs took during the turns; the figures to quote are those where it is near 0.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.cpl_torch import Problem, gradient, load, trainer
from experiments.bench.machine import Target, busy_seconds, targets
from experiments.output import text
from nlhf import actor_space, actors, cpl, datasets
from nlhf.losses import contrastive
from nlhf.replay import latest
from nlhf.segments import Segments
from tabular.many import num_workers

STATE, ACTION = 39, 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the benchmark; the first case is that of the state-based runs of CPL without dropout."""

    quick: bool = False  # a smaller run of the same code: few turns
    widths: tuple[int, ...] = (256, 512)  # of the two hidden layers, case by case
    dropouts: tuple[float, ...] = (0.0, 0.25)  # likewise
    targets: tuple[float, ...] = (2.0, 1.7)  # ratios that are asked for, likewise
    batch: int = 96
    length: int = 64
    pairs: int = 1024  # comparisons of the data set
    updates: int = 5  # of one timed call
    repeats: int = 15
    seed: int = 0


class Row(NamedTuple):
    """One network; seconds an update."""

    width: int
    dropout: float
    seconds: float  # ours, median
    torch_seconds: float  # of the PyTorch loop, median
    ratio: float  # median over turns of theirs / ours
    low: float  # lowest ratio of a turn
    high: float  # highest
    target: float  # that is asked for
    # share of the cores that other programs took meanwhile; ``None`` where it cannot be read
    busy: float | None
    gflops: float  # of matrix products, ours
    error: float  # ‖ours - theirs‖/‖theirs‖ over the gradients of the weights of one batch without dropout


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured."""

    config: Config
    workers: int  # cores, and threads of either side
    jax_version: str
    torch_version: str
    rows: list[Row]


def shrink(config: Config) -> Config:
    """Return the quick version of the settings."""
    return dataclasses.replace(config, repeats=min(config.repeats, 3), updates=min(config.updates, 2))


def run(config: Config) -> Result:
    """Time both sides in turns.

    Raises:
      InputError: if torch is not installed.
    """
    config = shrink(config) if config.quick else config
    workers = num_workers()
    torch = load(workers)
    cases = zip(config.widths, config.dropouts, config.targets, strict=True)
    rows = [_row(config, torch, workers, *case) for case in cases]
    return Result(config, workers, jax.__version__, torch.__version__, rows)


def make_problem(config: Config, width: int, dropout: float) -> Problem:
    """Return random segments, labels and weights.

    Args:
      dropout: in [0, 1).
    """
    random = np.random.default_rng(config.seed)
    shape = (2, config.pairs, config.length)
    network = actors.init(jax.random.key(config.seed), (STATE, width, width, ACTION))
    return Problem(
        states=random.standard_normal((*shape, STATE), np.float32),
        actions=np.tanh(random.standard_normal((*shape, ACTION), np.float32)),
        prefer_first=(random.random(config.pairs) < 0.5).astype(np.float32),
        weights=tuple(np.asarray(weight) for weight in network.weights),
        dropout=dropout,
        batch=config.batch,
        temperature=0.1,
        bias=0.5,
        learning_rate=1e-4,
    )


def network_of(problem: Problem) -> actors.MLP:
    """Return the weights of a problem as parameters of an actor, biases 0."""
    weights = tuple(jnp.asarray(weight) for weight in problem.weights)
    return actors.MLP(weights, tuple(jnp.zeros(weight.shape[1], weight.dtype) for weight in weights))


def our_trainer(problem: Problem) -> Callable[[int], None]:
    """Return a function that makes a number of updates."""
    states, actions = problem.states, problem.actions
    sides = (Segments(states[0], actions[0]), Segments(states[1], actions[1]))
    oracle = datasets.minibatches(datasets.compare(*sides, problem.prefer_first), problem.batch)
    replay = latest(oracle.duel(jax.random.key(0), None, None))
    method = cpl(problem.temperature, problem.bias, replay)
    space = actor_space.actor_space(
        network_of(problem),
        actors.deterministic,
        dropout=problem.dropout,
        learning_rate=problem.learning_rate,
    )

    def train(num_updates: int) -> None:
        state = datasets.train(method, space, oracle, key=jax.random.key(1), num_steps=num_updates)
        jax.block_until_ready(state)

    return train


def _row(config: Config, torch: object, workers: int, width: int, dropout: float, target: float) -> Row:
    problem = make_problem(config, width, dropout)
    sides = {"ours": our_trainer(problem), "torch": trainer(torch, problem)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    others = 0.0
    readable = True
    for turn in range(config.repeats + 1):
        for name, train in sides.items():
            before, start = busy_seconds(), time.perf_counter()
            train(config.updates)
            elapsed, after = time.perf_counter() - start, busy_seconds()
            if turn:  # the first one compiles
                seconds[name].append(elapsed / config.updates)
                readable = readable and before is not None and after is not None
                others += (after or 0.0) - (before or 0.0)
    ours, theirs = np.asarray(seconds["ours"]), np.asarray(seconds["torch"])
    ratios = theirs / ours
    total = config.updates * float(ours.sum() + theirs.sum()) * workers
    rows = 2 * config.batch * config.length
    # forward, gradients of weights, gradients of activations but not of the states
    products = 3 * sum(weight.size for weight in problem.weights) - problem.weights[0].size
    return Row(
        width,
        dropout,
        float(np.median(ours)),
        float(np.median(theirs)),
        float(np.median(ratios)),
        float(ratios.min()),
        float(ratios.max()),
        target,
        max(others, 0.0) / total if readable else None,
        2e-9 * rows * products / float(np.median(ours)),
        gradient_error(torch, problem),
    )


def gradient_error(torch: object, problem: Problem) -> float:
    """Return the relative distance of the two sides' gradients on the first batch, without dropout."""
    rows = np.arange(min(problem.batch, len(problem.prefer_first)))
    still = problem._replace(dropout=0.0)
    theirs = gradient(torch, still, rows)
    states, actions = still.states[:, rows], still.actions[:, rows]
    sides = (Segments(states[0], actions[0]), Segments(states[1], actions[1]))
    data = datasets.compare(*sides, still.prefer_first[rows])

    def loss(first: jax.Array, second: jax.Array, label: jax.Array) -> jax.Array:
        return contrastive(first, second, label, temperature=still.temperature, bias=still.bias)

    ours = jax.jit(lambda parameters: actor_space.gradient(parameters, loss, data, actors.deterministic))(
        network_of(still)
    )
    pairs = list(zip(ours.weights, theirs, strict=True))
    apart = sum(float(((np.asarray(x, float) - y) ** 2).sum()) for x, y in pairs)
    return float(np.sqrt(apart / sum(float((np.asarray(y, float) ** 2).sum()) for _, y in pairs)))


def report(result: Result) -> str:
    """Lay out the result as text: times, and how they stand against the targets."""
    config = result.config
    times = text.table(
        ["network", "dropout", "ours ms", "torch ms", "ratio", "of turns", "Gflop/s", "busy", "grad error"],
        [
            [
                f"{STATE}-{row.width}-{row.width}-{ACTION}",
                f"{row.dropout:g}",
                f"{1e3 * row.seconds:.1f}",
                f"{1e3 * row.torch_seconds:.1f}",
                f"{row.ratio:.2f}",
                f"{row.low:.2f} to {row.high:.2f}",
                f"{row.gflops:.0f}",
                "?" if row.busy is None else f"{row.busy:.0%}",
                f"{row.error:.1e}",
            ]
            for row in result.rows
        ],
        "<>>>>>>>>",
    )
    asked = [
        Target(
            f"torch / ours, {row.width} x {row.width}, dropout {row.dropout:g}",
            f"{row.ratio:.2f} x",
            f">= {row.target:.1f} x",
            row.ratio >= row.target,
            row.busy,
        )
        for row in result.rows
    ]
    return "\n\n".join(
        [
            f"Machine: {result.workers} cores; JAX {result.jax_version}, torch {result.torch_version} "
            f"(eager, {result.workers} threads)",
            f"One CPL update: {config.batch} comparisons x 2 x {config.length} steps, Adam, float32; "
            f"medians of {config.repeats} turns\n(ratio: torch / ours, above 1 we are faster)\n\n{times}",
            targets(asked),
        ]
    )
