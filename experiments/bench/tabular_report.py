"""The records of ``nlhf bench tabular`` and the text that they are printed as."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from experiments.bench.machine import Target, targets
from experiments.output import text

# products P π an iteration, the gap recorded: it shares its product with the next query where it can
PRODUCTS = {"online_mirror_descent": 1, "nash_md": 2, "nash_mirror_prox": 2, "egpo": 2, "omwu": 2}
TARGETS = {"numpy": 40.0, "floor": 0.6, "gemv": 0.7, "gemm": 0.6}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the benchmark."""

    quick: bool = False  # a smaller run of the same code: no large games, a short figure, fewer turns
    # numbers of actions of the single runs; 10,000 needs 3 GB
    sizes: tuple[int, ...] = (10, 100, 1000, 10000)
    games: int = 10  # G, games of the figure
    actions: int = 100  # A of the figure
    betas: tuple[float, ...] = (0.03, 0.1, 0.3, 0.5, 1.0)  # S values of β
    steps: int = 10_000  # iterations of the figure
    # iterations of the numpy loops on one game; their times are scaled up to the figure
    numpy_steps: int = 500
    # numbers of actions of the games on which all settings run at once
    batch_sizes: tuple[int, ...] = (100, 1000)
    repeats: int = 5
    # multiply-adds of one timed call, long enough for the clock and short enough to take turns
    work: float = 5e8
    seed: int = 0


class SingleRow(NamedTuple):
    """One EGPO run with A actions; seconds an iteration, or a product."""

    actions: int  # A
    seconds: float  # of one iteration (2 queries, gap recorded) through ``tabular.runner.run``
    numpy_seconds: float  # of the same in numpy
    gemv_numpy: float  # of one [A, A] x [A] product in BLAS
    gemv_xla: float  # of one in XLA

    @property
    def gemv_share(self) -> float:
        """Speed as a share of two products at the faster rate."""
        return 2 * min(self.gemv_numpy, self.gemv_xla) / self.seconds


class FigureRow(NamedTuple):
    """The whole figure, in seconds."""

    seconds: float  # through ``run_many``, compiled
    serial_seconds: float  # through ``run_many`` with one worker
    numpy_seconds: float  # numpy, one run at a time, scaled
    numpy_batch_seconds: float  # numpy, all β of an algorithm at a time, scaled
    gemm: float  # products at the best rate on all cores
    exponentials: float  # at the best rate on all cores

    @property
    def floor_share(self) -> float:
        """Speed as a share of the floor's."""
        return (self.gemm + self.exponentials) / self.seconds


class BatchRow(NamedTuple):
    """All settings on one game with A actions, in flop/s."""

    actions: int  # A
    mixed: float  # products a second of five algorithms x S values of β, times 2 A²
    egpo: float  # the same of EGPO with 5 S values of β in one call
    gemm_numpy: float  # [A, A] x [A, 5 S] in BLAS
    gemm_xla: float  # the same in XLA, a product on every core

    @property
    def shares(self) -> tuple[float, float]:
        """The two speeds as shares of the faster GEMM rate."""
        best = max(self.gemm_numpy, self.gemm_xla)
        return self.mixed / best, self.egpo / best


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured."""

    config: Config
    workers: int  # threads of ``run_many``
    bandwidth: float  # bytes a second copied on all cores, read and written bytes both counted
    square_gemm: float  # flop/s of BLAS on square matrices, the most this machine was seen to do
    single: list[SingleRow]
    figure: FigureRow
    batch: list[BatchRow]


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:.4g}"


def report(result: Result) -> str:
    """Lay out the result as text: three tables and how they stand against the targets."""
    config, figure = result.config, result.figure
    single = text.table(
        ["A", "iteration", "numpy", "x", "GEMV BLAS", "GEMV XLA", "GB/s", "of GEMV"],
        [
            [
                str(row.actions),
                _micro(row.seconds),
                _micro(row.numpy_seconds),
                f"{row.numpy_seconds / row.seconds:.1f}",
                _micro(row.gemv_numpy),
                _micro(row.gemv_xla),
                f"{16e-9 * row.actions**2 / row.seconds:.1f}",
                f"{row.gemv_share:.0%}",
            ]
            for row in result.single
        ],
        ">>>>>>>>",
    )
    batch = text.table(
        ["A", "mixed", "of GEMM", "EGPO", "of GEMM", "GEMM BLAS", "GEMM XLA"],
        [
            [
                str(row.actions),
                f"{row.mixed / 1e9:.1f}",
                f"{row.shares[0]:.0%}",
                f"{row.egpo / 1e9:.1f}",
                f"{row.shares[1]:.0%}",
                f"{row.gemm_numpy / 1e9:.1f}",
                f"{row.gemm_xla / 1e9:.1f}",
            ]
            for row in result.batch
        ],
        ">>>>>>>",
    )
    settings = len(PRODUCTS) * len(config.betas)
    whole = text.pairs(
        [
            (f"run_many, {result.workers} threads", f"{figure.seconds:.3g} s"),
            ("run_many, 1 thread", f"{figure.serial_seconds:.3g} s"),
            ("numpy, one run at a time (scaled)", f"{figure.numpy_seconds:.3g} s"),
            ("numpy, all beta at a time (scaled)", f"{figure.numpy_batch_seconds:.3g} s"),
            ("floor: matrix products", f"{figure.gemm:.3g} s"),
            ("floor: exponentials", f"{figure.exponentials:.3g} s"),
            ("times numpy, one run at a time", f"{figure.numpy_seconds / figure.seconds:.1f}"),
            ("times numpy, all beta at a time", f"{figure.numpy_batch_seconds / figure.seconds:.1f}"),
            ("share of the floor's speed", f"{figure.floor_share:.0%}"),
        ]
    )
    machine = f"copy {result.bandwidth / 1e9:.1f} GB/s, square GEMM {result.square_gemm / 1e9:.1f} Gflop/s"
    return "\n\n".join(
        [
            f"Machine: {result.workers} cores, {machine} (float64)",
            f"One EGPO run, gap at every iteration; microseconds\n\n{single}",
            f"Figure: {settings * config.games} runs of {config.steps} iterations, A = {config.actions}, "
            "gap at every iteration"
            f"\n\n{whole}",
            f"{settings} settings on one game, of 5 algorithms or of EGPO alone; Gflop/s of matrix products"
            f"\n\n{batch}",
            _targets(result),
        ]
    )


def _targets(result: Result) -> str:
    figure, large = result.figure, [row.gemv_share for row in result.single if row.actions >= 1000]
    rows = [
        ("figure: time of numpy, one run at a time / ours", figure.numpy_seconds / figure.seconds, "numpy"),
        ("figure: its floor / ours", figure.floor_share, "floor"),
        *([("one run, A >= 1000: two products (GEMV) / ours", min(large), "gemv")] if large else []),
        *(
            (f"all settings, A = {row.actions}: our rate / GEMM", max(row.shares), "gemm")
            for row in result.batch
        ),
    ]

    def shown(value: float, target: str) -> str:
        return f"{value:.0f} x" if target == "numpy" else f"{value:.0%}"

    return targets(
        [
            Target(what, shown(value, name), f">= {shown(TARGETS[name], name)}", value >= TARGETS[name])
            for what, value, name in rows
        ]
    )
