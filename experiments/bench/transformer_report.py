"""The records of ``nlhf bench transformer`` and the text that they are printed as."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from experiments.bench.machine import Target, targets
from experiments.output import text

# times the peer in float32, and the best peer of those that were run
TARGETS: dict[str, tuple[float | None, float | None]] = {
    "sampler": (5.0, 2.5),
    "nash_md": (None, 5.0),
    "xpo": (None, 3.5),
    "online_dpo": (None, 3.5),
    "dpo": (4.0, 2.5),
}
WARM, FLAX = 8.0, 0.05
SHORT = {"float32": "f32", "bfloat16": "bf16", "autocast": "autocast"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the benchmark."""

    quick: bool = False
    models: tuple[str, ...] = ("15M", "48M")
    threads: tuple[int, ...] = (1, 2)  # cores of a process, one row each
    cases: tuple[str, ...] = ("sampler", "nash_md", "xpo", "online_dpo", "dpo")
    our_dtypes: tuple[str, ...] = ("float32", "bfloat16")  # of the computation, ours
    # of the peers' weights; ``autocast`` has float32 weights
    peer_dtypes: tuple[str, ...] = ("float32", "bfloat16")
    batch: int = 8
    prompt: int = 64
    response: int = 64  # tokens of a completion
    repeats: int = 5
    floor_seconds: float = 1.0  # for each measurement of the machine


class Side(NamedTuple):
    """One side of a row."""

    name: str  # ``ours`` or ``peers``
    dtype: str
    seconds: float  # of the fastest repetition
    median: float  # of the repetitions
    peak: int | None  # bytes of memory of the whole process at most


class Row(NamedTuple):
    """One case of one model."""

    model: str
    threads: int  # of each side
    case: str
    sides: list[Side]  # ours first
    floor: float  # seconds that the machine needs at least
    recompiled: int  # programs that we compiled after the first repetition
    # share of prompts on which both sides' four likeliest tokens are the same; ``None`` if not asked
    agree: float | None
    busy: float | None  # share of the cores that other programs took meanwhile

    @property
    def ours(self) -> Side:
        """Our fastest."""
        side = self.side("ours")
        assert side is not None
        return side

    def side(self, name: str, dtype: str | None = None) -> Side | None:
        """Return a side of a dtype, or the fastest of that name."""
        sides = [side for side in self.sides if side.name == name and dtype in (None, side.dtype)]
        return min(sides, key=lambda side: side.seconds, default=None)

    def ratio(self, dtype: str | None = None) -> float | None:
        """Times of the peer of a dtype, or of the fastest one, over our fastest."""
        peer = self.side("peers", dtype)
        return None if peer is None else peer.seconds / self.ours.seconds

    def alike(self, dtype: str) -> float | None:
        """Times of a peer over ours in the same dtype."""
        peer, own = self.side("peers", dtype), self.side("ours", dtype)
        return None if peer is None or own is None else peer.seconds / own.seconds


class Limits(NamedTuple):
    """What the machine can do at best."""

    threads: int  # of one process
    flops: float  # a second, of square products in float32
    bandwidth: float  # bytes a second read from memory


class Start(NamedTuple):
    """Seconds from the start of a process to the end of its first Nash-MD step."""

    model: str
    cold: float  # everything compiled
    warm: float  # everything read from the compilation cache


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured."""

    config: Config
    cores: int  # of the machine
    versions: dict[str, str]
    limits: list[Limits]  # what the machine can do, by threads
    rows: list[Row]
    starts: list[Start]
    # core seconds of a training step with flax and without, and the difference of their losses
    flax: dict[str, float]


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} x"


def _mib(side: Side | None) -> str:
    return "-" if side is None or side.peak is None else f"{side.peak / 2**20:.0f}"


def _share(floor: float, side: Side | None) -> str:
    return "-" if side is None else f"{floor / side.seconds:.0%}"


def _milliseconds(side: Side | None) -> str:
    return "-" if side is None else f"{1e3 * side.seconds:.0f}"


def report(result: Result) -> str:
    """Lay out the result as text: times, memory, and how they stand against the targets."""
    config = result.config
    sides = [("ours", dtype) for dtype in config.our_dtypes]
    sides += [("peers", dtype) for dtype in config.peer_dtypes]
    names = [f"{name} {SHORT[dtype]}" for name, dtype in sides]
    both = [dtype for dtype in config.peer_dtypes if dtype in config.our_dtypes]
    first = ["model", "threads", "case"]

    def by_side(show: Callable[[Side | None], str]) -> str:
        rows = [
            [row.model, str(row.threads), row.case, *(show(row.side(*each)) for each in sides)]
            for row in result.rows
        ]
        return text.table([*first, *names], rows, "<><" + ">" * len(names))

    header = [*first, *(f"{SHORT[dtype]} / {SHORT[dtype]}" for dtype in both), "best / best"]
    header += ["tokens/s", "floor", "agree", "busy"]
    rows = [
        [
            row.model,
            str(row.threads),
            row.case,
            *(_times(row.alike(dtype)) for dtype in both),
            _times(row.ratio()),
            f"{_tokens(config, row.case) / row.ours.seconds:.0f}",
            _share(row.floor, row.side("ours", "float32")),
            "-" if row.agree is None else f"{row.agree:.0%}",
            "?" if row.busy is None else f"{row.busy:.0%}",
        ]
        for row in result.rows
    ]
    limits = "; ".join(
        f"threads {each.threads}: {each.flops / 1e9:.0f} Gflop/s, {each.bandwidth / 1e9:.1f} GB/s"
        for each in result.limits
    )
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    peers = f"peers: {versions}" if versions else "no peers: name a Python with torch and trl in NLHF_PEERS"
    parts = [
        f"Machine: {result.cores} cores; {limits} (float32)\n{peers}",
        f"Milliseconds of the fastest of {config.repeats} turns; batch {config.batch}, "
        f"prompt {config.prompt}, completion {config.response}, 2 completions a prompt in a step\n\n"
        + by_side(_milliseconds),
        "Time of a peer / ours: above 1 x we are faster (best / best: the fastest of either side); tokens/s\n"
        "of our fastest; floor: the machine's least time / ours in float32, at most 100 %; agree: share of\n"
        "prompts with the same likeliest tokens; busy: share of the cores that other programs took\n\n"
        + text.table(header, rows, "<><" + ">" * (len(header) - 3)),
        "Most memory of the process, MiB (less is better)\n\n" + by_side(_mib),
        _targets(result),
    ]
    return "\n\n".join(parts)


def _tokens(config: Config, case: str) -> int:
    return config.batch * config.response * (1 if case == "sampler" else 2)


def _targets(result: Result) -> str:
    rows = []
    for row in result.rows:
        place = f"{row.case}, {row.model}, threads {row.threads}"
        for dtype, target in zip(("float32", None), TARGETS[row.case], strict=True):
            ratio = row.ratio(dtype)
            if target is not None and ratio is not None:
                what = f"{place}: {'best' if dtype is None else dtype} peer's time / ours"
                rows.append(Target(what, f"{ratio:.2f} x", f">= {target:g} x", ratio >= target, row.busy))
        heavy, own = row.side("peers", "float32"), row.side("ours", "float32")
        if heavy is not None and heavy.peak and own is not None and own.peak:
            share = own.peak / heavy.peak
            what = f"{place}: our memory / theirs, float32"
            rows.append(Target(what, f"{share:.2f} x", "<= 1 x", share <= 1))
    again = sum(row.recompiled for row in result.rows)
    rows.append(Target("programs compiled after the first call", str(again), "0", again == 0))
    for start in result.starts:
        what = f"warm start, {start.model} (cold {start.cold:.1f} s)"
        rows.append(Target(what, f"{start.warm:.1f} s", f"< {WARM:g} s", start.warm < WARM))
    cost = result.flax["flax"] / result.flax["plain"] - 1
    rows.append(Target("cost of flax in a step", f"{cost:.1%}", f"<= {FLAX:.0%}", cost <= FLAX))
    return targets(rows)
